"""What follows from a run that ended: a model version, an evaluation, or a sentence that says why there is none."""

from __future__ import annotations

from django.db import transaction
from django.utils.text import slugify

from training import queue, registry
from training.models import Evaluation, ModelVersion, Run
from training.registry import ModelChanged, UnfitModel
from training.rundir import CANCELLED, SUCCEEDED, BrokenRun, Outcome, RunFolder, folder_checksum
from training.snapshots import SnapshotChanged

MAKES = {"reward": ModelVersion.Kind.REWARD, "dpo": ModelVersion.Kind.POLICY}
LOG_LINES = 15  # shown with an error


def settle(run: Run, folder: RunFolder, outcome: Outcome, *, worker: str) -> None:
    """Close a run as its recipe says, and register what it made, in one transaction. Raises ClaimLost."""
    result = outcome.model_dump(mode="json", exclude={"state", "error"})
    if outcome.state == CANCELLED:
        queue.finish(run, worker, Run.State.CANCELLED, outcome=result, error=outcome.error or "")
        return
    if outcome.state != SUCCEEDED:
        result["log"] = last_lines(folder)
        queue.finish(run, worker, Run.State.FAILED, outcome=result, error=outcome.error or "")
        return

    folder.verify()  # reads every file: not inside the transaction
    kind = MAKES.get(run.method)
    checksum = ""
    if kind:
        list(registry.model_files(folder.model))  # raises at what must not be in a model
        registry.check_weights(folder.model)
        checksum = folder_checksum(folder.model)
    with transaction.atomic():
        queue.finish(run, worker, Run.State.SUCCEEDED, outcome=result)
        if kind:
            registry.add_version(model_name(run, kind), folder.model, checksum, kind, run=run)
        elif run.method == "evaluate":
            store_evaluation(run, outcome)


def store_evaluation(run: Run, outcome: Outcome) -> Evaluation:
    def named(field: str) -> ModelVersion | None:
        name = run.config.get(field)
        return registry.resolve(name) if name else None

    return Evaluation.objects.create(
        run=run,
        model=registry.resolve(run.config["model"]),
        baseline=named("baseline"),
        judge=named("judge"),
        result=outcome.summary,
    )


def model_name(run: Run, kind: str) -> str:
    """The model is named as the run is, as far as a model's name allows.

    A name that stands for something else, a model of another project, of another kind or from outside, is left to it:
    the newest version, or a promoted one, would take its place wherever the name is written without a version.
    """
    name = slugify(run.name)[:80] or f"{run.method}-{run.pk}"
    others = ModelVersion.objects.filter(name=name).exclude(kind=kind, run__project=run.project)
    return f"{name}-{run.pk}" if others.exists() else name


def last_lines(folder: RunFolder) -> str:
    return "\n".join(folder.log_tail(4000).splitlines()[-LOG_LINES:])


def sentence(error: Exception) -> str:
    """An error of the worker's for the page of the run; what nobody foresaw keeps its technical name."""
    if isinstance(error, BrokenRun | ModelChanged | SnapshotChanged | UnfitModel):
        return str(error)
    return f"{type(error).__name__}: {error}"
