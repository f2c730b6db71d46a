"""`manage.py create_project SLUG`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management import CommandError, CommandParser

from annotation.management.project_command import ProjectCommand, user_named
from annotation.models import Kind, Project
from annotation.projects import RESERVED, create_project


class Command(ProjectCommand):
    help = "Create a project."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--title", help="default: the slug")
        parser.add_argument("--kind", choices=Kind.values, default=Kind.RANKING)
        parser.add_argument("--candidates", type=int, help="answers per prompt, 2 to 9; pairwise has 2 (default 4)")
        parser.add_argument("--overlap", type=int, default=1, help="people per task")
        parser.add_argument(
            "--calibration-share", type=float, default=0.15, help="share of tasks that more people judge"
        )
        parser.add_argument("--calibration-overlap", type=int, default=3, help="people per calibration task")
        parser.add_argument("--lease-minutes", type=int, default=15, help="how long a task is held for a person")
        parser.add_argument("--guideline", metavar="FILE", help="Markdown, published as version 1")
        parser.add_argument("--manager", metavar="USER", help="who manages it")

    def perform(
        self,
        *,
        slug: str,
        title: str | None,
        kind: str,
        candidates: int | None,
        guideline: str | None,
        manager: str | None,
        overlap: int,
        calibration_share: float,
        calibration_overlap: int,
        lease_minutes: int,
        **options: Any,
    ) -> tuple[dict[str, Any], str]:
        if kind == Kind.PAIRWISE and candidates not in (None, 2):
            raise CommandError("--candidates must be 2 where two answers are compared.")
        fields: dict[str, Any] = {
            "title": title or slug,
            "kind": kind,
            "answers_per_task": 2 if kind == Kind.PAIRWISE else 4 if candidates is None else candidates,
            "overlap": overlap,
            "calibration_share": calibration_share,
            "calibration_overlap": calibration_overlap,
            "lease_minutes": lease_minutes,
        }
        if slug in RESERVED:
            raise CommandError(f"The slug {slug!r} is reserved; choose another.")
        try:
            Project(slug=slug, **fields).full_clean()
        except ValidationError as error:
            name, reasons = next(iter(error.message_dict.items()))
            option = {"answers_per_task": "candidates"}.get(name, name).replace("_", "-")
            raise CommandError(f"{'SLUG' if name == 'slug' else f'--{option}'}: {reasons[0]}") from error
        by = user_named(manager) if manager else None
        try:
            text = Path(guideline).read_text(encoding="utf-8") if guideline else ""
        except OSError as error:
            raise CommandError(f"{guideline} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise CommandError(f"{guideline} is not UTF-8 at byte {error.start + 1}.") from error
        project = create_project(slug=slug, guideline=text, by=by, **fields)
        return {"project": project.slug, **fields}, f"Created {project.slug}. Its pages are under /p/{project.slug}/."
