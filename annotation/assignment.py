"""Who gets which task next: seats, leases, and overlap that is exact on SQLite and PostgreSQL.

Races are decided by the database: a counted UPDATE takes a seat, unique constraints bound leases per seat and per
person. Row locks only spare PostgreSQL vain tries; SQLite has none and needs none, its writers queue.
"""

import random
from itertools import count

from django.db import IntegrityError, OperationalError, transaction
from django.db.models import Case, Exists, F, IntegerField, OuterRef, QuerySet, Sum, Value, When
from django.db.models.functions import Greatest
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation.models import Lease, Membership, Project, Task

TRIES = 50  # each vain one means that another person got a seat, so a few suffice even in a crowd


class SeatLost(Exception):
    """The seat went to another, or the lease was spent, skipped or released."""

    def __init__(self, *, surplus: bool = False) -> None:
        said = _("This task is not yours any more: it was judged or skipped, or its time ran out and another took it.")
        kept = _("Your judgement is kept as surplus and not counted.")
        super().__init__(f"{said} {kept}" if surplus else said)


def next_task(annotator: Membership) -> Lease | None:
    """The annotator's current lease, or a new one; None when nothing is left (or the project is paused).

    Idempotent: until the lease is spent, skipped or lost, the same call gives the same lease, its clock restarted.
    """
    for attempt in range(TRIES):
        if current := Lease.objects.live().filter(annotator=annotator).select_related("task__prompt").first():
            current.annotator = annotator  # with its project, which is loaded already
            if renew(current):
                return current
            continue  # lost between the two statements
        if annotator.project.state == Project.State.PAUSED:
            return None
        try:
            if lease := _take_free_seat(annotator, skip_locked=attempt == 0):
                return lease
            if _open_tasks(annotator).exists():
                continue
            if (lease := _take_stale_seat(annotator)) or not _stale_leases(annotator).exists():
                return lease
        except IntegrityError:  # the same person's other tab was faster
            continue
    raise OperationalError("no seat could be taken")  # told as "busy, try again", never as "nothing left"


def renew(lease: Lease) -> bool:
    """Restart the clock of a live lease; False when the seat is lost."""
    lease.expires_at = timezone.now() + lease.annotator.project.lease_time
    return bool(Lease.objects.live().filter(pk=lease.pk).update(expires_at=lease.expires_at))


def skip(lease: Lease, reason: Lease.SkipReason) -> None:
    """Give the seat back with a reason. A second skip of the same lease changes nothing; a spent lease raises."""
    if not _free_seat(lease, Lease.State.SKIPPED, skip_reason=reason):
        lease.refresh_from_db()
        if lease.state != Lease.State.SKIPPED:
            raise SeatLost


def release(lease: Lease) -> bool:
    """Give the seat back; the same person may get the task again."""
    return _free_seat(lease, Lease.State.RELEASED)


def set_overlap(project: Project, *, overlap: int, calibration_share: float, calibration_overlap: int) -> None:
    """Change how many people judge each task, for tasks that exist too. No seat that is taken is ever removed."""
    with transaction.atomic():
        project.overlap, project.calibration_share = overlap, calibration_share
        project.calibration_overlap = calibration_overlap
        project.save(update_fields=["overlap", "calibration_share", "calibration_overlap"])
        Task.objects.filter(project=project).update(
            is_calibration=Case(When(draw__lt=calibration_share, then=True), default=False),
            overlap=_seats(overlap, calibration_share, calibration_overlap),
        )


def seats_added(project: Project, *, overlap: int, calibration_share: float, calibration_overlap: int) -> int:
    """How many judgements `set_overlap` would add to the tasks that exist; negative: how many it would spare."""
    seats = _seats(overlap, calibration_share, calibration_overlap)
    sums = Task.objects.filter(project=project).aggregate(before=Sum("overlap"), after=Sum(seats))
    return (sums["after"] or 0) - (sums["before"] or 0)


def due_for_calibration(served: int, share: float) -> bool:
    """Whether the task after `served` ones is a calibration task: the third, then evenly at this share.

    >>> [n for n in range(30) if due_for_calibration(n, 0.15)]
    [2, 6, 13, 19, 26]
    """
    return share > 0 and (served == 2 or int((served + 1) * share) > int(served * share))


def _seats(overlap: int, calibration_share: float, calibration_overlap: int) -> Greatest:
    """The seats of each task; none that is taken is ever removed."""
    calibrates = When(draw__lt=calibration_share, then=Value(max(overlap, calibration_overlap)))
    return Greatest(Case(calibrates, default=Value(overlap)), F("taken"), output_field=IntegerField())


def _done_with(annotator: Membership, task: str) -> Exists:
    """Whether this person holds, judged or skipped the task; after a release or an expiry one may come back."""
    states = [Lease.State.LIVE, Lease.State.SPENT, Lease.State.SKIPPED]
    return Exists(Lease.objects.filter(task=OuterRef(task), annotator=annotator, state__in=states))


def _open_tasks(annotator: Membership) -> QuerySet[Task]:
    """Tasks with a free seat that this person neither holds, judged, nor skipped."""
    return Task.objects.with_free_seat().filter(~_done_with(annotator, "pk"), project=annotator.project_id)


def _stale_leases(annotator: Membership) -> QuerySet[Lease]:
    """Seats whose clock ran out, on tasks that this person may take."""
    return Lease.objects.stale().filter(~_done_with(annotator, "task"), task__project=annotator.project_id)


def _take_free_seat(annotator: Membership, *, skip_locked: bool) -> Lease | None:
    with transaction.atomic():
        free = _open_tasks(annotator).select_related("prompt")
        if skip_locked:  # spreads a crowd over the queue; later tries just queue at the UPDATE, holding no other lock
            free = free.select_for_update(skip_locked=True, no_key=True, of=("self",))
        task = None
        if due_for_calibration(annotator.served, annotator.project.calibration_share):
            task = free.filter(is_calibration=True).order_by("-taken", "position", "pk").first()
        task = task or free.order_by("taken", "position", "pk").first()
        if task is None or not Task.objects.with_free_seat().filter(pk=task.pk).update(taken=F("taken") + 1):
            return None
        # The UPDATE holds the task's row until the end of the transaction: nobody else numbers its seats now.
        used = set(task.leases.filter(state__in=[Lease.State.LIVE, Lease.State.SPENT]).values_list("seat", flat=True))
        return _open_lease(task, annotator, seat=next(seat for seat in count() if seat not in used))


def _take_stale_seat(annotator: Membership) -> Lease | None:
    """Take over a seat whose lease ran out. Only when no free one is left: its holder may still come back."""
    with transaction.atomic():
        leases = _stale_leases(annotator).select_related("task__prompt").order_by("expires_at")
        stale = leases.select_for_update(skip_locked=True, no_key=True, of=("self",)).first()
        # Its holder may renew or submit up to the UPDATE; whoever changes the row first has the seat.
        if stale is None or not Lease.objects.stale().filter(pk=stale.pk).update(state=Lease.State.EXPIRED):
            return None
        return _open_lease(stale.task, annotator, seat=stale.seat)


def _open_lease(task: Task, annotator: Membership, *, seat: int) -> Lease:
    order = list(task.candidates.values_list("pk", flat=True))
    random.shuffle(order)
    lease = Lease.objects.create(
        task=task,
        annotator=annotator,
        seat=seat,
        attempt=task.leases.filter(annotator=annotator).count() + 1,
        expires_at=timezone.now() + annotator.project.lease_time,
        display_order=order,
    )
    Membership.objects.filter(pk=annotator.pk).update(served=F("served") + 1)
    annotator.served += 1
    return lease


def _free_seat(lease: Lease, state: Lease.State, **fields: str) -> bool:
    with transaction.atomic():
        if not Lease.objects.live().filter(pk=lease.pk).update(state=state, **fields):
            return False
        Task.objects.filter(pk=lease.task_id).update(taken=F("taken") - 1)
        return True
