"""What the page of a run shows besides its numbers: settings beside their defaults, samples of what it wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from annotation import exports
from annotation.rendering import render_markdown
from training.configs import METHODS
from training.models import Run
from training.rundir import RunFolder, read_rows

MOST_SAMPLES = 6


@dataclass(frozen=True)
class Setting:
    label: str
    value: str
    default: str
    changed: bool


@dataclass(frozen=True)
class Sample:
    model: str
    question: str
    html: SafeString


def title_of(method: str) -> str:
    return _(METHODS[method].title) if method in METHODS else method


def settings_of(run: Run) -> list[Setting]:
    """Every setting that the run was launched with. One that its method has no more is shown too."""
    fields = METHODS[run.method].model_fields if run.method in METHODS else {}
    settings = []
    for name, value in run.config.items():
        info = fields.get(name)
        default = None if info is None or info.is_required() else info.get_default(call_default_factory=True)
        plain = json.loads(json.dumps(default))  # as the row holds it: a tuple is a list there
        required = info is not None and info.is_required()
        label = _(info.title) if info and info.title else name.replace("_", " ").capitalize()
        settings.append(Setting(label, spelt(value), "" if required else spelt(plain), not required and value != plain))
    return settings


def spelt(value: Any) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return _("yes") if value else _("no")
        case list():
            return ", ".join(map(str, value))
    return str(value)


def writes_texts(run: Run) -> bool:
    """Answering does, and so does comparing two policies; measuring a reward model does not."""
    return run.method == "generate" or (run.method == "evaluate" and bool(run.config.get("judge")))


def samples(run: Run) -> list[Sample]:
    """The newest texts that the run wrote, with what they answer."""
    parts = RunFolder(run.folder).parts()
    rows = read_rows(parts[-1])[:MOST_SAMPLES] if parts else []
    prompts = exports.prompts_by_id(run.project, {row["prompt_id"] for row in rows}) if rows and run.project else {}
    return [
        Sample(
            row["model"],
            prompts[row["prompt_id"]].last_user_turn if row["prompt_id"] in prompts else "",
            render_markdown(row["text"]),
        )
        for row in rows
    ]
