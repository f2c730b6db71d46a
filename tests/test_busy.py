"""A database that cannot be had in time loses no judgement: nothing is half stored, and sending again stores once."""

import pytest
from django.db import OperationalError, connection, transaction
from django.test import Client
from rest_framework.test import APIClient

from annotation.assignment import next_task
from annotation.models import ApiToken, Lease, Ranking


@pytest.fixture
def locked(transactional_db):
    """Another process holds the write lock (SQLite) or the lease's row (PostgreSQL); ours soon gives up."""
    other = connection.copy()
    limits = {"sqlite": ["PRAGMA busy_timeout = 100"], "postgresql": ["SET lock_timeout = '100ms'"]}[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(limits[0])
    with other.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("BEGIN IMMEDIATE")
        else:
            cursor.execute("BEGIN")
            cursor.execute("SELECT * FROM annotation_lease FOR UPDATE")
        yield lambda: cursor.execute("ROLLBACK")
    other.close()
    connection.close()  # with the limit


@pytest.fixture
def held(transactional_db, task, annotator) -> Lease:
    lease = next_task(annotator)
    assert lease is not None
    return lease


def test_a_program_is_told_to_send_again_and_then_stores_once(held, annotator, request):
    _token, secret = ApiToken.make(annotator.user, "test", ["annotate"])
    client = APIClient(headers={"Authorization": f"Token {secret}"})
    path, body = f"/api/v1/leases/{held.public_id}/ranking/", {"tiers": [[1], [2], [3, 4]], "idempotency_key": "a"}
    client.post("/api/v1/projects/kitchen/next/")  # writes the token's last use, once a minute
    release = request.getfixturevalue("locked")

    busy = client.post(path, body, format="json")
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "1")
    assert "send the same request again" in busy.json()["detail"]
    assert not Ranking.objects.exists()

    release()
    assert client.post(path, body, format="json").status_code == 201
    assert client.post(path, body, format="json").status_code == 200
    held.task.refresh_from_db()
    assert (held.task.taken, held.task.judged, Ranking.objects.count()) == (1, 1, 1)


def test_a_person_sees_a_page_that_says_so(held, annotator, request):
    client = Client()
    client.force_login(annotator.user)
    release = request.getfixturevalue("locked")
    body = {"rank_1": 1, "rank_2": 2, "rank_3": 3, "rank_4": 4, "key": "a"}

    busy = client.post(f"/leases/{held.public_id}/submit/", body)
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "1")
    assert "send it again" in busy.content.decode()

    release()
    assert client.post(f"/leases/{held.public_id}/submit/", body).status_code == 302
    assert Ranking.objects.counted().count() == 1


def test_a_lock_is_not_waited_for_without_end(db):
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout" if connection.vendor == "sqlite" else "SHOW lock_timeout")
        assert cursor.fetchone()[0] in (30_000, "30s")


def test_half_a_submit_is_nothing(held, monkeypatch):
    from annotation import rankings

    def fail(*_args, **_fields):
        raise OperationalError("the disk is full")

    monkeypatch.setattr(rankings, "_store", fail)
    with pytest.raises(OperationalError), transaction.atomic():
        rankings.submit_ranking(held, rankings.Answer(tiers=[held.display_order]), key="a")
    held.refresh_from_db()
    assert (held.state, held.task.judged) == (Lease.State.LIVE, 0)
