"""The registry of models: what may enter, under which name, and proof that it did not change since.

A model is a folder of safetensors and JSON (DESIGN 5). Folders that runs made stay where they are; others are
copied into the storage folder, file by file through an allow-list, because a pickle runs code when it is opened.
"""

from __future__ import annotations

import json
import re
import shutil
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from training.models import ModelVersion, Run
from training.rundir import folder_checksum

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
TAKEN = {".safetensors", ".json"}
TEMPLATE = "chat_template.jinja"  # a file of its own on the hub; here a field of tokenizer_config.json
REFUSED = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5", ".py"}  # may run code
SPEAKERS = (ModelVersion.Kind.BASE, ModelVersion.Kind.SFT, ModelVersion.Kind.POLICY)  # kinds that write answers


class UnfitModel(ValueError):
    """A folder that cannot become a model version, with the sentence that says why."""


class UnknownModel(LookupError):
    """No model has this name and version."""


class ModelChanged(Exception):
    """The files of a model are not those that were registered."""


def register_model(name: str, source: str | Path, kind: str = ModelVersion.Kind.BASE) -> ModelVersion:
    """Copy a model from a local folder, or fetch it from the hub, and give it the next version of its name."""
    check_name(name)
    models = Path(settings.STORAGE) / "models"
    incoming = models / f".{uuid4().hex}.unfinished"
    incoming.mkdir(parents=True)
    try:
        folder = Path(source).expanduser()
        if not folder.is_dir():
            folder = _fetch(str(source), incoming / "hub")
        files = list(model_files(folder))
        ready = incoming / "model"
        ready.mkdir()
        for file in files:
            shutil.copyfile(file, ready / file.name, follow_symlinks=False)
        _move_template(ready)
        check_weights(ready)
        final = models / name / uuid4().hex
        final.parent.mkdir(exist_ok=True)
        ready.rename(final)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return add_version(name, final, folder_checksum(final), kind, source=str(source))


def add_version(
    name: str, folder: Path, checksum: str, kind: str, *, run: Run | None = None, source: str = ""
) -> ModelVersion:
    """The row of a model whose files lie in the storage folder already. The checksum is taken before: it takes long."""
    relative = folder.relative_to(settings.STORAGE).as_posix()
    while True:
        version = (ModelVersion.objects.filter(name=name).aggregate(last=Max("version"))["last"] or 0) + 1
        try:
            with transaction.atomic():
                return ModelVersion.objects.create(
                    name=name, version=version, kind=kind, folder=relative, checksum=checksum, run=run, source=source
                )
        except IntegrityError:  # another took this number meanwhile
            if not ModelVersion.objects.filter(name=name, version=version).exists():
                raise


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise UnfitModel(
            _(
                "%(name)r cannot be a model's name: use small letters, digits, dots and dashes, "
                "such as smollm2-135m-instruct."
            )
            % {"name": name}
        )


def model_files(folder: Path) -> Iterator[Path]:
    """The files of a model folder that may be taken. Raises UnfitModel at the first that must not be there."""
    for file in sorted(folder.iterdir()):
        if file.is_symlink():
            raise UnfitModel(
                _("%(file)s is a symbolic link; a model folder must hold its own files.") % {"file": file.name}
            )
        if file.suffix.lower() in REFUSED:
            raise UnfitModel(
                _("%(file)s may run code when it is opened. Save the model as safetensors, without such files.")
                % {"file": file.name}
            )
        if file.is_file() and (file.suffix in TAKEN or file.name == TEMPLATE) and not file.name.startswith("."):
            yield file


def check_weights(folder: Path) -> None:
    """Raise UnfitModel unless the folder holds a config and weights that really are safetensors."""
    read_object(folder / "config.json")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise UnfitModel(_("There are no weights: a model folder needs *.safetensors files."))
    for file in weights:
        size = file.stat().st_size
        with file.open("rb") as handle:
            header = int.from_bytes(handle.read(8), "little")
            if not (2 <= header <= size - 8 and header <= 100_000_000 and handle.read(1) == b"{"):
                raise UnfitModel(_("%(file)s is not a safetensors file.") % {"file": file.name})
    index = folder / "model.safetensors.index.json"
    if index.exists():
        named = read_object(index).get("weight_map")
        if not isinstance(named, dict) or not all(isinstance(file, str) for file in named.values()):
            raise UnfitModel(_("%(file)s does not map weights to files.") % {"file": index.name})
        if strange := sorted(set(named.values()) - {file.name for file in weights}):
            raise UnfitModel(
                _("%(index)s names %(file)r, which is not in the folder.") % {"index": index.name, "file": strange[0]}
            )


def _move_template(folder: Path) -> None:
    """Put a chat template that has a file of its own where it stands in JSON."""
    file = folder / TEMPLATE
    if file.exists():
        config = read_object(folder / "tokenizer_config.json")
        config["chat_template"] = file.read_text(encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(
            json.dumps(config, ensure_ascii=False, indent=2), encoding="utf-8"
        )
        file.unlink()


def read_object(file: Path) -> dict[str, object]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnfitModel(_("There is no %(file)s in the model folder.") % {"file": file.name}) from None
    except ValueError:
        raise UnfitModel(_("%(file)s is not valid JSON.") % {"file": file.name}) from None
    if not isinstance(value, dict):
        raise UnfitModel(_("%(file)s must hold a JSON object.") % {"file": file.name})
    return value


def resolve(name: str) -> ModelVersion:
    """`name@version`; a name alone means its promoted version, or else its newest."""
    plain, _at, version = name.partition("@")
    models = ModelVersion.objects.filter(name=plain)
    if version:
        model = models.filter(version=int(version)).first() if version.isdecimal() else None
    else:
        model = models.filter(stage=ModelVersion.Stage.PROMOTED).first() or models.order_by("-version").first()
    if model is None:
        known = [str(model) for model in ModelVersion.objects.order_by("pk")]
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        raise UnknownModel(
            _("There is no model %(name)s; did you mean %(near)s?") % {"name": name, "near": near[0]}
            if near
            else _("There is no model %(name)s. Known are: %(known)s.")
            % {"name": name, "known": ", ".join(known[-10:]) or _("none yet")}
        )
    return model


def default_speaker() -> ModelVersion | None:
    """Who answers prompts when nobody says otherwise: the newest promoted SFT model, else the newest base model."""
    promoted = ModelVersion.objects.filter(kind=ModelVersion.Kind.SFT, stage=ModelVersion.Stage.PROMOTED)
    base = ModelVersion.objects.filter(kind=ModelVersion.Kind.BASE).exclude(stage=ModelVersion.Stage.RETIRED)
    return promoted.order_by("-pk").first() or base.order_by("-pk").first()


def promote(model: ModelVersion) -> ModelVersion:
    """Make this the version that its name stands for; the one before it retires."""
    stage = ModelVersion.Stage
    with transaction.atomic():
        # Of two promotions at once the second waits for the rows here, on PostgreSQL; on SQLite writers queue anyway.
        list(ModelVersion.objects.select_for_update().filter(name=model.name).order_by("pk"))
        ModelVersion.objects.filter(name=model.name, stage=stage.PROMOTED).exclude(pk=model.pk).update(
            stage=stage.RETIRED
        )
        ModelVersion.objects.filter(pk=model.pk).update(stage=stage.PROMOTED)
    model.refresh_from_db()
    return model


def verify(model: ModelVersion) -> Path:
    """The model's folder. Raises ModelChanged unless every file is as it was when it was registered."""
    if not model.path.is_dir():
        raise ModelChanged(
            _("The files of %(model)s are gone from %(folder)s.") % {"model": model, "folder": model.folder}
        )
    if folder_checksum(model.path) != model.checksum:
        raise ModelChanged(
            _("The files of %(model)s in %(folder)s were changed since it was registered.")
            % {"model": model, "folder": model.folder}
        )
    return model.path


def export_model(model: ModelVersion, target: Path) -> Path:
    """Copy a model's files into a new folder, for use elsewhere."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UnfitModel(_("%(folder)s exists and is not empty.") % {"folder": target})
    return Path(shutil.copytree(verify(model), target, dirs_exist_ok=True))


def _fetch(name: str, target: Path) -> Path:
    """Fetch a model from the hub, without its pickles and its code."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UnfitModel(
            _("%(source)s is neither a folder nor a model's name on the hub, such as organisation/model.")
            % {"source": name}
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise UnfitModel(_("Models from the hub need the packages of the extra `train`.")) from None
    try:
        snapshot_download(
            name,
            local_dir=target,
            allow_patterns=[TEMPLATE, *(f"*{suffix}" for suffix in TAKEN)],
            ignore_patterns=["*/*"],
        )
    except Exception as error:  # no network, no such model, no right to it: the hub has many errors, all say which
        raise UnfitModel(
            _("%(name)s could not be fetched from the hub: %(error)s")
            % {"name": name, "error": str(error).split("\n")[0]}
        ) from error
    return target
