"""The API: the same verbs as the pages, by token; errors that teach; positions and UUIDs only."""

import json
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError
from django.utils import timezone
from rest_framework.test import APIClient

from annotation import rankings
from annotation.assignment import next_task
from annotation.models import ApiToken, Lease, Membership, Project, Prompt, Ranking, Role

ORDER = [[1], [2, 3], [4]]


def client_of(membership: Membership, *scopes: str) -> APIClient:
    _token, secret = ApiToken.make(membership.user, "test", list(scopes or ApiToken.Scope.values))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {secret}")
    return client


@pytest.fixture
def client(annotator) -> APIClient:
    return client_of(annotator)


def post(client: APIClient, path: str, data: object = None, **headers: str):
    return client.post(f"/api/v1/{path}", data, format="json", headers=headers)


def rank(client: APIClient, lease: object, key: str | None = "a", **data: object):
    headers = {"Idempotency-Key": key} if key is not None else {}
    return post(client, f"leases/{lease}/ranking/", {"tiers": ORDER} | data, **headers)


def test_a_program_ranks_a_task_from_next_to_history(client, task):
    given = post(client, "projects/kitchen/next/").json()
    assert post(client, "projects/kitchen/next/").json()["lease"] == given["lease"]
    assert [answer["position"] for answer in given["candidates"]] == [1, 2, 3, 4]
    assert given["prompt"] == task.prompt.messages

    stored = rank(client, given["lease"], comment="clear", seconds=12.5)

    assert stored.status_code == 201
    lease = Lease.objects.get()
    ranking = Ranking.objects.get(public_id=stored.json()["ranking"])
    assert ranking.tiers[0] == [lease.display_order[0]]
    assert post(client, "projects/kitchen/next/").status_code == 204
    told = client.get("/api/v1/projects/kitchen/history/").json()
    assert told["rankings"][0] | {"created_at": None} == {
        "ranking": stored.json()["ranking"],
        "lease": given["lease"],
        "tiers": ORDER,
        "unranked": [],
        "all_bad": False,
        "strength": None,
        "comment": "clear",
        "counted": True,
        "created_at": None,
    }
    assert told["next"] is None


def test_the_same_key_and_body_again_is_stored_once(client, lease):
    first, again = rank(client, lease.public_id), rank(client, lease.public_id)

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert Ranking.objects.count() == 1


def test_the_key_may_stand_in_the_body(client, lease):
    assert rank(client, lease.public_id, None, idempotency_key="a").status_code == 201
    assert rank(client, lease.public_id, "a").status_code == 200


def test_the_same_key_with_another_body_is_refused(client, lease):
    rank(client, lease.public_id)
    refused = rank(client, lease.public_id, tiers=[[1, 2, 3, 4]])

    assert refused.status_code == 422
    assert "idempotency_key" in refused.json()["errors"]


def test_a_lost_seat_is_told_and_the_work_is_kept(client, lease, other_annotator):
    Lease.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    next_task(other_annotator)

    lost = rank(client, lease.public_id)

    assert lost.status_code == 409
    assert "surplus" in lost.json()["detail"]
    assert [(r["counted"], r["tiers"]) for r in client.get("/api/v1/projects/kitchen/history/").json()["rankings"]] == [
        (False, ORDER)
    ]
    assert post(client, f"leases/{lease.public_id}/renew/").status_code == 409
    assert client.put(f"/api/v1/leases/{lease.public_id}/draft/", {"counter": 1}, format="json").status_code == 409
    assert post(client, f"leases/{lease.public_id}/skip/", {"reason": "other"}).status_code == 409


def test_renew_restarts_the_clock(client, lease):
    Lease.objects.update(expires_at=timezone.now())

    assert post(client, f"leases/{lease.public_id}/renew/").json()["expires_at"] > timezone.now().isoformat()


def test_a_draft_comes_back_with_the_lease(client, lease):
    put = client.put(f"/api/v1/leases/{lease.public_id}/draft/", {"counter": 3, "tiers": [[2]]}, format="json")

    assert put.status_code == 204
    given = post(client, "projects/kitchen/next/").json()
    assert (given["draft"], given["draft_counter"]) == ({"tiers": [[2]]}, 3)


def test_a_skip_needs_a_known_reason(client, lease, task):
    refused = post(client, f"leases/{lease.public_id}/skip/", {"reason": "bored"})
    assert (refused.status_code, "distressing" in refused.json()["errors"]["reason"]) == (422, True)

    for _attempt in range(2):
        assert post(client, f"leases/{lease.public_id}/skip/", {"reason": "language"}).status_code == 204
    task.refresh_from_db()
    assert task.taken == 0


def test_an_amendment_supersedes_and_history_shows_the_last_form(client, lease):
    first = rank(client, lease.public_id).json()["ranking"]
    body = {"tiers": [[4], [3], [2], [1]], "idempotency_key": "b"}

    assert post(client, f"rankings/{first}/amend/", body).status_code == 201
    assert post(client, f"rankings/{first}/amend/", body).status_code == 200
    assert post(client, f"rankings/{first}/amend/", body | {"idempotency_key": "c"}).status_code == 409
    assert [r["tiers"] for r in client.get("/api/v1/projects/kitchen/history/").json()["rankings"]] == [body["tiers"]]


def test_history_is_read_in_pages(client, annotator, lease, monkeypatch):
    from annotation.views import api

    monkeypatch.setattr(api, "PAGE", 2)
    now = timezone.now()
    for n, created_at in enumerate([now, now, now - timedelta(hours=1)]):
        fields = {"purpose": "surplus", "kind": "ranking", "created_at": created_at}
        Ranking.objects.create(task=lease.task, annotator=annotator, lease=lease, key=str(n), **fields)

    first = client.get("/api/v1/projects/kitchen/history/").json()
    rest = client.get("/api/v1/projects/kitchen/history/", {"before": first["next"]}).json()

    ids = [ranking["ranking"] for ranking in first["rankings"] + rest["rankings"]]
    assert len(set(ids)) == len(ids) == 3
    assert rest["next"] is None
    assert client.get("/api/v1/projects/kitchen/history/", {"before": "yesterday"}).status_code == 422


@pytest.mark.parametrize(
    ("body", "status", "field", "says"),
    [
        ('{"tiers": [[1],', 400, None, "tiers, unranked"),
        ("[" * 100_000, 400, None, "nested"),
        ("\udcff", 400, None, "not JSON"),
        ('{"tiers": [[1],[2],[3],[4]], "seconds": NaN}', 400, None, "NaN"),
        ("[[1]]", 400, None, "Expected an object"),
        ("{}", 422, "tiers", "no answer has a rank yet"),
        ('{"tiers": [[1],[2],[3]]}', 422, "tiers", "D has no rank yet"),
        ('{"tier": [[1],[2],[3],[4]]}', 422, "tier", "not a field"),
        ('{"tiers": [[1],[2],[3],[4]], "ratings": {"helpful": [5]}}', 422, "ratings", "not a field"),
        ('{"tiers": [[1],[2],[3],[4]], "comment": "a\\u0000b"}', 422, "comment", "text"),
        ('{"tiers": [[1],[2],[3],[4]], "idempotency_key": 7}', 422, "idempotency_key", "random UUID"),
        ('{"tiers": [[1],[2],[3],[4]], "idempotency_key": "other"}', 422, "idempotency_key", "random UUID"),
    ],
)
def test_bad_bodies_are_explained_and_nothing_is_stored(client, lease, body, status, field, says):
    answer = client.generic(
        "POST",
        f"/api/v1/leases/{lease.public_id}/ranking/",
        body.encode(errors="surrogateescape"),
        content_type="application/json",
        headers={"Idempotency-Key": "a"},
    )

    assert answer.status_code == status, answer.json()
    assert says in (answer.json()["errors"][field] if field else answer.json()["detail"])
    assert not Ranking.objects.exists()


def test_a_key_is_required(client, lease):
    assert "idempotency_key" in rank(client, lease.public_id, None).json()["errors"]
    assert rank(client, lease.public_id, "k" * 81).status_code == 422


def test_a_body_of_any_size_does_not_fill_the_memory(client, lease, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000

    assert rank(client, lease.public_id, comment="x" * 2000).status_code == 413


def test_a_busy_database_is_told_and_the_same_request_then_stores_once(client, lease, monkeypatch):
    store = rankings._store

    def time_out(*_args, **_fields):
        monkeypatch.setattr(rankings, "_store", store)
        raise OperationalError("database is locked")

    monkeypatch.setattr(rankings, "_store", time_out)

    busy = rank(client, lease.public_id)
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "1")
    assert rank(client, lease.public_id).status_code == 201
    assert Ranking.objects.counted().count() == 1


@pytest.mark.parametrize("header", [None, "", "Token", "Token wrong", "Bearer {secret}", "{secret}", "Basic YTpi"])
def test_who_brings_no_valid_token_is_told_what_to_send(annotator, task, header):
    _token, secret = ApiToken.make(annotator.user, "test", ["annotate"])
    client = APIClient()
    if header is not None:
        client.credentials(HTTP_AUTHORIZATION=header.format(secret=secret))

    refused = post(client, "projects/kitchen/next/")

    assert refused.status_code == 401
    assert "oken" in refused.json()["detail"]
    assert refused.headers["WWW-Authenticate"] == "Token"


def test_a_session_is_no_token(annotator, task):
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(annotator.user)

    assert post(client, "projects/kitchen/next/").status_code == 401


def test_revoked_tokens_and_inactive_people_are_refused(client, annotator, task):
    annotator.user.is_active = False
    annotator.user.save()
    assert post(client, "projects/kitchen/next/").status_code == 401
    annotator.user.is_active = True
    annotator.user.save()
    assert post(client, "projects/kitchen/next/").status_code == 200
    ApiToken.objects.update(revoked_at=timezone.now())
    assert post(client, "projects/kitchen/next/").status_code == 401


def test_the_secret_is_stored_as_a_hash_and_its_use_at_most_once_a_minute(client, annotator, task):
    token, secret = ApiToken.make(annotator.user, "test", ["annotate"])
    assert secret not in json.dumps(list(ApiToken.objects.values()), default=str)
    assert len(secret) >= 43  # 256 bits

    client.credentials(HTTP_AUTHORIZATION=f"Token {secret}")
    post(client, "projects/kitchen/next/")
    token.refresh_from_db()
    first = token.last_used_at
    post(client, "projects/kitchen/next/")
    token.refresh_from_db()
    assert first == token.last_used_at
    ApiToken.objects.update(last_used_at=first - timedelta(seconds=61))
    post(client, "projects/kitchen/next/")
    token.refresh_from_db()
    assert token.last_used_at >= first


def test_a_token_does_what_its_scopes_say(annotator, manager, task):
    refused = post(client_of(annotator, "read", "write"), "projects/kitchen/next/")
    assert (refused.status_code, "annotate" in refused.json()["detail"]) == (403, True)
    assert post(client_of(manager, "annotate", "read"), "projects/kitchen/prompts/", {"prompts": []}).status_code == 403


def test_what_one_may_not_see_does_not_exist(client, lease, make_member, engineer, other_annotator):
    elsewhere = Project.objects.create(slug="garden", title="Garden")
    gus = client_of(make_member("gus", project=elsewhere))
    paths = [f"leases/{lease.public_id}/{verb}/" for verb in ("renew", "skip", "ranking")]
    lease_of_nobody = f"leases/{uuid4()}/renew/"

    answers = [post(gus, path, {"reason": "other"}) for path in [*paths, "projects/kitchen/next/", lease_of_nobody]]
    answers += [post(client_of(other_annotator), path, {"reason": "other"}) for path in paths]
    answers += [post(client_of(engineer), path) for path in [*paths, "projects/kitchen/next/"]]
    answers.append(post(client, "projects/kitchen/prompts/", {"prompts": [{"prompt": "Hi"}]}))

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1


def test_who_becomes_an_engineer_or_leaves_judges_no_more(client, lease, annotator):
    """Engineers see which model wrote what."""
    Membership.objects.filter(pk=annotator.pk).update(role=Role.ENGINEER)
    assert rank(client, lease.public_id).status_code == 404
    Membership.objects.filter(pk=annotator.pk).update(role=Role.ANNOTATOR, left_at=timezone.now())
    assert rank(client, lease.public_id).status_code == 404


def test_a_manager_adds_prompts_and_gets_a_report(manager, project):
    rows = [{"prompt": "How long do eggs keep?"}, {"prompt": "How long do eggs keep?"}]

    added = post(client_of(manager), "projects/kitchen/prompts/", {"prompts": rows})

    assert added.status_code == 201, added.json()
    assert (added.json()["prompts"], len(added.json()["duplicates"])) == (1, 1)
    assert Prompt.objects.filter(project=project).count() == 1


@pytest.mark.parametrize("prompts", [None, [], "Hi", [{"prompt": ""}], [7], [{"prompt": "Hi"}, {"propmt": "Hi"}]])
def test_one_bad_prompt_stores_none(manager, project, prompts):
    refused = post(client_of(manager), "projects/kitchen/prompts/", {"prompts": prompts})

    assert refused.status_code == 422
    assert refused.json()["errors"]
    assert not Prompt.objects.exists()


def test_agreement_shows_managers_names_and_engineers_pseudonyms(
    manager, engineer, annotator, other_annotator, make_task
):
    make_task(overlap=2)
    for membership in (annotator, other_annotator):
        rank(client_of(membership), post(client_of(membership), "projects/kitchen/next/").json()["lease"])
    read = [client_of(m).get("/api/v1/projects/kitchen/agreement/") for m in (manager, engineer, annotator)]

    assert [answer.status_code for answer in read] == [200, 200, 404]
    assert "ada|ben" in read[0].json()["pairwise"]["cohen_kappa"]
    assert "ada" not in read[1].content.decode()


def test_an_export_streams_a_line_per_pair(client, lease, engineer):
    rank(client, lease.public_id)
    reader = client_of(engineer)

    export = reader.get("/api/v1/projects/kitchen/export/", {"type": "preference"})

    assert export.streaming
    rows = [json.loads(line) for line in b"".join(export.streaming_content).splitlines()]
    assert len(rows) == 5  # of six pairs one is tied
    assert rows[0]["chosen"][0]["role"] == "assistant"
    tied = b"".join(reader.get("/api/v1/projects/kitchen/export/?type=preference&ties=1").streaming_content)
    assert len(tied.splitlines()) == 6
    refused = reader.get("/api/v1/projects/kitchen/export/", {"type": "everything"})
    assert (refused.status_code, "preference" in refused.json()["errors"]["type"]) == (422, True)
    assert client.get("/api/v1/projects/kitchen/export/?type=preference").status_code == 404


def test_ids_are_random_and_answers_are_positions(client, make_task):
    make_task("Second?")
    given = post(client, "projects/kitchen/next/").json()

    assert UUID(given["lease"]).version == 4
    assert set(given) == {"lease", "kind", "prompt", "candidates", "expires_at", "draft", "draft_counter"}
    assert all(set(answer) == {"position", "text", "cut"} for answer in given["candidates"])


def test_the_schema_is_openapi_3_1_without_warnings(db, recwarn, capsys):
    from drf_spectacular.drainage import GENERATOR_STATS
    from drf_spectacular.generators import SchemaGenerator
    from drf_spectacular.validation import validate_schema

    schema = SchemaGenerator().get_schema(request=None, public=True)

    validate_schema(schema)
    assert schema["openapi"].startswith("3.1")
    assert not GENERATOR_STATS, capsys.readouterr().err
    assert "/api/v1/leases/{lease_id}/ranking/" in schema["paths"]


def test_the_schema_and_its_page_are_open_and_only_the_page_may_show_data_images(db):
    client = APIClient()

    assert client.get("/api/v1/schema/").headers["Content-Type"].startswith("application/vnd.oai.openapi")
    page = client.get("/api/v1/docs/")
    assert "img-src 'self' data:" in page.headers["Content-Security-Policy"]
    assert b"<style" not in page.content
    assert b"onclick" not in page.content
    script = client.get("/api/v1/docs/?script=")
    assert script.headers["Content-Type"].startswith("application/javascript")
    assert "data:" not in client.get("/login/").headers["Content-Security-Policy"]
