"""`manage.py promote NAME@VERSION`: make a version the one that its name stands for."""

from typing import Any

from django.core.management import CommandParser

from training import registry
from training.management.run_command import TrainingCommand


class Command(TrainingCommand):
    help = "Make a version the one that its name stands for. The one before it retires."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("model", metavar="NAME@VERSION")

    def perform(self, *, model: str, **options: Any) -> tuple[dict[str, Any], str]:
        promoted = registry.promote(registry.resolve(model))
        return {"model": str(promoted), "stage": promoted.stage}, f"{promoted} is promoted."
