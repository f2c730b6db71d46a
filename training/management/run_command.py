"""What the commands of training share: their mistakes as sentences, and waiting for a run."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from django.core.management import CommandError, CommandParser

from annotation.management.project_command import ProjectCommand
from training import launches, queue, registry, snapshots
from training.configs import UnknownMethod
from training.models import Dataset, Run
from training.worker import WorkerProcess

MISTAKES = (
    launches.NoModel,
    launches.NothingToAnswer,
    queue.WrongConfig,
    queue.WrongState,
    registry.ModelChanged,
    registry.UnfitModel,
    registry.UnknownModel,
    snapshots.NameTaken,
    snapshots.NothingToFreeze,
    snapshots.SnapshotChanged,
    UnknownMethod,
)


class TrainingCommand(ProjectCommand):
    """A command whose mistakes are sentences, with a project or without one."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--json", action="store_true", dest="as_json", help="print one JSON object and nothing else"
        )

    def handle(self, **options: Any) -> None:
        try:
            super().handle(**options)
        except MISTAKES as mistake:
            raise CommandError(str(mistake)) from mistake

    def tell(self, sentence: str) -> None:
        """Say something on the way, to people only."""
        if not self.as_json:
            self.stdout.write(sentence)
            self.stdout.flush()


class LaunchCommand(TrainingCommand):
    """A command whose `launch` queues a run."""

    launch: Callable[..., Run]

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--wait", action="store_true", help="until the run is over; works itself if no worker does")
        parser.add_argument(
            "--set",
            action="extend",
            nargs="+",
            default=[],
            metavar="KEY=VALUE",
            dest="pairs",
            help="settings of the method, such as epochs=2 max_pairs=500",
        )

    def perform(self, *, wait: bool, **options: Any) -> tuple[dict[str, Any], str]:
        run = self.launch(**options)
        if not wait:
            sentence = f"Run {run.pk} ({run.name}) waits in the queue."
            if not queue.live_workers(run.device):
                sentence += " No worker is running; start one with: manage.py run_worker"
            return describe(run), sentence
        self.wait_for(run)
        if run.state != Run.State.SUCCEEDED:
            if self.as_json:
                self.stdout.write(json.dumps(describe(run), ensure_ascii=False))
            raise CommandError(f"Run {run.pk} is {run.state}. {run.error} Its log is {run.folder / 'log.txt'}.")
        made = f" It made {run.model}." if hasattr(run, "model") else ""
        return describe(run), f"Run {run.pk} succeeded in {run.outcome['seconds']:.0f} s.{made}"

    def wait_for(self, run: Run) -> None:
        """Until the run is over. Where no worker lives, or the last one died, this process is the worker."""
        last = ""
        while run.active:
            if queue.live_workers(run.device):
                time.sleep(0.5)
            else:
                worker = WorkerProcess(device=run.device, say=self.tell, on_progress=self.show)
                before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
                for number in before:
                    signal.signal(number, lambda *_: worker.stop.set())  # noqa: B023
                try:
                    worker.serve(until=run)
                finally:
                    for number, handler in before.items():
                        signal.signal(number, handler)
                if worker.stop.is_set():
                    raise CommandError(f"Stopped. Run {run.pk} is back in the queue; a worker goes on with it.")
            run.refresh_from_db()
            if (line := progress_of(run)) != last:
                self.show(run)
                last = line

    def show(self, run: Run) -> None:
        """A line that is written over, on a terminal only."""
        if not self.as_json and sys.stdout.isatty():
            end = "" if run.active else "\n"
            self.stdout.write(f"\r\x1b[K{progress_of(run)}{end}", ending="")
            self.stdout.flush()


def progress_of(run: Run) -> str:
    done = f" {run.step}/{run.total_steps}" if run.total_steps else ""
    return f"Run {run.pk}: {run.phase or run.state}{done}"


def describe(run: Run) -> dict[str, Any]:
    return {
        "run": run.pk,
        "name": run.name,
        "method": run.method,
        "state": run.state,
        "error": run.error,
        "model": str(run.model) if hasattr(run, "model") else None,
        "outcome": run.outcome,
        "folder": str(run.folder),
    }


def dataset_named(name: str) -> Dataset:
    dataset = Dataset.objects.filter(name=name).first()
    if dataset is None:
        raise CommandError(f"There is no dataset {name!r}.")
    return dataset


def run_numbered(number: int) -> Run:
    run = Run.objects.filter(pk=number).first()
    if run is None:
        raise CommandError(f"There is no run {number}.")
    return run


def settings_of(pairs: list[str]) -> dict[str, Any]:
    """`key=value` texts as values; the method's config checks their names and types.

    >>> settings_of(["epochs=2", "model=smollm2@1", "temperatures=[0.7, 1]", "max_pairs=null"])
    {'epochs': 2, 'model': 'smollm2@1', 'temperatures': [0.7, 1], 'max_pairs': None}
    """
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise CommandError(f"--set takes KEY=VALUE, such as epochs=2, not {pair!r}.")
        try:
            settings[key.strip()] = json.loads(value)
        except ValueError:
            settings[key.strip()] = value
    return settings
