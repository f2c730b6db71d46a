"""`manage.py export_model NAME@VERSION DIR`: copy a model's files, to be used elsewhere."""

from pathlib import Path
from typing import Any

from django.core.management import CommandParser

from training import registry
from training.management.run_command import TrainingCommand


class Command(TrainingCommand):
    help = "Copy a model into a new folder, after checking that no file of it was changed."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("model", metavar="NAME@VERSION")
        parser.add_argument("folder", type=Path, metavar="DIR")

    def perform(self, *, model: str, folder: Path, **options: Any) -> tuple[dict[str, Any], str]:
        version = registry.resolve(model)
        target = registry.export_model(version, folder)
        return {"model": str(version), "folder": str(target)}, f"{version} is in {target}."
