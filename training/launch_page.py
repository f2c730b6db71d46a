"""What the launch pages say: what each method is for, what stands in its way, and what its button does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from training.access import engineered_projects, visible_datasets, visible_models
from training.configs import METHODS, RecipeConfig, model_fields
from training.forms import LaunchForm
from training.launches import training_pairs
from training.models import Dataset
from training.queue import live_workers

NEEDS = {
    "generate": gettext_lazy("Needs prompts and a model."),
    "reward": gettext_lazy("Needs a snapshot with comparisons and a model to start from."),
    "dpo": gettext_lazy("Needs a snapshot with comparisons and a model to start from."),
    "evaluate": gettext_lazy("Needs a reward model and a snapshot, or two policies and a reward model as their judge."),
}
TRAINS = ("reward", "dpo")


@dataclass(frozen=True)
class Method:
    key: str
    title: str
    purpose: str
    needs: str


@dataclass(frozen=True)
class Obstacle:
    """What is missing, and what to do about it."""

    sentence: str
    command: str = ""
    links: list[tuple[str, str]] = field(default_factory=list)
    blocks: bool = True


def methods() -> list[Method]:
    return [about(config) for config in METHODS.values()]


def about(config: type[RecipeConfig]) -> Method:
    key = config.method
    return Method(key, _(config.title), _(config.purpose), str(NEEDS.get(key, "")))


def obstacles(config: type[RecipeConfig], user: Any) -> list[Obstacle]:
    found = []
    kinds = model_fields(config)["model"]
    if not visible_models(user).filter(kind__in=kinds).exists():
        found.append(
            Obstacle(
                _("There is no model that fits yet. Register one, from a folder or the hub:"),
                "manage.py register_model NAME FOLDER_OR_HUB",
            )
        )
    if config.method in TRAINS:
        pairs = [training_pairs(dataset) for dataset in visible_datasets(user).filter(kind=Dataset.Kind.TASKS)]
        if not any(pairs):
            sentence = (
                _("No snapshot holds a pair to train on. Judge more tasks, then freeze again.")
                if pairs
                else _("There is no dataset yet. Freeze a snapshot of what people judged, on a project's data page.")
            )
            found.append(Obstacle(sentence, links=data_pages(user)))
    if not live_workers():
        found.append(
            Obstacle(
                _("No worker is running: the run will wait until you start one."), "manage.py run_worker", blocks=False
            )
        )
    return found


def data_pages(user: Any) -> list[tuple[str, str]]:
    return [
        (_("Data of %(title)s") % {"title": project.title}, reverse("data", args=[project.slug]))
        for project in engineered_projects(user).order_by("title")
    ]


def button(form: LaunchForm) -> str:
    """What the button does, with the settings as they stand."""
    dataset = form.datasets.filter(pk=form.dataset_shown or 0).first()
    if form.method.method not in TRAINS or dataset is None:
        return _(form.method.title)
    pairs = training_pairs(dataset, form.config_shown() or form.method.model_construct())
    return ngettext("Train on %(n)s pair", "Train on %(n)s pairs", pairs) % {"n": intcomma(pairs)}
