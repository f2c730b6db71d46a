"""How far a project is: what its overview counts, and the steps that are left before people can work."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from django.db.models import Count, F, Max, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from annotation.models import Lease, Membership, Project, Ranking, Role, Task, TaskQuerySet


def tasks_in_state(project: Project, state: str) -> TaskQuerySet:
    """waiting for answers; open: judgements are missing; finished; several people judged it; else all tasks."""
    tasks = Task.objects.filter(project=project)
    if state == "waiting":
        return tasks.filter(ready=False)
    if state == "open":
        return tasks.filter(ready=True, judged__lt=F("overlap"))
    if state == "finished":
        return tasks.finished()
    if state == "several":
        return tasks.filter(judged__gt=1)
    return tasks


@dataclass
class Progress:
    """The numbers of one project, each read once, when first shown."""

    project: Project
    now: datetime = field(default_factory=timezone.localtime)

    @cached_property
    def tasks(self) -> dict[str, int]:
        judged = Q(ready=True, judged__gte=F("overlap"))
        return Task.objects.filter(project=self.project).aggregate(
            all=Count("pk"),
            waiting=Count("pk", filter=Q(ready=False)),
            finished=Count("pk", filter=judged),
            open=Count("pk", filter=Q(ready=True) & ~judged),
            wanted=Coalesce(Sum("overlap"), 0),
            judged=Coalesce(Sum("judged"), 0),
        )

    @cached_property
    def rankings(self) -> dict[str, int]:
        midnight = self.now.replace(hour=0, minute=0, second=0, microsecond=0)
        return self._counted.aggregate(
            today=Count("pk", filter=Q(created_at__gte=midnight)), all_bad=Count("pk", filter=Q(all_bad=True))
        )

    @cached_property
    def working_now(self) -> list[Membership]:
        """Who holds a task this moment."""
        live = Lease.objects.live().filter(expires_at__gt=self.now)
        return list(
            people(self.project).filter(leases__in=live).select_related("user").order_by("user__username").distinct()
        )

    @cached_property
    def annotators(self) -> int:
        """Everybody who may judge, but for the manager who set the project up and tries it."""
        return Membership.objects.active().filter(project=self.project, role=Role.ANNOTATOR).count()

    @cached_property
    def comments(self) -> list[Ranking]:
        newest = self._counted.exclude(comment="").select_related("annotator__user", "task__prompt")
        return list(newest.order_by("-created_at")[:5])

    @cached_property
    def checklist(self) -> list[tuple[str, bool]]:
        """The steps in their order, and whether each is done."""
        ready = self.tasks["all"] - self.tasks["waiting"]
        return [
            ("guideline", self.project.guideline_id is not None),
            ("prompts", self.tasks["all"] > 0),
            ("answers", ready > 0),
            ("people", self.annotators > 0 or self.tasks["judged"] > 0),
            ("preview", self.project.previewed_at is not None or self.tasks["judged"] > 0),
        ]

    @property
    def is_set_up(self) -> bool:
        return all(done for _, done in self.checklist)

    @property
    def next_step(self) -> str:
        """What the overview's one sentence is about and its one action is for."""
        ready = self.tasks["all"] - self.tasks["waiting"]
        if not self.tasks["all"]:
            return "prompts"
        if self.project.state == Project.State.PAUSED:
            return "paused"
        if not ready:
            return "answers"
        if self.tasks["open"] and not self.annotators and not self.tasks["judged"]:
            return "people"
        if self.tasks["open"]:
            return "work"
        return "answers" if self.tasks["waiting"] else "finished"

    @property
    def _counted(self) -> QuerySet[Ranking]:
        return Ranking.objects.counted().filter(task__project=self.project)


def people(project: Project) -> QuerySet[Membership]:
    """Everybody who is in the project or judged in it: how many judgements of theirs count, when they last judged."""
    mine = Ranking.objects.filter(annotator=OuterRef("pk")).order_by()
    counted = mine.counted().values("annotator").annotate(n=Count("pk"))
    return Membership.objects.filter(project=project).annotate(
        judgements=Coalesce(Subquery(counted.values("n")), 0),
        last_active=Subquery(mine.values("annotator").annotate(last=Max("created_at")).values("last")),
    )
