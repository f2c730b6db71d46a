"""Which runs, datasets and models a person may see: those of the projects where the person is an engineer."""

from typing import Any

from django.db.models import Q, QuerySet

from annotation.models import Project, Role
from training.models import Dataset, ModelVersion, Run


def engineered_projects(user: Any) -> QuerySet[Project]:
    if user.is_superuser:
        return Project.objects.all()
    return Project.objects.filter(
        memberships__user_id=user.pk, memberships__left_at=None, memberships__role=Role.ENGINEER
    )


def visible_datasets(user: Any) -> QuerySet[Dataset]:
    return Dataset.objects.all() if user.is_superuser else Dataset.objects.filter(_within(user))


def visible_runs(user: Any) -> QuerySet[Run]:
    return Run.objects.all() if user.is_superuser else Run.objects.filter(_within(user))


def visible_models(user: Any) -> QuerySet[ModelVersion]:
    """Models that visible runs made, and those that no run made: they were registered for everyone."""
    if user.is_superuser:
        return ModelVersion.objects.all()
    return ModelVersion.objects.filter(Q(run=None) | Q(run__in=visible_runs(user)))


def _within(user: Any) -> Q:
    """What belongs to no project (any more) stays with the one who made it."""
    return Q(project__in=engineered_projects(user)) | Q(project=None, created_by_id=user.pk)
