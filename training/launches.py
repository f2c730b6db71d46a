"""Launches of a project's runs, as pages and commands ask for them: what will be done, what it costs, and go."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from annotation import exports
from training import queue, registry, snapshots
from training.configs import METHODS, PreferenceTrainingConfig, RecipeConfig
from training.models import Dataset, ModelVersion, Run
from training.queue import WrongState

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from annotation.models import Project

# Until this installation has generated something: SmolLM2-135M, 256 tokens, two CPU cores without bf16.
USUAL_SECONDS_PER_ANSWER = 2.5
LOADING_SECONDS = 15


class NothingToAnswer(ValueError):
    """No prompt of the project waits for answers."""


class NoModel(ValueError):
    """No model is registered that could answer."""


@dataclass(frozen=True)
class GenerationPlan:
    """What "Generate answers" would do: "for 38 prompts that lack answers, about 6 min"."""

    model: ModelVersion | None  # None: none is registered yet
    prompts: int
    answers: int
    seconds: float


def plan_generation(
    project: Project, *, model: ModelVersion | None = None, per_prompt: int | None = None
) -> GenerationPlan:
    """Count what is missing, and estimate the time from the last generation with this model (else with any)."""
    per_prompt = per_prompt or project.answers_per_task
    lacking = [per_prompt - answers for answers in exports.waiting_counts(project) if answers < per_prompt]
    model = model or registry.default_speaker()
    seconds = LOADING_SECONDS + sum(lacking) * seconds_per_answer(model) if lacking else 0
    return GenerationPlan(model=model, prompts=len(lacking), answers=sum(lacking), seconds=seconds)


def seconds_per_answer(model: ModelVersion | None) -> float:
    done = Run.objects.filter(method="generate", state=Run.State.SUCCEEDED).order_by("-pk")
    for run in [*done.filter(parents=model)[:1], *done[:1]] if model else done[:1]:
        answers = run.outcome.get("summary", {}).get("answers", 0)
        if answers and (seconds := run.outcome.get("seconds", 0)):
            return float(max(seconds - LOADING_SECONDS, 0.05 * seconds) / answers)
    return USUAL_SECONDS_PER_ANSWER


def launch_generation(
    project: Project, *, model: str = "", per_prompt: int | None = None, by: User | None = None, **settings: Any
) -> Run:
    """Let a model answer the prompts that lack answers. Raises NoModel, NothingToAnswer, WrongState or WrongConfig."""
    chosen = registry.resolve(model) if model else registry.default_speaker()
    if chosen is None:
        raise NoModel(_("No model is registered yet. Register one with: manage.py register_model NAME FOLDER"))
    per_prompt = per_prompt or project.answers_per_task
    if not plan_generation(project, model=chosen, per_prompt=per_prompt).prompts:
        raise NothingToAnswer(_("Every prompt of this project has its answers."))
    return queue.enqueue(
        "generate",
        {"model": str(chosen), "per_prompt": per_prompt, **settings},
        project=project,
        by=by,
        name=_("Answers of %(model)s") % {"model": chosen},
    )


def generation_of(project: Project) -> Run | None:
    """The run that writes answers for this project, if one waits or runs."""
    active = Run.objects.filter(project=project, method="generate", state__in=[Run.State.QUEUED, Run.State.RUNNING])
    return active.order_by("-pk").first()


def stop_generation(project: Project) -> Run | None:
    """Stop writing answers; what is there stays. The run that was stopped, if any."""
    run = generation_of(project)
    if run is not None:
        try:
            queue.cancel(run)
        except WrongState:  # it ended at this moment
            return None
    return run


def launch_training(
    method: str,
    *,
    project: Project,
    dataset: Dataset | None = None,
    by: User | None = None,
    name: str = "",
    **settings: Any,
) -> Run:
    """Train or evaluate on a snapshot of a project: on its newest if nothing was judged since, else on a fresh one."""
    if issubclass(METHODS.get(method, RecipeConfig), PreferenceTrainingConfig):
        settings.setdefault("model", default_start())
    queue.check(method, settings)  # a mistake in the settings must not leave a snapshot behind
    needs_snapshot = not settings.get("baseline")
    if dataset is None and needs_snapshot:
        dataset = snapshots.newest_or_fresh(project, by=by)
    return queue.enqueue(
        method,
        settings,
        project=project,
        datasets=[dataset] if dataset and needs_snapshot else [],
        by=by,
        name=name or f"{project.slug}-{method}",
    )


def default_start() -> str:
    """The model that training starts from when nobody says otherwise."""
    model = registry.default_speaker()
    if model is None:
        raise NoModel(_("No model is registered yet. Register one with: manage.py register_model NAME FOLDER"))
    return str(model)


def training_pairs(dataset: Dataset, config: RecipeConfig | None = None) -> int:
    """How many pairs training will see: "Train on 1,204 pairs". Too long ones are known only to the recipe.

    As in `recipes.data.divide`: test prompts are left out, validation prompts held out, and further training
    prompts too where those are fewer than `eval_share`; their pairs are counted as the average.
    """
    sides = {name: dataset.summary["splits"].get(name, {"tasks": 0, "pairs": 0}) for name in ("train", "validation")}
    tasks, pairs = sides["train"]["tasks"], sides["train"]["pairs"]
    if isinstance(config, PreferenceTrainingConfig) and tasks:
        wanted = ceil(config.eval_share * (tasks + sides["validation"]["tasks"]))
        extra = max(0, min(wanted - sides["validation"]["tasks"], tasks - 1))
        pairs = round(pairs * (tasks - extra) / tasks)
        return int(min(pairs, config.max_pairs or pairs))
    return int(pairs)
