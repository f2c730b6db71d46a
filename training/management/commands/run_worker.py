"""`manage.py run_worker`: serve the queue of runs on one device."""

import re
import signal
from types import FrameType
from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser

from training.worker import WorkerProcess

DEVICE = r"cpu|mps|cuda(:[0-9]+)?"


class Command(BaseCommand):
    help = (
        "Run what waits in the queue, one run at a time. Ctrl-C stops it; the run goes back to the queue and resumes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="end when nothing waits any more")
        parser.add_argument("--device", default="cpu", help="cpu, mps or cuda:0: one worker for each (default: cpu)")

    def handle(self, *, once: bool, device: str, **options: Any) -> None:
        if not re.fullmatch(DEVICE, device):  # a worker for a device that no run names would wait for ever
            raise CommandError(f"There is no device {device!r}; known are cpu, mps, cuda:0, cuda:1 ...")
        worker = WorkerProcess(device=device, say=self.say)

        def stop(number: int, frame: FrameType | None) -> None:
            worker.stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        self.say(f"Worker {worker.name} serves {worker.device}.")
        worker.serve(once=once)

    def say(self, sentence: str) -> None:
        self.stdout.write(sentence)
        self.stdout.flush()
