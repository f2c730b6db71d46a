"""`manage.py resume_run ID`: go on with a run that failed or was cancelled."""

from typing import Any

from django.core.management import CommandParser

from training import queue
from training.management.run_command import TrainingCommand, describe, run_numbered


class Command(TrainingCommand):
    help = "Queue a failed or cancelled run again. It goes on from its last good checkpoint."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("run", type=int, metavar="ID")

    def perform(self, *, run: int, **options: Any) -> tuple[dict[str, Any], str]:
        resumed = run_numbered(run)
        queue.resume(resumed)
        return describe(resumed), f"Run {resumed.pk} waits in the queue."
