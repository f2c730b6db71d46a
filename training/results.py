"""What runs found, in words and figures: never a number without its interval, its n and what to hold it against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.translation import gettext as _

from training.models import Dataset, Evaluation, ModelVersion, Run
from training.standing import Badge, spell

Figure = tuple[str, str]  # what it is, its value


@dataclass(frozen=True)
class Verdict:
    evaluation: Evaluation
    badge: Badge
    sentence: str
    figures: list[Figure] = field(default_factory=list)


def verdict(evaluation: Evaluation) -> Verdict:
    """An evaluation in one sentence and its figures."""
    result = evaluation.result
    return _of_policies(evaluation, result) if evaluation.baseline_id else _of_reward_model(evaluation, result)


def _badge(verdict: str) -> Badge:
    return {"better": Badge("ok", _("better")), "worse": Badge("bad", _("worse"))}.get(
        verdict, Badge("", _("no difference shown"))
    )


def _of_reward_model(evaluation: Evaluation, result: dict[str, Any]) -> Verdict:
    words = {
        "model": evaluation.model,
        "share": percent(result["accuracy"], result["accuracy_ci"]),
        "pairs": intcomma(result["pairs"]),
        "length": percent(result["length_accuracy"]),
    }
    sentence = _("%(model)s orders %(share)s of %(pairs)s held-out pairs as people did.")
    beside = {
        "better": _("That is better than length alone, %(length)s."),
        "worse": _("That is worse than length alone, %(length)s."),
    }.get(result["against_length"], _("No difference to length alone, %(length)s, is shown."))
    shown = _badge(result["against_length"])
    return Verdict(evaluation, shown, f"{sentence} {beside}" % words, list(accuracy_figures(result)))


def _of_policies(evaluation: Evaluation, result: dict[str, Any]) -> Verdict:
    words = {
        "model": evaluation.model,
        "baseline": evaluation.baseline,
        "judge": evaluation.judge,
        "share": percent(result["win_rate"], result["win_rate_ci"]),
        "prompts": intcomma(result["prompts"]),
    }
    sentence = {
        "better": _("%(judge)s finds %(model)s better than %(baseline)s: %(share)s won over %(prompts)s prompts."),
        "worse": _("%(judge)s finds %(model)s worse than %(baseline)s: %(share)s won over %(prompts)s prompts."),
    }.get(
        result["verdict"],
        _("%(judge)s shows no difference between %(model)s and %(baseline)s: %(share)s won over %(prompts)s prompts."),
    )
    return Verdict(evaluation, _badge(result["verdict"]), sentence % words, [])


def accuracy_figures(result: dict[str, Any]) -> Iterator[Figure]:
    yield _("held-out accuracy"), percent(result["accuracy"], result.get("accuracy_ci"))
    if "length_accuracy" in result:
        rule = {"prefer the shorter": _("the shorter is better"), "prefer the longer": _("the longer is better")}
        yield (
            _("by length alone (%(rule)s)") % {"rule": rule.get(result["length_rule"], result["length_rule"])},
            percent(result["length_accuracy"]),
        )
    if "pairs" in result:
        yield _("held-out pairs, of %(n)s prompts") % {"n": intcomma(result["prompts"])}, intcomma(result["pairs"])


class ModelStanding(NamedTuple):
    badge: Badge
    sentence: str
    advice: str


def model_standing(model: ModelVersion) -> ModelStanding:
    """What a model's stage means, and what to do next."""
    stage, word = ModelVersion.Stage, model.get_stage_display()
    named = {"name": model.name, "model": model}
    match model.stage:
        case stage.PROMOTED:
            return ModelStanding(
                Badge("ok", word),
                _("The name %(name)s stands for this version.") % named,
                _("Everything that names %(name)s without a version takes it.") % named,
            )
        case stage.RETIRED:
            return ModelStanding(
                Badge("", word),
                _("Another version of %(name)s was promoted after it.") % named,
                _("Its files stay; promote it to go back to it."),
            )
    if model.kind == ModelVersion.Kind.BASE:
        return ModelStanding(
            Badge("info", word), _("Ready to start from."), _("Models are trained from it; it stays as it is.")
        )
    return ModelStanding(
        Badge("info", word),
        _("Made, and not yet promoted."),
        _("Measure it first: how often it is right or better, and whether that is shown. Then promote it."),
    )


def dataset_figures(dataset: Dataset) -> list[Figure]:
    summary = dataset.summary
    agreement = summary.get("agreement")
    return [
        (_("tasks"), intcomma(summary.get("tasks", 0))),
        (_("rankings"), intcomma(summary.get("rankings", 0))),
        (_("pairs with a preferred answer"), intcomma(summary.get("pairs", 0))),
        (_("ties"), intcomma(summary.get("ties", 0))),
        (_("all bad"), intcomma(summary.get("all_bad", 0))),
        (_("agreement of people"), _("not measured") if agreement is None else percent(agreement)),
    ]


def figures(run: Run) -> list[Figure]:
    """What a run that ended well has to show."""
    if run.state != Run.State.SUCCEEDED:
        return []
    return [*_figures(run, run.outcome.get("summary") or {}), *_costs(run)]


def _figures(run: Run, summary: dict[str, Any]) -> Iterator[Figure]:
    match run.method:
        case "reward" | "dpo":
            if summary.get("held_out"):
                yield from accuracy_figures(summary["held_out"])
            if "pairs" in summary:
                yield _("pairs learned from"), intcomma(summary["pairs"])
        case "generate":
            yield _("prompts answered"), intcomma(summary.get("prompts", 0))
            yield _("answers"), intcomma(summary.get("answers", 0))
            yield _("cut at the length limit"), intcomma(summary.get("cut", 0))
        case "evaluate":
            evaluation = getattr(run, "evaluation", None)
            if evaluation:
                yield from verdict(evaluation).figures


def _costs(run: Run) -> Iterator[Figure]:
    if seconds := run.outcome.get("seconds"):
        yield _("computing time"), spell(timedelta(seconds=seconds))
    if memory := run.outcome.get("peak_memory_mb"):
        yield _("peak memory"), _("%(n)s GB") % {"n": f"{memory / 1024:.1f}"}


def percent(share: float, interval: list[float] | None = None) -> str:
    """
    >>> percent(0.614, [0.52, 0.7])
    '61 % [52, 70]'
    """
    text = f"{share * 100:.0f} %"
    return text + " [{:.0f}, {:.0f}]".format(*(100 * bound for bound in interval)) if interval else text
