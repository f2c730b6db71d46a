"""A worker serves the queue: it claims a run, starts its recipe, and supervises it until it ends.

The recipe is a process of its own and talks through the run folder alone. Killed at any moment, worker or recipe or
both, a run goes back to the queue and is resumed; what it had brought into the database is not brought in twice.
"""

from __future__ import annotations

import logging
import socket
import time
from contextlib import contextmanager, suppress
from secrets import token_hex
from threading import Event, Thread
from typing import TYPE_CHECKING

import psutil
from django.db import InterfaceError, OperationalError, close_old_connections, connection, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from training import outcomes, queue, sources
from training.launchers import local
from training.models import Metric, Run, Worker
from training.queue import ClaimLost
from training.rundir import CANCELLED, RunFolder, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POLL_SECONDS = 1.0  # how soon a metric shows, a cancelled run hears of it, and a queued run starts
CANCEL_GRACE = 30.0  # seconds in which a recipe may stop by itself
DATABASE_AWAY = (OperationalError, InterfaceError)  # restarted, unreachable, busy for too long

log = logging.getLogger(__name__)


class WorkerProcess:
    """One worker for one device. `stop` may be set from a signal handler or another thread."""

    def __init__(
        self,
        *,
        device: str = "cpu",
        say: Callable[[str], object] = log.info,
        on_progress: Callable[[Run], object] = lambda run: None,
    ) -> None:
        self.host = socket.gethostname()[:60]
        self.device = "cuda:0" if device == "cuda" else device
        self.name = _worker_name(self.host)
        self.say = say
        self.on_progress = on_progress
        self.stop = Event()
        self._tidied_at = float("-inf")  # by the monotonic clock
        self._beat_at = 0.0  # by the monotonic clock, the last heartbeat that reached the database

    def serve(self, *, once: bool = False, until: Run | None = None) -> None:
        """Work until told to stop; `once`: until nothing is queued; `until`: until this run is over."""
        try:
            while not self.stop.is_set():
                try:
                    worked = self.work_one() is not None
                    if until is not None and not Run.objects.get(pk=until.pk).active:
                        return
                except DATABASE_AWAY as error:  # it will be back
                    log.warning("The database does not answer: %s", error)
                    worked = False
                    close_old_connections()
                if not worked:
                    if once:
                        return
                    self.stop.wait(POLL_SECONDS)
        finally:
            with suppress(*DATABASE_AWAY):
                Worker.objects.filter(name=self.name).delete()

    def work_one(self) -> Run | None:
        """Claim the next run and see it to its end. None when there is nothing to do."""
        if time.monotonic() - self._tidied_at >= queue.HEARTBEAT_SECONDS:  # each look writes
            self._show_up()
            queue.requeue_lost()
            self._requeue_of_the_dead()
            self._tidied_at = time.monotonic()
        run = queue.claim(self.name, host=self.host, device=self.device)
        if run is None:
            return None
        self.say(f"Run {run.pk} ({run.method}, {run.name}) starts, attempt {run.attempts}.")
        try:
            self.supervise(run)
        except ClaimLost:
            self.say(f"Run {run.pk} was taken away from this worker.")
        else:
            run.refresh_from_db()
            self.say(f"Run {run.pk} is {run.state}. {run.error}".strip())
        return run

    # One run

    def supervise(self, run: Run) -> None:
        """See a claimed run to its end, or back to the queue when this worker is told to stop. Raises ClaimLost."""
        folder = RunFolder(run.folder)
        process = local.find(folder)  # of a worker that died
        self._beat_at = time.monotonic()  # the claim was a heartbeat
        try:
            if process is None and run.attempts == 1:  # queued by a person, not lost: an old ending is history
                folder.reopen()
            if process is None and folder.outcome() is None:
                with self._beating(run):
                    config = sources.prepare(run, folder)
                self._beat(run)  # raises if the run was taken away meanwhile
                process = local.launch(folder, config, device=self.device)
            if process is not None and not self._watch(run, folder, process):
                return
            self._take_in(run, folder)
            with self._beating(run):
                self._settle(run, folder)
        except ClaimLost:
            if process is not None and not self._passed_on_here(run):
                local.stop(process)
            raise
        except DATABASE_AWAY:
            raise  # the run stays ours if the database is back soon; otherwise it is lost, and resumed
        except Exception as error:
            # Whatever went wrong around the recipe is the run's end, said on its page; the worker lives on.
            log.exception("Run %s failed in the worker", run.pk)
            if process is not None:
                local.stop(process)
            queue.finish(run, self.name, Run.State.FAILED, error=outcomes.sentence(error))

    def _watch(self, run: Run, folder: RunFolder, process: psutil.Process) -> bool:
        """Follow a recipe until it ends; False when it was given back: the worker stops, or a run passes."""
        asked_at = None
        while not local.wait(process, POLL_SECONDS):
            if self.stop.is_set():
                return self._interrupt(run, folder, process)
            try:
                cancelled = self._beat(run)
                self._take_in(run, folder)
                gives_way = not cancelled and queue.must_give_way(run, self.device)
            except DATABASE_AWAY as error:
                log.warning("Run %s: the database does not answer: %s", run.pk, error)
                if time.monotonic() - self._beat_at > queue.LOST_AFTER.total_seconds():
                    local.stop(process)  # by now another worker may have the run
                    raise
                close_old_connections()
                continue
            if gives_way:
                return self._interrupt(run, folder, process)
            if cancelled and asked_at is None:
                folder.ask(cancel=True)
                asked_at = time.monotonic()
            if asked_at is not None and time.monotonic() - asked_at > CANCEL_GRACE:
                local.stop(process)
        return True

    def _interrupt(self, run: Run, folder: RunFolder, process: psutil.Process) -> bool:
        """The recipe stops, and the run goes back to the queue, unless it ended just now."""
        local.stop(process)
        outcome = folder.outcome()
        if outcome is not None and outcome.state != CANCELLED:
            return True
        self._take_in(run, folder)
        folder.reopen()
        queue.give_back(run, self.name)
        return False

    def _settle(self, run: Run, folder: RunFolder) -> None:
        """Close a run whose recipe has ended: as it says itself, or as lost when it said nothing."""
        outcome = folder.outcome()
        asked = queue.cancel_wanted(run, self.name)
        if outcome is None and asked:
            queue.finish(run, self.name, Run.State.CANCELLED, error=_("Cancelled on request."))
        elif outcome is None or (outcome.state == CANCELLED and not asked):
            folder.reopen()
            queue.lose(
                Q(pk=run.pk, worker=self.name),
                reason=_("The recipe was killed from outside, perhaps because memory ran out."),
            )
        else:
            outcomes.settle(run, folder, outcome, worker=self.name)

    def _take_in(self, run: Run, folder: RunFolder) -> None:
        """Bring what the recipe wrote since the last time into the database. Idempotent. Raises ClaimLost."""
        progress = folder.progress()
        if (progress.step, progress.total, progress.phase) != (run.step, run.total_steps, run.phase):
            run.step, run.total_steps, run.phase = progress.step, progress.total, progress.phase
            now = timezone.now()
            queue.update_held(
                run, self.name, step=run.step, total_steps=run.total_steps, phase=run.phase, progressed_at=now
            )
            self.on_progress(run)
        self._take_in_metrics(run, folder)
        if run.method == "generate":
            self._take_in_parts(run, folder)

    def _take_in_metrics(self, run: Run, folder: RunFolder) -> None:
        lines, offset = folder.read_metrics(run.metrics_read)
        if offset == run.metrics_read:
            return
        # A resumed recipe repeats the steps after its checkpoint: the last line of a step stands.
        values = {(line["step"], name): value for line in lines for name, value in line.get("metrics", {}).items()}
        with transaction.atomic():
            queue.update_held(run, self.name, metrics_read=offset)
            Metric.objects.bulk_create(
                [Metric(run=run, step=step, name=name, value=value) for (step, name), value in values.items()],
                batch_size=500,
                update_conflicts=True,
                unique_fields=["run", "name", "step"],
                update_fields=["value"],
            )
        run.metrics_read = offset

    def _take_in_parts(self, run: Run, folder: RunFolder) -> None:
        """Import each part of samples/ once: its number is counted in the transaction that stores its answers."""
        for number, part in enumerate(folder.parts()):
            if number < run.parts_imported:
                continue
            rows = read_rows(part)
            with transaction.atomic():
                queue.update_held(
                    run, self.name, only_if=Q(parts_imported=number), parts_imported=F("parts_imported") + 1
                )
                sources.import_answers(run, rows)
            run.parts_imported += 1

    # Presence

    def _beat(self, run: Run) -> bool:
        """A heartbeat, when one is due; whether the run is to be cancelled. Raises ClaimLost."""
        if time.monotonic() - self._beat_at >= queue.HEARTBEAT_SECONDS:
            queue.update_held(run, self.name, heartbeat_at=timezone.now())
            self._show_up()
            self._beat_at = time.monotonic()
        return queue.cancel_wanted(run, self.name)

    @contextmanager
    def _beating(self, run: Run) -> Iterator[None]:
        """Heartbeats from a thread, while the files of a model, which may be large, are read."""
        done = Event()

        def beat() -> None:
            while not done.wait(queue.HEARTBEAT_SECONDS):
                with suppress(ClaimLost, *DATABASE_AWAY):  # the next heartbeat outside of here tells
                    self._beat(run)
            connection.close()

        thread = Thread(target=beat)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _show_up(self) -> None:
        now = timezone.now()
        Worker.objects.update_or_create(name=self.name, defaults={"device": self.device, "seen_at": now})
        Worker.objects.filter(seen_at__lt=now - 10 * queue.LOST_AFTER).delete()

    def _requeue_of_the_dead(self) -> None:
        """Runs of this host's workers that are gone need not wait a minute."""
        running = Run.objects.filter(state=Run.State.RUNNING, worker__startswith=f"{self.host}:")
        for pk, worker in running.values_list("pk", "worker"):
            if not _alive(worker):
                queue.lose(Q(pk=pk, worker=worker), reason=_("The worker that held this run died."))

    def _passed_on_here(self, run: Run) -> bool:
        """Whether another worker of this host holds the run now: the recipe's process is then its business."""
        return Run.objects.filter(pk=run.pk, state=Run.State.RUNNING, worker__startswith=f"{self.host}:").exists()


def _worker_name(host: str) -> str:
    """Says where and which process this is; its start tells it from a later one with the same number."""
    process = psutil.Process()
    return f"{host}:{process.pid}:{int(process.create_time())}:{token_hex(3)}"


def _alive(worker: str) -> bool:
    _host, pid, start, _one = worker.rsplit(":", 3)
    try:
        return int(psutil.Process(int(pid)).create_time()) == int(start)
    except psutil.NoSuchProcess:
        return False
