"""The real server on a database of its own, for tests and benchmarks: 127.0.0.1 only, in a folder that goes away.

As a program it works on the database that DATABASE_URL names: `python -m tests.live seed ...` and `... rows`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class LiveServer:
    storage: Path
    port: int
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        log = (self.storage / "server.log").open("ab")
        command = [sys.executable, "-m", "gunicorn", "-c", "python:config.gunicorn"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
        )
        for _attempt in range(300):
            try:
                connection = self.connect()
                connection.request("GET", "/login/")
                connection.getresponse().read()
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"The server did not start:\n{self.log()}")

    def kill(self) -> None:
        """As a power cut does it: the master and every worker, with no chance to finish a request."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def connect(self, timeout: float = 60) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def cpu_seconds(self) -> float:
        assert self.process is not None
        master = psutil.Process(self.process.pid)
        times = [process.cpu_times() for process in [master, *master.children(recursive=True)]]
        return sum(spent.user + spent.system for spent in times)

    def log(self) -> str:
        return (self.storage / "server.log").read_text()[-4000:]

    def run(self, *arguments: str) -> Any:
        """`python -m tests.live ...` on this server's database."""
        command = [sys.executable, "-m", "tests.live", *arguments]
        result = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        if result.returncode:
            raise RuntimeError(result.stderr)
        return json.loads(result.stdout)


@contextmanager
def live_server(database: str, **environment: str) -> Iterator[LiveServer]:
    """A migrated, empty server on "sqlite" or "postgres"; start it when it is seeded."""
    from tests.postgres import postgres

    with tempfile.TemporaryDirectory(prefix="preferendum-") as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        with postgres() if database == "postgres" else nullcontext(f"sqlite:///{folder}/test.sqlite3") as url:
            settings = {"STORAGE": folder, "DATABASE_URL": url, "HOST": "127.0.0.1", "PORT": str(port)}
            server = LiveServer(Path(folder), port, os.environ | settings | environment)
            migrate = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
            subprocess.run(migrate, cwd=ROOT, env=server.environment, check=True)
            try:
                yield server
            finally:
                if server.process and server.process.poll() is None:
                    server.process.terminate()
                    server.process.wait(timeout=30)


def seed(*, tasks: int, annotators: int, overlap: int, lease_minutes: int) -> list[str]:
    """One project with open tasks of four answers, its annotators, and a token of each."""
    from django.contrib.auth.models import User
    from django.db import connection

    from annotation.models import ApiToken, Candidate, Membership, Project, Prompt, Task

    project = Project.objects.create(
        slug="live", title="Live", overlap=overlap, calibration_share=0, lease_minutes=lease_minutes
    )
    words = random.Random(0)
    vocabulary = ["sun", "river", "engine", "salt", "letter", "window", "hour", "garden", "paper", "stone"]

    def text(length: int) -> str:
        return " ".join(words.choices(vocabulary, k=length))

    for start in range(0, tasks, 1000):
        numbers = range(start, min(start + 1000, tasks))
        prompts = Prompt.objects.bulk_create(
            Prompt(
                project=project, messages=[{"role": "user", "content": text(30)}], content_hash=str(n), split="train"
            )
            for n in numbers
        )
        made = Task.objects.bulk_create(
            Task(project=project, prompt=prompt, position=n, ready=True, overlap=overlap)
            for n, prompt in zip(numbers, prompts, strict=True)
        )
        Candidate.objects.bulk_create(
            Candidate(task=task, text=text(120), model_name=f"model-{n}") for task in made for n in range(4)
        )
    tokens = []
    for n in range(annotators):
        user = User.objects.create(username=f"annotator-{n}", password="!")
        Membership.objects.create(project=project, user=user)
        tokens.append(ApiToken.make(user, "live", ["annotate"])[1])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # autovacuum does it within a minute on a server in use
    return tokens


def rows() -> dict[str, Any]:
    """What the database holds in the end, to be held against what was acknowledged."""
    from annotation.models import Lease, Ranking, Task

    return {
        "tasks": list(Task.objects.values("pk", "overlap", "taken", "judged")),
        "leases": list(Lease.objects.values("pk", "task", "annotator", "seat", "state")),
        "rankings": [
            row | {"public_id": str(row["public_id"])}
            for row in Ranking.objects.values(
                "pk", "public_id", "task", "annotator", "lease", "key", "purpose", "comment", "is_current"
            )
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("act", choices=["seed", "rows"])
    for name, default in {"tasks": 100, "annotators": 16, "overlap": 1, "lease-minutes": 15}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = vars(parser.parse_args())
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()
    print(json.dumps(seed(**options) if options.pop("act") == "seed" else rows()))


if __name__ == "__main__":
    main()
