"""What may enter the registry, under which number, and whether it is still what entered."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import huggingface_hub
import pytest
from django.db import connection

from tests.training.worker_process import plain_model, safetensors
from training.models import ModelVersion
from training.registry import (
    ModelChanged,
    UnfitModel,
    UnknownModel,
    default_speaker,
    export_model,
    promote,
    register_model,
    resolve,
    verify,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path) -> Path:
    return plain_model(tmp_path / "model")


def test_a_folder_becomes_a_version(folder, storage):
    model = register_model("tiny", folder)

    assert (str(model), model.kind, model.stage) == ("tiny@1", "base", "candidate")
    assert {file.name for file in verify(model).iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer_config.json",
    }
    assert storage in model.path.parents
    assert str(register_model("tiny", folder)) == "tiny@2"


def test_the_copy_does_not_depend_on_the_folder(folder):
    model = register_model("tiny", folder)
    (folder / "model.safetensors").write_bytes(safetensors(5))
    assert verify(model)


@pytest.mark.parametrize("name", ["Tiny", "../tiny", "a/b", "", "tiny@1", "-tiny", "小"])
def test_names_that_are_no_names(folder, name):
    with pytest.raises(UnfitModel, match="name"):
        register_model(name, folder)


def test_files_that_are_not_of_the_model_stay_behind(folder):
    (folder / "README.md").write_text("hello")
    (folder / ".cache.json").write_text("{}")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.json").write_text("{}")
    assert {file.name for file in register_model("tiny", folder).path.rglob("*")} == {
        "config.json",
        "model.safetensors",
        "tokenizer_config.json",
    }


def test_a_chat_template_moves_into_the_json(folder):
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    model = register_model("tiny", folder)
    assert json.loads((model.path / "tokenizer_config.json").read_text()) == {"chat_template": "{{ messages }}"}
    assert not (model.path / "chat_template.jinja").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.PT", "training_args.bin", "weights.pkl", "modeling.py"])
def test_what_may_run_code_is_refused(folder, name):
    (folder / name).write_bytes(pickle.dumps({}))
    with pytest.raises(UnfitModel, match="may run code"):
        register_model("tiny", folder)
    assert not ModelVersion.objects.exists()


def test_a_pickle_that_calls_itself_safetensors_is_refused(folder):
    (folder / "model.safetensors").write_bytes(pickle.dumps(list(range(1000))))
    with pytest.raises(UnfitModel, match="not a safetensors file"):
        register_model("tiny", folder)


def test_symbolic_links_are_refused(folder, tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_text('{"key": 1}')
    (folder / "generation_config.json").symlink_to(secret)
    with pytest.raises(UnfitModel, match="symbolic link"):
        register_model("tiny", folder)


@pytest.mark.parametrize("named", ["../../etc/model.safetensors", "/etc/passwd", "missing.safetensors"])
def test_an_index_that_names_other_files_is_refused(folder, named):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": named}}))
    with pytest.raises(UnfitModel, match="not in the folder"):
        register_model("tiny", folder)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_an_incomplete_folder_is_refused(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(UnfitModel, match=r"There (is no config\.json|are no weights)"):
        register_model("tiny", folder)


def test_nothing_is_left_of_what_was_refused(folder, storage):
    (folder / "config.json").write_text("[1]")
    with pytest.raises(UnfitModel, match="JSON object"):
        register_model("tiny", folder)
    assert list((storage / "models").iterdir()) == []


def test_what_is_neither_a_folder_nor_on_the_hub(tmp_path):
    with pytest.raises(UnfitModel, match="neither a folder nor a model's name"):
        register_model("tiny", tmp_path / "nothing")


def test_of_the_hub_only_plain_files_of_the_top_folder_are_fetched(monkeypatch):
    """The hub's own filter chooses from a repository's files; the download itself is played here."""
    repository = {
        "config.json": b"{}",
        "model.safetensors": safetensors(),
        "pytorch_model.bin": b"\x80",
        "modeling_x.py": b"import os",
        "onnx/config.json": b"{}",
        "README.md": b"#",
    }
    fetched = []

    def download(name, *, local_dir, **patterns):
        fetched.extend(huggingface_hub.utils.filter_repo_objects(repository, **patterns))
        local_dir.mkdir()
        for file in fetched:
            (local_dir / file).write_bytes(repository[file])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    model = register_model("tiny", "someone/tiny")
    assert fetched == ["config.json", "model.safetensors"]
    assert model.source == "someone/tiny"


def test_a_hub_that_does_not_answer_is_told_in_one_sentence(monkeypatch):
    def download(name, **_):
        raise OSError("No route to the hub.\nTraceback ...")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(UnfitModel, match=r"^someone/tiny could not be fetched from the hub: No route to the hub\.$"):
        register_model("tiny", "someone/tiny")


def test_a_changed_file_is_noticed(folder):
    model = register_model("tiny", folder)
    (model.path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ModelChanged, match="tiny@1"):
        verify(model)
    with pytest.raises(ModelChanged):
        export_model(model, folder.parent / "out")


def test_a_removed_folder_is_noticed(folder):
    model = register_model("tiny", folder)
    model.path.rename(folder.parent / "elsewhere")
    with pytest.raises(ModelChanged, match="gone"):
        verify(model)


def test_promotion_retires_the_version_before(folder):
    one, two = register_model("tiny", folder), register_model("tiny", folder)
    other = promote(register_model("other", folder))
    promote(one)
    promote(two)
    stages = dict(ModelVersion.objects.values_list("pk", "stage"))
    assert stages == {one.pk: "retired", two.pk: "promoted", other.pk: "promoted"}
    assert resolve("tiny") == two


def test_a_name_alone_is_the_promoted_version_or_the_newest(folder):
    one, two = register_model("tiny", folder), register_model("tiny", folder)
    assert resolve("tiny") == two
    promote(one)
    assert resolve("tiny") == one
    assert resolve("tiny@2") == two


def test_an_unknown_name_is_answered_with_the_nearest(folder):
    register_model("smollm2", folder)
    with pytest.raises(UnknownModel, match=r"did you mean smollm2@1\?"):
        resolve("smolm2")
    with pytest.raises(UnknownModel, match=r"Known are: smollm2@1\."):
        resolve("gpt@x")


def test_who_answers_when_nobody_is_named(folder):
    assert default_speaker() is None
    base = register_model("base", folder)
    sft = register_model("sft", folder, "sft")
    register_model("reward", folder, "reward")
    assert default_speaker() == base
    promote(sft)
    assert default_speaker() == sft


def test_export_copies_into_a_new_folder_only(folder, tmp_path):
    model = register_model("tiny", folder)
    out = export_model(model, tmp_path / "out")
    assert (out / "model.safetensors").read_bytes() == safetensors()
    with pytest.raises(UnfitModel, match="not empty"):
        export_model(model, out)


@pytest.mark.django_db(transaction=True)
def test_versions_are_numbered_once_under_contention(folder):
    def register(_: int) -> int:
        try:
            return register_model("tiny", folder).version
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(register, range(16))) == list(range(1, 17))


@pytest.mark.django_db(transaction=True)
def test_of_promotions_at_once_one_stands(folder):
    models = [register_model("tiny", folder) for _ in range(6)]

    def promote_it(model: ModelVersion) -> None:
        try:
            promote(model)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(promote_it, models))
    assert ModelVersion.objects.filter(stage="promoted").count() == 1
