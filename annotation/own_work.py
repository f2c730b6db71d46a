"""What people see of their own work: how much today, what they judged, and why there is nothing to do."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import F, QuerySet
from django.utils import timezone

from annotation.models import Lease, Membership, Project, Purpose, Ranking, Task


def letter(position: int) -> str:
    """The name of the answer at a display position: 1 is A."""
    return chr(ord("A") + position - 1)


def done_today(membership: Membership) -> int:
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    return Ranking.objects.counted().filter(annotator=membership, created_at__gte=midnight).count()


def judged_by(membership: Membership) -> QuerySet[Ranking]:
    """One's own judgements, latest first, surplus ones too; what was amended shows its last form only."""
    mine = Ranking.objects.filter(annotator=membership, is_current=True, lease__isnull=False)
    return mine.select_related("task__prompt").order_by("-created_at", "-pk")


@dataclass(frozen=True)
class Judgement:
    """A ranking in the letters that its annotator saw."""

    ranking: Ranking

    @property
    def tiers(self) -> list[list[str]]:
        """
        >>> Judgement(Ranking(tiers=[[12], [10, 11]], display_order=[11, 12, 10])).tiers
        [['B'], ['A', 'C']]
        """
        shown = {pk: letter(position) for position, pk in enumerate(self.ranking.display_order, 1)}
        return [sorted(shown[pk] for pk in tier) for tier in self.ranking.tiers or []]

    @property
    def may_be_amended(self) -> bool:
        return self.ranking.purpose == Purpose.WORK


def why_idle(membership: Membership) -> str:
    """Why this person gets no task now: paused, empty (no prompts), waiting (for answers), taken (by others), done."""
    if membership.project.state == Project.State.PAUSED:
        return "paused"
    tasks = Task.objects.filter(project=membership.project)
    if not tasks.exists():
        return "empty"
    if tasks.filter(ready=False).exists():
        return "waiting"
    mine = Lease.objects.filter(annotator=membership, state__in=[Lease.State.SPENT, Lease.State.SKIPPED])
    return "taken" if tasks.filter(judged__lt=F("overlap")).exclude(leases__in=mine).exists() else "done"
