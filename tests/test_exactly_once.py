"""Nothing lost, nothing twice, overlap never exceeded: 32 people at once against the real server, which is killed once.

Every person keeps a journal of what the server acknowledged; in the end it is held against the rows. On the way
requests are cut off by the client, sent twice at the same moment, sent again later, and sent from a second tab. A
lease lasts no time at all, so that whoever finds no free seat takes over somebody's.
"""

import json
import random
import socket
import threading
import time
from collections import Counter, defaultdict
from http.client import HTTPConnection, HTTPException
from typing import Any
from uuid import uuid4

import pytest

from tests.live import LiveServer, live_server

PEOPLE = 32
OVERLAP = 3


class Person(threading.Thread):
    """One annotator at a keyboard, impatient, with bad Wi-Fi."""

    def __init__(self, server: LiveServer, token: str, seed: int, deadline: float) -> None:
        super().__init__()
        self.server, self.token, self.deadline = server, token, deadline
        self.chance = random.Random(seed)
        self.connection: HTTPConnection | None = None
        self.sent: set[str] = set()
        self.counted: dict[str, tuple[str, str]] = {}  # key: (ranking, comment), acknowledged as stored
        self.surplus: dict[str, str] = {}  # key: comment, acknowledged as surplus
        self.skipped = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        try:
            while time.monotonic() < self.deadline and (lease := self.next_lease()):
                self.judge(lease)
        except Exception as error:
            self.wrong.append(repr(error))

    def next_lease(self) -> str | None:
        status, given = self.ask("POST", "/api/v1/projects/live/next/")
        if status not in (200, 204):
            self.wrong.append(f"next: {status} {given}")
        return given["lease"] if status == 200 else None

    def judge(self, lease: str) -> None:
        kind = self.chance.random()
        if kind < 0.08:
            status, _given = self.ask("POST", f"/api/v1/leases/{lease}/skip/", {"reason": "other"})
            self.skipped += status == 204
            return
        if kind < 0.2:
            self.ask("PUT", f"/api/v1/leases/{lease}/draft/", {"counter": 1, "tiers": [[1]]})
        body = self.body()
        if kind < 0.3:
            self.cut_off(lease, body)  # and never asks again: stored or not, but never twice
            return
        if kind < 0.45:
            self.cut_off(lease, body)
        if kind < 0.6:
            twin = threading.Thread(target=self.submit, args=(lease, body, self.server.connect()))
            twin.start()
            self.submit(lease, body)
            twin.join()
        self.submit(lease, body)
        if kind > 0.9:
            self.submit(lease, body)
        if 0.8 < kind < 0.9:
            self.submit(lease, self.body())  # the second tab
        if 0.7 < kind < 0.8 and (stored := self.counted.get(body["idempotency_key"])):
            self.amend(stored[0])

    def body(self) -> dict[str, Any]:
        key = str(uuid4())
        self.sent.add(key)
        tiers = [[position] for position in self.chance.sample([1, 2, 3, 4], 4)]
        return {"tiers": tiers, "comment": f"as {key}", "idempotency_key": key}

    def submit(self, lease: str, body: dict[str, Any], connection: HTTPConnection | None = None) -> None:
        status, answer = self.ask("POST", f"/api/v1/leases/{lease}/ranking/", body, connection)
        if connection:
            connection.close()
        key = body["idempotency_key"]
        if status in (200, 201):
            told = (answer["ranking"], body["comment"])
            if self.counted.setdefault(key, told) != told:
                self.wrong.append(f"{key} was acknowledged as two rankings")
        elif status == 409:
            self.surplus[key] = body["comment"]
        else:
            self.wrong.append(f"submit: {status} {answer}")

    def amend(self, ranking: str) -> None:
        body = self.body()
        status, answer = self.ask("POST", f"/api/v1/rankings/{ranking}/amend/", body)
        if status in (200, 201):
            self.counted[body["idempotency_key"]] = (answer["ranking"], body["comment"])
        else:
            self.wrong.append(f"amend: {status} {answer}")

    def cut_off(self, lease: str, body: dict[str, Any]) -> None:
        """Send the whole request and go away without reading the answer."""
        payload = json.dumps(body).encode()
        head = (
            f"POST /api/v1/leases/{lease}/ranking/ HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Token {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        try:
            with socket.create_connection(("127.0.0.1", self.server.port), timeout=5) as wire:
                wire.sendall(head.encode() + payload)
                time.sleep(self.chance.random() * 0.02)
        except OSError:
            pass  # the server is down just now

    def ask(
        self, method: str, path: str, body: Any = None, connection: HTTPConnection | None = None
    ) -> tuple[int, Any]:
        """Ask until there is an answer, as a page that keeps its form open does: over lost lines and dead servers."""
        own = connection is None
        headers = {"Authorization": f"Token {self.token}", "Content-Type": "application/json"}
        while True:
            if connection is None:
                connection = self.connection = self.connection or self.server.connect()
            try:
                connection.request(method, path, json.dumps(body) if body is not None else None, headers)
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, HTTPException):
                connection.close()
                connection = None if own else self.server.connect()
                self.connection = None if own else self.connection
                time.sleep(0.05)
                continue
            if answer.status == 503:
                time.sleep(0.05)
            else:
                return answer.status, json.loads(text) if answer.status < 500 and text else text.decode()


def judge_together(database: str, *, seconds: float, tasks: int) -> tuple[list[Person], dict[str, Any], str]:
    with live_server(database, WEB_THREADS="16") as server:
        options = {"tasks": tasks, "annotators": PEOPLE, "overlap": OVERLAP, "lease-minutes": 0}
        tokens = server.run("seed", *(f"--{name}={value}" for name, value in options.items()))
        server.start()
        deadline = time.monotonic() + seconds
        people = [Person(server, token, seed, deadline) for seed, token in enumerate(tokens)]
        for person in people:
            person.start()
        time.sleep(min(3.0, seconds / 3))
        server.kill()
        server.start()
        for person in people:
            person.join(timeout=seconds + 120)
        return people, server.run("rows"), server.log()


def check(people: list[Person], found: dict[str, Any], log: str) -> None:
    assert not [wrong for person in people for wrong in person.wrong], log
    by_key: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for ranking in found["rankings"]:
        by_key[ranking["key"]].append(ranking)

    counted = {key: told for person in people for key, told in person.counted.items()}
    surplus = {key: comment for person in people for key, comment in person.surplus.items()}
    assert {key for key, rows in by_key.items() if len(rows) > 1} == set(), "stored twice"
    lost = {key: told for key, told in counted.items() if _row(by_key, key) != (*told, "work")}
    assert lost == {}, "acknowledged and lost, or changed"
    assert {key for key, text in surplus.items() if _row(by_key, key)[1:] != (text, "surplus")} == set()
    assert set(by_key) <= {key for person in people for key in person.sent}, "rows that nobody sent"

    current = [row for row in found["rankings"] if row["is_current"] and row["purpose"] == "work"]
    judged = Counter(row["task"] for row in current)
    seats = Counter(lease["task"] for lease in found["leases"] if lease["state"] in ("live", "spent"))
    for task in found["tasks"]:
        assert (task["judged"], task["taken"]) == (judged[task["pk"]], seats[task["pk"]])
        assert task["judged"] <= task["taken"] <= task["overlap"] == OVERLAP
    assert max(Counter((row["task"], row["annotator"]) for row in current).values()) == 1
    spent = {lease["pk"] for lease in found["leases"] if lease["state"] == "spent"}
    assert sorted(row["lease"] for row in current) == sorted(spent)


def _row(by_key: dict[str, list[dict[str, Any]]], key: str) -> tuple[str, str, str]:
    if key not in by_key:
        return ("", "", "")
    row = by_key[key][0]
    return (row["public_id"], row["comment"], row["purpose"])


DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.mark.parametrize("database", DATABASES)
def test_nothing_is_lost_or_stored_twice_and_overlap_is_exact(database):
    people, found, log = judge_together(database, seconds=15, tasks=100)

    check(people, found, log)
    assert sum(task["judged"] for task in found["tasks"]) > 100
    assert sum(len(person.surplus) for person in people) > 0


@pytest.mark.slow
@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("tasks", [40, 1_000])
def test_it_holds_for_minutes(database, tasks):
    people, found, log = judge_together(database, seconds=90, tasks=tasks)

    check(people, found, log)
