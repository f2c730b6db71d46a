"""Set a project up: create it, publish its guideline. What it needs next stands in `progress.py`."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.utils.text import slugify

from annotation.models import Guideline, Kind, Membership, Project, Role

RESERVED = {"new"}  # /p/new/


class PublishedMeanwhile(Exception):
    """Someone else published a version since this one was opened."""


def create_project(
    title: str,
    *,
    kind: str = Kind.RANKING,
    answers_per_task: int = 4,
    guideline: str = "",
    by: Any = None,
    slug: str = "",
    **fields: Any,
) -> Project:
    """A project with its first guideline; `by` becomes its manager. Without a slug, one is made from the title."""
    answers = 2 if kind == Kind.PAIRWISE else answers_per_task
    with transaction.atomic():
        project = Project.objects.create(
            title=title, kind=kind, answers_per_task=answers, slug=slug or _free_slug(title), **fields
        )
        if by:
            Membership.objects.create(project=project, user=by, role=Role.MANAGER)
        if guideline.strip():
            publish_guideline(project, guideline, by=by, after=0)
    return project


def publish_guideline(project: Project, text: str, *, by: Any, after: int, change_note: str = "") -> Guideline:
    """Publish version `after` + 1. Raises PublishedMeanwhile when `after` is not the newest: no work is overwritten."""
    try:
        with transaction.atomic():
            guideline = Guideline.objects.create(
                project=project, version=after + 1, text=text, change_note=change_note, published_by=by
            )
            project.guideline = guideline
            project.save(update_fields=["guideline"])
    except IntegrityError as error:  # the version is taken
        raise PublishedMeanwhile from error
    return guideline


def _free_slug(title: str) -> str:
    """A readable address. Slugs are ASCII, so that commands and addresses can be typed anywhere:
    "日常问题" becomes "project", the next one "project-2".
    """
    stem = slugify(title)[:40].strip("-") or "project"
    taken = set(Project.objects.filter(slug__startswith=stem).values_list("slug", flat=True)) | RESERVED
    number = 1
    slug = stem
    while slug in taken:
        number += 1
        slug = f"{stem}-{number}"
    return slug
