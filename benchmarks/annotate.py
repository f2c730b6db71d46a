"""How long "next" and "submit" take, and what they cost the server: the real gunicorn, over HTTP, on this machine.

    python benchmarks/annotate.py [--database both] [--tasks 2000 20000] [--annotators 1 16] [--requests 320]

Prints a Markdown table. CPU is that of the gunicorn processes alone; PostgreSQL's own is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from statistics import quantiles
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.live import LiveServer, live_server

WARM_UP = 5  # judgements of each annotator before the clock starts


@dataclass
class Annotator(threading.Thread):
    """Judges as fast as the server lets it: an upper bound of what a person does to it."""

    server: LiveServer
    token: str
    judgements: int
    next_ms: list[float] = field(default_factory=list)
    submit_ms: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def run(self) -> None:
        connection = self.server.connect()
        for _judgement in range(self.judgements):
            lease = self.ask(connection, "/api/v1/projects/live/next/", None, self.next_ms)["lease"]
            body = {"tiers": [[1], [2, 3], [4]], "seconds": 20, "idempotency_key": str(uuid4())}
            self.ask(connection, f"/api/v1/leases/{lease}/ranking/", body, self.submit_ms)
        connection.close()

    def ask(self, connection: HTTPConnection, path: str, body: object, times: list[float]) -> dict[str, str]:
        started = time.perf_counter()
        headers = {"Authorization": f"Token {self.token}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        times.append((time.perf_counter() - started) * 1000)
        if answer.status not in (200, 201):
            raise RuntimeError(f"{path}: {answer.status} {text[:200]!r}")
        return json.loads(text)

    __hash__ = threading.Thread.__hash__


@dataclass
class Measured:
    tasks: int
    annotators: int
    next_ms: list[float]
    submit_ms: list[float]
    cpu_ms: float  # of the server, per judgement: one next and one submit
    per_second: float

    def figures(self) -> list[float]:
        return [*_p50_p95(self.next_ms), *_p50_p95(self.submit_ms), self.cpu_ms, self.per_second]


def _p50_p95(times: list[float]) -> tuple[float, float]:
    cuts = quantiles(times, n=20, method="inclusive")
    return cuts[9], cuts[18]


def measure(server: LiveServer, tokens: list[str], tasks: int, annotators: int, requests: int) -> Measured:
    def judge(judgements: int) -> list[Annotator]:
        people = [Annotator(server, token, judgements) for token in tokens[:annotators]]
        for person in people:
            person.start()
        for person in people:
            person.join()
        return people

    judge(WARM_UP)
    cpu, started = server.cpu_seconds(), time.perf_counter()
    people = judge(max(requests // annotators, 1))
    seconds, cpu = time.perf_counter() - started, server.cpu_seconds() - cpu
    next_ms = [ms for person in people for ms in person.next_ms]
    submit_ms = [ms for person in people for ms in person.submit_ms]
    return Measured(
        tasks, annotators, next_ms, submit_ms, cpu_ms=cpu / len(submit_ms) * 1000, per_second=len(submit_ms) / seconds
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["sqlite", "postgres", "both"], default="both")
    parser.add_argument("--tasks", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--annotators", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--requests", type=int, default=320, help="judgements per measurement, all annotators together")
    options = parser.parse_args()

    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, overlap 1, times in ms\n")
    print(
        "| database | tasks | annotators | next p50 | p95 | submit p50 | p95 | server CPU a judgement | judgements/s |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    for database in ["sqlite", "postgres"] if options.database == "both" else [options.database]:
        found: dict[tuple[int, int], Measured] = {}
        for tasks in options.tasks:
            with live_server(database) as server:
                people = max(options.annotators)
                tokens = server.run("seed", f"--tasks={tasks}", f"--annotators={people}")
                server.start()
                for annotators in options.annotators:
                    result = measure(server, tokens, tasks, annotators, options.requests)
                    found[tasks, annotators] = result
                    shown = " | ".join(f"{figure:.1f}" for figure in result.figures())
                    print(f"| {database} | {tasks:,} | {annotators} | {shown} |", flush=True)
        few, many = min(options.tasks), max(options.tasks)
        for annotators in options.annotators if few != many else []:
            pairs = zip(found[many, annotators].figures(), found[few, annotators].figures(), strict=True)
            ratios = " | ".join(f"{large / small:.2f}" for large, small in pairs)
            print(f"| {database} | {many:,} / {few:,} | {annotators} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
