"""The queue of runs: queued -> running -> succeeded | failed | cancelled, and running -> lost -> queued.

Every change of state is a counted UPDATE that names the state it leaves and, once claimed, the worker that holds the
run. A worker whose claim was taken away finds a count of 0 and must stop: two workers never write for one run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone
from django.utils.translation import gettext as _
from pydantic import ValidationError

from training import registry
from training.configs import METHODS, RecipeConfig, UnknownMethod, config_for, explain, model_fields
from training.models import Dataset, ModelVersion, Run, Worker

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.db.models import QuerySet

    from annotation.models import Project

HEARTBEAT_SECONDS = 5
GIVES_WAY = "generate"  # its answers come in parts, so it can stop for another run and go on where it was
LOST_AFTER = timedelta(seconds=60)  # without a heartbeat
MOST_ATTEMPTS = 5  # a run that dies every time must not die for ever


class WrongConfig(ValueError):
    """A config that the method refuses: a sentence per field; the key "" concerns several."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(" ".join(errors.values()))
        self.errors = errors


class ClaimLost(Exception):
    """The run is not this worker's any more."""


class WrongState(ValueError):
    """What was asked cannot be done with a run in its present state."""


# Into the queue


def enqueue(
    method: str,
    config: Mapping[str, Any],
    *,
    project: Project | None = None,
    datasets: Iterable[Dataset] = (),
    parents: Iterable[ModelVersion] = (),
    by: User | None = None,
    name: str = "",
    cloned_from: Run | None = None,
) -> Run:
    """Queue a run. Raises WrongConfig with a sentence per field, or WrongState when answers are being written already.

    The models that the config names become parents; a name without a version is fixed to the version it stands for now.
    """
    checked, models = check(method, config)
    with _one_generation_per_project(), transaction.atomic():
        run = Run.objects.create(
            name=name.strip() or _(METHODS[method].title),
            method=method,
            config=checked.model_dump(mode="json"),
            device=checked.device,
            project=project,
            created_by=by,
            cloned_from=cloned_from,
        )
        run.datasets.set(datasets)
        run.parents.set([*models.values(), *parents])
    return run


def check(method: str, config: Mapping[str, Any]) -> tuple[RecipeConfig, dict[str, ModelVersion]]:
    """The method's config and, by field, the models that it names. Raises WrongConfig with a sentence per field."""
    try:
        kind = METHODS[method]
    except KeyError:
        raise UnknownMethod(
            _("There is no method %(method)r; known are %(known)s.") % {"method": method, "known": ", ".join(METHODS)}
        ) from None
    values, models, errors = dict(config), {}, {}
    for field, kinds in model_fields(kind).items():
        if not isinstance(named := values.get(field), str) or not named:
            continue
        try:
            models[field] = model = registry.resolve(named)
        except registry.UnknownModel as unknown:
            errors[field] = str(unknown)
            continue
        values[field] = str(model)
        if model.kind not in kinds:
            errors[field] = _("%(model)s is a %(kind)s; it does not fit here.") % {
                "model": model,
                "kind": model.get_kind_display().lower(),
            }
    try:
        checked = config_for(method, values)
    except ValidationError as invalid:
        errors = {**explain(invalid, kind), **errors}
    if errors:
        raise WrongConfig(errors)
    return checked, models


@contextmanager
def _one_generation_per_project() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:  # the only constraint that a waiting run can break
        raise WrongState(_("Answers for this project are being written already; stop that run first.")) from error


# By workers


def waiting_for(device: str) -> QuerySet[Run]:
    """The queued runs of a device in the order in which they start: the oldest first, generations after the others."""
    fits = Run.objects.filter(state=Run.State.QUEUED, device__in={device, device.partition(":")[0]})
    return fits.order_by(Case(When(method=GIVES_WAY, then=1), default=0), "pk")


def waiting_before(run: Run) -> QuerySet[Run]:
    """The queued runs that start before this queued one."""
    others, older = ~Q(method=GIVES_WAY), Q(pk__lt=run.pk)
    return waiting_for(run.device).filter(others | older if run.method == GIVES_WAY else others & older)


def must_give_way(run: Run, device: str) -> bool:
    """Whether a running generation is to let a run pass that trains or measures, and to go on after it."""
    return run.method == GIVES_WAY and waiting_for(device).exclude(method=GIVES_WAY).exists()


def claim(worker: str, *, host: str, device: str) -> Run | None:
    """Give the first queued run for this device to a worker; None when there is none or the device is taken."""
    slot = f"{host} {device}"
    now = timezone.now()
    for pk in waiting_for(device).values_list("pk", flat=True)[:10]:
        try:
            with transaction.atomic():
                claimed = Run.objects.filter(pk=pk, state=Run.State.QUEUED).update(
                    state=Run.State.RUNNING,
                    worker=worker,
                    slot=slot,
                    heartbeat_at=now,
                    progressed_at=now,
                    started_at=now,
                    attempts=F("attempts") + 1,
                    error="",
                )
        except IntegrityError:  # another worker of this host runs something on this device
            return None
        if claimed:
            return Run.objects.get(pk=pk)
    return None


def held_by(worker: str) -> Q:
    return Q(state=Run.State.RUNNING, worker=worker)


def update_held(run: Run, worker: str, *, only_if: Q | None = None, **fields: Any) -> None:
    """Write to a run as its holder. Raises ClaimLost when the worker holds it no more."""
    if not Run.objects.filter(held_by(worker), only_if or Q(), pk=run.pk).update(**fields):
        raise ClaimLost(f"Run {run.pk} is not held by {worker} any more.")


def cancel_wanted(run: Run, worker: str) -> bool:
    """Whether the run is to be cancelled. Raises ClaimLost when the worker holds it no more."""
    wanted = Run.objects.filter(held_by(worker), pk=run.pk).values_list("cancel_requested", flat=True).first()
    if wanted is None:
        raise ClaimLost(f"Run {run.pk} is not held by {worker} any more.")
    return wanted


def finish(run: Run, worker: str, state: Run.State, *, outcome: dict[str, Any] | None = None, error: str = "") -> None:
    """Close a run as its holder. Raises ClaimLost."""
    update_held(run, worker, state=state, outcome=outcome or {}, error=error, ended_at=timezone.now(), slot="")


def give_back(run: Run, worker: str) -> None:
    """Return a run to the queue, to be resumed from its folder: its worker stops, or another run passes."""
    _let_go(held_by(worker) & Q(pk=run.pk), attempts=F("attempts") - 1)


def lose(lost: Q, *, reason: str) -> int:
    """Return running runs whose worker or recipe died to the queue, where they count an attempt as failed."""
    hopeless = _("%(reason)s This was attempt %(number)s; resume the run to try again from its last checkpoint.")
    return _let_go(lost, reason=reason, hopeless=hopeless % {"reason": reason, "number": MOST_ATTEMPTS})


def _let_go(runs: Q, *, reason: str = "", hopeless: str = "", **fields: Any) -> int:
    """running -> queued; a run that was to be cancelled is done, and one that was tried too often fails.

    One UPDATE decides, so that a wish to cancel that comes at this moment is either seen here or finds a queued run.
    """
    state, tried_enough = Run.State, Q(attempts__gte=MOST_ATTEMPTS) if hopeless else Q(pk=None)
    over = Q(cancel_requested=True) | tried_enough
    return Run.objects.filter(runs, state=state.RUNNING).update(
        state=Case(
            When(cancel_requested=True, then=Value(state.CANCELLED)),
            When(tried_enough, then=Value(state.FAILED)),
            default=Value(state.QUEUED),
        ),
        error=Case(
            When(cancel_requested=True, then=Value(_("Cancelled on request."))),
            When(tried_enough, then=Value(hopeless)),
            default=Value(reason),
        ),
        ended_at=Case(When(over, then=Value(timezone.now())), default=None),
        worker="",
        slot="",
        **fields,
    )


def requeue_lost() -> int:
    """Runs without a heartbeat for a minute go back to the queue."""
    return lose(
        Q(heartbeat_at__lt=timezone.now() - LOST_AFTER),
        reason=_("The worker that held this run was not heard any more."),
    )


def live_workers(device: str = "") -> list[Worker]:
    """Workers heard of within the last minute, that serve this device if one is named."""
    workers = Worker.objects.filter(seen_at__gte=timezone.now() - LOST_AFTER)
    return [worker for worker in workers if not device or device in (worker.device, worker.device.partition(":")[0])]


# By people


def cancel(run: Run) -> None:
    """Stop a run: at once while it waits; while it runs, its supervisor asks the recipe and then insists."""
    queued = Run.objects.filter(pk=run.pk, state=Run.State.QUEUED)
    running = Run.objects.filter(pk=run.pk, state=Run.State.RUNNING)
    while True:  # again only if a worker took it or gave it back between the two
        done = queued.update(
            state=Run.State.CANCELLED,
            cancel_requested=True,
            ended_at=timezone.now(),
            error=_("Cancelled on request."),
        ) or running.update(cancel_requested=True)
        run.refresh_from_db()
        if done or run.state == Run.State.CANCELLED:
            return
        if not run.active:
            raise WrongState(
                _("Run %(id)s is over already: %(state)s.") % {"id": run.pk, "state": run.get_state_display().lower()}
            )


def resume(run: Run) -> None:
    """Queue a failed or cancelled run again; it goes on from its last good checkpoint."""
    over = Run.objects.filter(pk=run.pk, state__in=[Run.State.FAILED, Run.State.CANCELLED])
    with _one_generation_per_project(), transaction.atomic():
        resumed = over.update(
            state=Run.State.QUEUED, worker="", attempts=0, cancel_requested=False, error="", outcome={}, ended_at=None
        )
    if not resumed:
        run.refresh_from_db()
        raise WrongState(
            _("Run %(id)s is %(state)s; only a failed or cancelled run can be resumed.")
            % {"id": run.pk, "state": run.get_state_display().lower()}
        )
    run.refresh_from_db()


def clone(run: Run, *, by: User | None = None, **changes: Any) -> Run:
    """The same again, perhaps with some settings changed."""
    return enqueue(
        run.method,
        {**run.config, **changes},
        project=run.project,
        datasets=run.datasets.all(),
        by=by,
        name=run.name,
        cloned_from=run,
    )
