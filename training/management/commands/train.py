"""`manage.py train METHOD --project SLUG`: queue a run that learns from what a project's people said."""

from typing import Any

from django.core.management import CommandParser

from annotation.management.project_command import project_named
from training import launches
from training.management.run_command import LaunchCommand, dataset_named, settings_of
from training.models import Run


class Command(LaunchCommand):
    help = (
        "Train on a project's newest snapshot, or on a fresh one if people judged since. "
        "METHOD: reward, dpo or evaluate; its settings are given by --set."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("method")
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--dataset", default="", metavar="NAME", help="train on this snapshot")
        parser.add_argument("--name", default="", help="of the run and of the model that it makes")

    def launch(self, *, method: str, project: str, dataset: str, name: str, settings: list[str], **options: Any) -> Run:
        return launches.launch_training(
            method,
            project=project_named(project),
            dataset=dataset_named(dataset) if dataset else None,
            name=name,
            **settings_of(settings),
        )
