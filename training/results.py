"""What runs found, in words and figures: never a number without its interval, its n and what to hold it against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from django.contrib.humanize.templatetags.humanize import intcomma
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from training.configs import SPEAKERS
from training.models import Dataset, Evaluation, ModelVersion, Run
from training.standing import Badge, spell

Figure = tuple[str, str]  # what it is, its value
FEW_PROMPTS = 50


@dataclass(frozen=True)
class Verdict:
    run_id: int
    badge: Badge
    sentence: str
    figures: list[Figure]
    notes: list[str]  # what weakens it


def verdicts_on(model: ModelVersion) -> list[Verdict]:
    """All that was measured of a model, newest first: its evaluations, and what its own training held out."""
    evaluations = sorted(model.evaluations.all(), key=lambda evaluation: -evaluation.pk)
    found = [verdict(evaluation) for evaluation in evaluations]
    held_out = (model.run.outcome.get("summary") or {}).get("held_out") if model.run else None
    if model.run and held_out and "against_length" in held_out:
        found.append(of_reward_model(model, held_out, model.run.pk))
    return found


def verdict(evaluation: Evaluation) -> Verdict:
    """An evaluation in one sentence, its figures, and what weakens it."""
    if evaluation.baseline_id:
        return _of_policies(evaluation, evaluation.result)
    return of_reward_model(evaluation.model, evaluation.result, evaluation.run_id)


def of_reward_model(model: ModelVersion, result: dict[str, Any], run_id: int) -> Verdict:
    words = {
        "model": model,
        "share": percent(result["accuracy"], result["accuracy_ci"]),
        "pairs": intcomma(result["pairs"]),
        "length": percent(result["length_accuracy"]),
    }
    sentence = _("%(model)s orders %(share)s of %(pairs)s held-out pairs as people did.")
    beside = {
        "better": _("That is better than length alone, %(length)s."),
        "worse": _("That is worse than length alone, %(length)s."),
    }.get(result["against_length"], _("No difference to length alone, %(length)s, is shown."))
    badge = _badge(result["against_length"])
    return Verdict(run_id, badge, f"{sentence} {beside}" % words, list(accuracy_figures(result)), list(_few(result)))


def _of_policies(evaluation: Evaluation, result: dict[str, Any]) -> Verdict:
    words = {
        "model": str(evaluation.model),
        "baseline": str(evaluation.baseline),
        "judge": str(evaluation.judge or _("A judge that is gone")),
        "share": percent(result["win_rate"], result["win_rate_ci"]),
        "prompts": intcomma(result["prompts"]),
    }
    sentence = {
        "better": _("%(judge)s finds %(model)s better than %(baseline)s: it wins %(share)s over %(prompts)s prompts."),
        "worse": _("%(judge)s finds %(model)s worse than %(baseline)s: it wins %(share)s over %(prompts)s prompts."),
    }.get(
        result["verdict"],
        _("%(judge)s shows no difference: %(model)s wins %(share)s against %(baseline)s over %(prompts)s prompts."),
    )
    figures = [
        (_("win rate of %(model)s, ties as half") % words, words["share"]),
        (_("at equal length"), percent(result["length_controlled"])),
        (_("prompts"), words["prompts"]),
        (_("won, tied, lost"), f"{result['wins']}, {result['ties']}, {result['losses']}"),
    ]
    for name, tokens in sorted(result.get("mean_tokens", {}).items()):
        figures.append((_("mean tokens of %(model)s") % {"model": name}, f"{tokens:.0f}"))
    return Verdict(
        evaluation.run_id, _badge(result["verdict"]), sentence % words, figures, list(_of_judge(evaluation, result))
    )


def _of_judge(evaluation: Evaluation, result: dict[str, Any]) -> Iterator[str]:
    """A judge is no stranger: what it was trained on belongs beside what it says."""
    for trained in result.get("judge_trained_on", []):
        yield _("The judge %(judge)s was trained on %(pairs)s comparisons of %(tasks)s tasks, from %(model)s.") % {
            "judge": evaluation.judge,
            "pairs": intcomma(trained["pairs"]),
            "tasks": intcomma(trained["tasks"]),
            "model": trained["model"],
        }
    if left_out := result.get("prompts_left_out"):
        yield ngettext(
            "%(n)s prompt was left out: a training had seen it.",
            "%(n)s prompts were left out: a training had seen them.",
            left_out,
        ) % {"n": intcomma(left_out)}
    yield from _few(result)


def _few(result: dict[str, Any]) -> Iterator[str]:
    if result["prompts"] < FEW_PROMPTS:
        yield ngettext(
            "Only %(n)s prompt: far too few to tell small differences.",
            "Only %(n)s prompts: far too few to tell small differences.",
            result["prompts"],
        ) % {"n": intcomma(result["prompts"])}


def _badge(verdict: str) -> Badge:
    return {"better": Badge("ok", _("better")), "worse": Badge("bad", _("worse"))}.get(
        verdict, Badge("", _("no difference shown"))
    )


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


def verdict_of_run(run: Run) -> Verdict | None:
    if evaluation := getattr(run, "evaluation", None):
        return verdict(evaluation)
    model = getattr(run, "model", None)
    found = verdicts_on(model) if model else []
    return next((verdict for verdict in found if verdict.run_id == run.pk), None)


def steps_after_run(run: Run) -> list[tuple[str, str]]:
    """Where one goes from a run that ended well."""
    if model := getattr(run, "model", None):
        page = reverse("admin:training_modelversion_change", args=[model.pk])
        return [(_("Open %(model)s") % {"model": model}, page), *steps_after(model)]
    evaluation = getattr(run, "evaluation", None)
    if evaluation and evaluation.baseline and run.project:
        pair = f"?a={evaluation.model}&b={evaluation.baseline}"
        return [(_("See the answers side by side"), reverse("compare", args=[run.project.slug]) + pair)]
    return []


def steps_after(model: ModelVersion) -> list[tuple[str, str]]:
    """Where one goes from a model."""
    launch = reverse("admin:training_run_add")
    if model.kind == ModelVersion.Kind.REWARD:
        return [(_("Evaluate on other data"), f"{launch}?method=evaluate&model={model}")]
    steps = []
    parent = model.run.parents.filter(kind__in=SPEAKERS).first() if model.run else None
    if model.run and model.run.project and parent:
        compare = reverse("compare", args=[model.run.project.slug])
        steps.append((_("Compare with %(model)s") % {"model": parent}, f"{compare}?a={model}&b={parent}"))
    return [*steps, (_("Train with DPO from it"), f"{launch}?method=dpo&model={model}")]


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
    advice = (
        _("What was measured stands below. Promote it if that convinces you.")
        if verdicts_on(model)
        else _("Measure it first: how often it is right or better, and whether that is shown. Then promote it.")
    )
    return ModelStanding(Badge("info", word), _("Made, and not yet promoted."), advice)


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
            if summary.get("too_long"):
                yield _("pairs left out as too long"), intcomma(summary["too_long"])
        case "generate":
            yield _("prompts answered"), intcomma(summary.get("prompts", 0))
            yield _("answers"), intcomma(summary.get("answers", 0))
            yield _("cut at the length limit"), intcomma(summary.get("cut", 0))
        case "evaluate":
            if found := verdict_of_run(run):
                yield from found.figures


def _costs(run: Run) -> Iterator[Figure]:
    if seconds := run.outcome.get("seconds"):
        yield _("computing time"), spell(timedelta(seconds=seconds))
    if memory := run.outcome.get("peak_memory_mb"):
        yield _("peak memory"), _("%(n)s GB") % {"n": f"{memory / 1024:.1f}"}


def percent(share: float, interval: list[float] | None = None) -> str:
    """
    >>> percent(0.614, [0.52, 0.7])
    '61\\xa0% [52, 70]'
    """
    text = (_("%(n)s %%") % {"n": f"{share * 100:.0f}"}).replace(" ", "\u00a0")
    return text + " [{:.0f}, {:.0f}]".format(*(100 * bound for bound in interval)) if interval else text
