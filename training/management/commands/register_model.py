"""`manage.py register_model NAME FOLDER_OR_HUB`: bring a model in from outside."""

from typing import Any

from django.core.management import CommandParser

from training.management.run_command import TrainingCommand
from training.models import ModelVersion
from training.registry import register_model


class Command(TrainingCommand):
    help = "Copy a model from a folder, or fetch it from the hub, into the registry. Safetensors and JSON only."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help="such as smollm2-135m-instruct")
        parser.add_argument("source", metavar="FOLDER_OR_HUB", help="a folder, or organisation/model on the hub")
        parser.add_argument("--kind", default=ModelVersion.Kind.BASE, choices=ModelVersion.Kind.values)

    def perform(self, *, name: str, source: str, kind: str, **options: Any) -> tuple[dict[str, Any], str]:
        model = register_model(name, source, kind)
        result = {"model": str(model), "kind": model.kind, "folder": str(model.path), "checksum": model.checksum}
        return result, f"{model} ({model.get_kind_display()}) is registered."
