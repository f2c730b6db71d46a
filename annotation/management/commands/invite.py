"""`manage.py invite SLUG ROLE`"""

from typing import Any

from django.core.management import CommandParser
from django.urls import reverse

from annotation.management.project_command import ProjectCommand, project_named
from annotation.models import Role
from annotation.people import invite


class Command(ProjectCommand):
    help = "Print a link that lets one person into a project. It works once, within 7 days."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("role", metavar="ROLE", choices=Role.values, help=", ".join(Role.values))

    def perform(self, *, slug: str, role: str, **options: Any) -> tuple[dict[str, Any], str]:
        path = reverse("one_time_link", args=[invite(project_named(slug), role, by=None)])
        return {"project": slug, "role": role, "path": path}, f"Add this to the address of your server: {path}"
