"""`manage.py generate SLUG`: let a model answer the prompts that lack answers."""

from typing import Any

from django.core.management import CommandParser

from annotation.management.project_command import project_named
from training import launches
from training.management.run_command import LaunchCommand, settings_of
from training.models import Run


class Command(LaunchCommand):
    help = "Let a model answer a project's prompts that lack answers, so that people can rank them."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project", metavar="SLUG")
        parser.add_argument("--model", default="", metavar="NAME", help="default: the newest promoted SFT, else base")
        parser.add_argument("--per-prompt", type=int, help="answers for each prompt (default: the project's)")

    def launch(self, *, project: str, model: str, per_prompt: int | None, pairs: list[str], **options: Any) -> Run:
        return launches.launch_generation(
            project_named(project), model=model, per_prompt=per_prompt, **settings_of(pairs)
        )
