"""What the charts of a run show, and what the names of metrics mean. Curves come thinned."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TypedDict

from django.db.models import Max, Q
from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from training.models import Metric, Run

MOST_POINTS = 600  # of one curve


class Curve(TypedDict):
    steps: list[int]
    values: list[float | None]


@dataclass(frozen=True)
class Chart:
    """One picture: a title, a line on how to read it, and the metrics that it draws."""

    key: str
    title: str | Promise
    reading: str | Promise
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class LastValue:
    name: str
    meaning: str | Promise
    step: int
    value: float | None

    @property
    def rounded(self) -> str:
        return "" if self.value is None else f"{self.value:.4g}"


LOSS = Chart(
    "loss",
    _("Loss"),
    _("Should fall. When the held-out loss rises again while the other falls, it learns by heart."),
    ("loss/heldout", "loss/train"),
)
ACCURACY = Chart(
    "accuracy",
    _("Accuracy"),
    _("Share of pairs in which the answer that people preferred comes out ahead; 0.5 is guessing."),
    ("heldout/rewards/accuracies", "rewards/accuracies"),
)
MARGIN = Chart(
    "margin",
    _("Margin"),
    _("How much more likely the preferred answer has become than the other. Should rise."),
    ("heldout/rewards/margins", "rewards/margins"),
)
CHARTS: dict[str, tuple[Chart, ...]] = {"reward": (LOSS, ACCURACY), "dpo": (MARGIN, ACCURACY)}

MEANINGS: dict[str, str | Promise] = {
    "loss/train": _("Mean loss on the pairs of the step."),
    "loss/heldout": _("Mean loss on pairs of prompts that training does not see."),
    "rewards/accuracies": _("Share of the step's pairs in which the preferred answer is ahead."),
    "rewards/margins": _("Mean lead of the preferred answer over the other."),
    "rewards/chosen": _("Mean reward of the preferred answers."),
    "rewards/rejected": _("Mean reward of the other answers."),
    "score/min": _("Lowest score of an answer."),
    "score/mean": _("Mean score; training pulls it towards zero."),
    "score/max": _("Highest score of an answer."),
    "logps/chosen": _("Log-probability of the preferred answers. A steep fall unlearns good text."),
    "logps/rejected": _("Log-probability of the other answers."),
    "logits/chosen": _("Mean logit over the preferred answers."),
    "logits/rejected": _("Mean logit over the other answers."),
    "entropy": _("How undecided the model is about the next token."),
    "mean_token_accuracy": _("Share of tokens that the model would have chosen itself."),
    "optim/grad_norm": _("Size of the gradient. Sudden peaks make training unstable."),
    "optim/learning_rate": _("Size of the steps at this moment."),
}


def meaning(name: str) -> str | Promise:
    """What a metric is, in one line; a held-out one is the same on pairs that training does not see."""
    bare = name.removeprefix("heldout/")
    if bare == name or bare not in MEANINGS:
        return MEANINGS.get(name, "")
    return format_lazy("{} {}", MEANINGS[bare], _("Here: on held-out pairs."))


def charts_of(run: Run) -> tuple[Chart, ...]:
    return CHARTS.get(run.method, ())


def curves(run: Run) -> dict[str, Curve]:
    """The curves of a run's charts, by metric."""
    names = [name for chart in charts_of(run) for name in chart.metrics]
    points: dict[str, list[tuple[int, float | None]]] = {name: [] for name in names}
    rows = Metric.objects.filter(run=run, name__in=names).order_by("name", "step")
    for name, step, value in rows.values_list("name", "step", "value"):
        points[name].append((step, value))
    return {name: _curve(thin(found)) for name, found in points.items() if found}


def thin(points: list[tuple[int, float | None]], most: int = MOST_POINTS) -> list[tuple[int, float | None]]:
    """Every n-th point, and always the last one.

    >>> thin([(step, 0.0) for step in range(10)], most=4)
    [(0, 0.0), (3, 0.0), (6, 0.0), (9, 0.0)]
    """
    every = -(-len(points) // most)
    return points[:: every or 1] if every <= 1 or (len(points) - 1) % every == 0 else [*points[::every], points[-1]]


def _curve(points: list[tuple[int, float | None]]) -> Curve:
    return {"steps": [step for step, _value in points], "values": [value for _step, value in points]}


def legend(chart: Chart, values: list[LastValue]) -> list[tuple[int, LastValue]]:
    """The newest values of a chart's metrics, each with the number of its curve; some may have none yet."""
    by_name = {value.name: value for value in values}
    return [(number, by_name[name]) for number, name in enumerate(chart.metrics, 1) if name in by_name]


def last_values(run: Run) -> list[LastValue]:
    """Each metric's newest value. Two queries: the newest steps by the index, then their rows."""
    newest = Metric.objects.filter(run=run).values_list("name").annotate(Max("step")).order_by("name")
    found = [Q(name=name, step=step) for name, step in newest]
    if not found:
        return []
    rows = Metric.objects.filter(reduce(or_, found), run=run).order_by("name")
    return [LastValue(row.name, meaning(row.name), row.step, row.value) for row in rows]
