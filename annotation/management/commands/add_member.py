"""`manage.py add_member SLUG USER ROLE`"""

from typing import Any

from django.contrib.auth.models import User
from django.core.management import CommandError, CommandParser
from django.urls import reverse

from annotation.management.project_command import ProjectCommand, project_named
from annotation.models import Membership, Role
from annotation.people import NotAllowed, change_role, find_link, invite, join


class Command(ProjectCommand):
    help = "Let a user into a project, or change their role there; for a new person, print a one-time link."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("user", metavar="USER")
        parser.add_argument("role", metavar="ROLE", choices=Role.values, help=", ".join(Role.values))

    def perform(self, *, slug: str, user: str, role: str, **options: Any) -> tuple[dict[str, Any], str]:
        project = project_named(slug)
        result = {"project": slug, "user": user, "role": role, "path": None}
        person = User.objects.filter(username=user).first()
        if person is None:  # a password is nobody's to choose but their own
            path = reverse("one_time_link", args=[invite(project, role, by=None)])
            sentence = (
                f"There is no user {user!r} yet. This link lets one person in, who chooses name and password: {path}"
            )
            return {**result, "path": path}, sentence
        present = Membership.objects.active().filter(project=project, user=person).first()
        try:
            if present is None:
                join(find_link(invite(project, role, by=None)), person)
            elif present.role != role:
                change_role(present, role)
        except NotAllowed as error:
            raise CommandError(str(error)) from error
        return result, f"{user} is {role} of {slug}."
