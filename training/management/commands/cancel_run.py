"""`manage.py cancel_run ID`: stop a run."""

from typing import Any

from django.core.management import CommandParser

from training import queue
from training.management.run_command import TrainingCommand, describe, run_numbered


class Command(TrainingCommand):
    help = "Stop a run: at once while it waits, within a step or so while it runs. What it made is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("run", type=int, metavar="ID")

    def perform(self, *, run: int, **options: Any) -> tuple[dict[str, Any], str]:
        cancelled = run_numbered(run)
        queue.cancel(cancelled)
        done = "is cancelled" if not cancelled.active else "was asked to stop"
        return describe(cancelled), f"Run {cancelled.pk} {done}."
