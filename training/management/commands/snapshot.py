"""`manage.py snapshot SLUG`: freeze what a project's people said so far."""

from typing import Any

from django.core.management import CommandParser

from annotation.management.project_command import project_named
from training import snapshots
from training.management.run_command import TrainingCommand


class Command(TrainingCommand):
    help = "Freeze a project's judgements into a dataset that never changes."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project", metavar="SLUG")
        parser.add_argument("--name", default="", help="default: the project's name and a number")

    def perform(self, *, project: str, name: str, **options: Any) -> tuple[dict[str, Any], str]:
        dataset = snapshots.freeze(project_named(project), name)
        summary = dataset.summary
        sentence = (
            f"{dataset.name}: {summary['tasks']} tasks, {summary['rankings']} rankings, {summary['pairs']} pairs, "
            f"{summary['ties']} ties, {summary['all_bad']} all bad. SHA-256 {dataset.sha256}."
        )
        return {"dataset": dataset.name, "file": str(dataset.path), "sha256": dataset.sha256, **summary}, sentence
