"""Launch forms made from config classes: what they ask, what they refuse and in which words, and what they start."""

from typing import ClassVar, Literal

import pytest
from django import forms
from pydantic import Field

from training.configs import METHODS, RecipeConfig
from training.models import Dataset, ModelVersion, Run, Worker
from training.setting_fields import form_field

SPLITS = {
    "train": {"tasks": 251, "pairs": 1204},
    "validation": {"tasks": 30, "pairs": 140},
    "test": {"tasks": 31, "pairs": 145},
}
REWARD = "/admin/training/run/add/?method=reward"


class TryConfig(RecipeConfig):
    """A method with a setting of every type."""

    method: ClassVar[str] = "try"
    title: ClassVar[str] = "Try"

    steps: int = Field(4, title="Number of steps", ge=1, le=9, description="How many.")
    share: float = Field(0.5, gt=0, lt=1)
    limit: int | None = Field(None, ge=1)
    rate: float | None = None
    shuffle: bool = True
    mode: Literal["fast", "exact"] = "fast"
    level: Literal[1, 2] | None = None
    note: str = Field("", description="<b>bold</b>")
    temperatures: tuple[float, ...] = (0.7, 1.0)
    names: list[str] = Field(default_factory=list)


@pytest.fixture
def client(client, engineer):
    client.force_login(engineer.user)
    return client


@pytest.fixture
def base(db) -> ModelVersion:
    return ModelVersion.objects.create(name="base", version=1, kind="base", folder="models/base", checksum="a")


@pytest.fixture
def dataset(project) -> Dataset:
    summary = {"tasks": 282, "rankings": 500, "pairs": 1349, "splits": SPLITS}
    return Dataset.objects.create(name="kitchen-1", project=project, file="d.parquet", sha256="s", summary=summary)


@pytest.fixture
def worker(db) -> Worker:
    return Worker.objects.create(name="w", device="cuda:0")


@pytest.fixture
def values(base, dataset) -> dict[str, object]:
    """What a browser sends when nothing was touched."""
    return {"model": "base@1", "dataset": dataset.pk, "name": "kitchen-reward", "device": "cpu", "tuning": "lora"}


# From a config class to a form


@pytest.mark.parametrize(
    ("name", "kind", "typed", "cleaned"),
    [
        ("steps", forms.IntegerField, "7", 7),
        ("share", forms.FloatField, "0.25", 0.25),
        ("limit", forms.IntegerField, "", None),
        ("rate", forms.FloatField, "1e-5", 1e-5),
        ("shuffle", forms.BooleanField, "", False),
        ("mode", forms.TypedChoiceField, "exact", "exact"),
        ("level", forms.TypedChoiceField, "2", 2),
        ("level", forms.TypedChoiceField, "", None),
        ("note", forms.CharField, " a ", "a"),
        ("temperatures", forms.CharField, "0.5, 1，2", [0.5, 1.0, 2.0]),
        ("names", forms.CharField, "ada,ben", ["ada", "ben"]),
    ],
)
def test_every_type_has_its_field(name, kind, typed, cleaned):
    field = form_field(name, TryConfig.model_fields[name])

    assert isinstance(field, kind)
    assert field.clean(typed) == cleaned


def test_labels_help_and_defaults_come_along():
    field = form_field("steps", TryConfig.model_fields["steps"])

    assert (field.label, field.help_text, field.initial, field.required) == ("Number of steps", "How many.", 4, False)
    assert field.widget.attrs == {"min": 1, "max": 9}
    assert form_field("share", TryConfig.model_fields["share"]).label == "Share"


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("steps", "4.5"), ("steps", "9" * 5000), ("steps", "四"), ("share", "nan"), ("share", "1e999"),
        ("mode", "slow"), ("level", "3"), ("temperatures", "0.5; 1"), ("note", "a\x00b"),
    ],
)  # fmt: skip
def test_hostile_values_are_refused(name, typed):
    with pytest.raises(forms.ValidationError):
        form_field(name, TryConfig.model_fields[name]).clean(typed)


def test_a_type_without_a_field_is_a_loud_mistake():
    class Odd(RecipeConfig):
        table: dict[str, int] = Field(default_factory=dict)

    with pytest.raises(TypeError, match="The setting table has the type"):
        form_field("table", Odd.model_fields["table"])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_page(client, base, dataset, worker, method):
    ModelVersion.objects.create(name="rm", version=1, kind="reward", folder="x", checksum="y")

    shown = client.get(f"/admin/training/run/add/?method={method}").content.decode()

    for name, info in METHODS[method].model_fields.items():
        assert f'name="{name}"' in shown
        assert info.description in shown.replace("&#x27;", "'").replace("&quot;", '"')


# The page


def test_the_button_says_what_it_does(client, base, dataset, worker):
    shown = client.get(f"{REWARD}&dataset={dataset.pk}").content.decode()

    assert "Train on 1,204 pairs" in shown
    assert 'value="kitchen-reward"' in shown


def test_without_a_method_there_is_a_choice(client):
    shown = client.get("/admin/training/run/add/").content.decode()

    assert all(config.title in shown for config in METHODS.values())
    assert client.get("/admin/training/run/add/?method=nonsense").content.decode().count("What should run?")


def test_what_is_missing_is_said_with_what_to_do(client, project):
    shown = client.get(REWARD).content.decode()

    assert "manage.py register_model NAME" in shown
    assert "There is no dataset yet." in shown and "/p/kitchen/data/" in shown
    assert "manage.py run_worker" in shown
    assert 'id="launch"' not in shown


def test_a_snapshot_without_pairs_cannot_be_trained_on(client, base, project, worker):
    Dataset.objects.create(name="ties-only", project=project, file="d", sha256="s", summary={"splits": {}})

    shown = client.get(REWARD).content.decode()

    assert "No snapshot holds a pair to train on." in shown
    assert 'id="launch"' not in shown


def test_without_a_worker_one_may_still_queue(client, base, dataset):
    shown = client.get(REWARD).content.decode()

    assert "the run will wait until you start one" in shown
    assert 'id="launch"' in shown


def test_the_button_follows_the_settings(client, base, dataset, worker, values):
    def ask(**changes):
        sent = {"method": "reward", **values, **changes}
        return client.get("/admin/training/run/add/", sent, headers={"HX-Request": "true"})

    assert ask(max_pairs=96).content == b"Train on 96 pairs"
    assert ask(max_pairs="x").status_code == 204


# Starting


def test_launch_queues_a_run_with_its_lineage(client, engineer, base, dataset, values):
    response = client.post(REWARD, values | {"epochs": 2, "max_pairs": "", "temperature": "ignored"})

    run = Run.objects.get()
    assert response.url == f"/admin/training/run/{run.pk}/change/"
    assert (run.method, run.name, run.state, run.created_by) == ("reward", "kitchen-reward", "queued", engineer.user)
    assert (run.project, *run.datasets.all(), *run.parents.all()) == (dataset.project, dataset, base)
    assert run.config == METHODS["reward"](
        model="base@1", epochs=2, margins=False, gradient_checkpointing=False
    ).model_dump(mode="json")  # an unticked box is not sent


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        ({"epochs": "0"}, "epochs", "Must be at least 1."),
        ({"epochs": "many"}, "epochs", "Enter a whole number."),
        ({"learning_rate": "0"}, "learning_rate", "Must be more than 0."),
        ({"lora_r": "513"}, "lora_r", "Must be at most 512."),
        ({"lora_dropout": "1"}, "lora_dropout", "Must be less than 1."),
        ({"model": "rm@1"}, "model", "Select a valid choice."),
        ({"model": ""}, "model", "This field is required."),
        ({"dataset": "999"}, "dataset", "Select a valid choice."),
        ({"device": "cuda:0; rm -rf"}, "device", "Select a valid choice."),
        ({"name": "x" * 101}, "name", "at most 100 characters"),
    ],
)
def test_errors_stand_beside_their_field_and_in_the_summary(client, values, wrong, field, words):
    response = client.post(REWARD, values | wrong)

    assert response.status_code == 422
    assert [words in error for error in response.context["form"].errors[field]] == [True]
    shown = response.content.decode()
    assert shown.count(f'href="#id_{field}"') == 1  # the summary leads to the field
    assert 'aria-invalid="true"' in shown
    assert not Run.objects.exists()


def test_an_error_in_a_folded_setting_opens_the_fold(client, values):
    assert (
        '<details class="folded" id="all-settings" open>'
        in client.post(REWARD, values | {"batch_size": "0"}).content.decode()
    )


def test_settings_that_do_not_fit_each_other(client, base, project, values):
    ModelVersion.objects.create(name="rm", version=1, kind="reward", folder="x", checksum="y")
    ModelVersion.objects.create(name="policy", version=1, kind="policy", folder="x", checksum="y")
    evaluate = "/admin/training/run/add/?method=evaluate"
    sent = {"name": "compare", "device": "cpu", "model": "policy@1", "project": project.pk}

    alone = client.post(evaluate, sent | {"baseline": "base@1"})
    assert "give both a baseline and a judge" in alone.content.decode()
    itself = client.post(evaluate, sent | {"baseline": "policy@1", "judge": "rm@1"})
    assert "cannot be compared with itself" in itself.content.decode()
    nowhere = client.post(evaluate, sent | {"baseline": "base@1", "judge": "rm@1", "project": ""})
    assert nowhere.context["form"].errors["project"] == ["Please choose one."]

    assert client.post(evaluate, sent | {"baseline": "base@1", "judge": "rm@1"}).status_code == 302
    assert Run.objects.get().config["judge"] == "rm@1"


def test_other_peoples_data_and_models_cannot_be_named(client, values, make_member):
    from annotation.models import Project

    other = Project.objects.create(slug="garden", title="Garden")
    run = Run.objects.create(name="r", method="dpo", config={}, project=other)
    ModelVersion.objects.create(name="secret", version=1, kind="policy", folder="x", checksum="y", run=run)
    dataset = Dataset.objects.create(name="garden-1", project=other, file="g", sha256="g", summary={"splits": SPLITS})

    assert "secret" not in client.get(REWARD).content.decode()
    assert client.post(REWARD, values | {"model": "secret@1"}).status_code == 422
    assert client.post(REWARD, values | {"dataset": dataset.pk}).status_code == 422


def test_clone_starts_from_the_settings_of_a_run(client, engineer, base, dataset, values):
    client.post(REWARD, values | {"epochs": 7})
    first = Run.objects.get()

    shown = client.get(f"/admin/training/run/add/?clone={first.pk}")
    assert shown.context["form"]["epochs"].value() == 7
    assert shown.context["form"].dataset_shown == dataset.pk

    client.post(f"/admin/training/run/add/?clone={first.pk}", values | {"epochs": 8})
    second = Run.objects.exclude(pk=first.pk).get()
    assert (second.cloned_from, second.config["epochs"]) == (first, 8)
    assert client.get("/admin/training/run/add/?clone=abc").status_code == 404


def test_generating_twice_at_once_is_refused(client, base, project, make_task):
    task = make_task(answers=())
    task.ready = False
    task.save()
    sent = {"model": "base@1", "project": project.pk, "device": "cpu", "per_prompt": 2}

    assert client.post("/admin/training/run/add/?method=generate", sent).status_code == 302
    again = client.post("/admin/training/run/add/?method=generate", sent)

    assert "being written already" in again.content.decode()
    assert Run.objects.count() == 1
