"""Blind: nothing that an annotator can get tells which model wrote an answer, or what others think of it."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from annotation.assignment import next_task
from annotation.models import ApiToken, Candidate, Guideline, Lease, Membership, Prompt, Ranking, Task
from annotation.rankings import Answer, submit_ranking
from tests.test_url_roles import TABLE, address

IDS = 700_000_000  # the rows' ids begin here, so that one in a page cannot be mistaken for another number
SECRETS = [
    "secretmodel",
    "0.777",
    "98765",
    "seed-of-the-run",
    "bertha",
    "berthas-comment",
    "p-bertha",
    "from-the-lab",
    "batch-of-the-lab",
    r"70000\d{4}",
]


@pytest.fixture
def tasks(project, make_member) -> list[Task]:
    """Three tasks, two of them judged by another annotator too; everything that must stay unseen is set."""
    project.guideline = Guideline.objects.create(project=project, version=1, text="Prefer the kind answer.")
    project.save()
    made = []
    for n in range(3):
        messages = [{"role": "user", "content": f"Question {n}?"}]
        fields = {"metadata": {"source": "from-the-lab"}, "batch": "batch-of-the-lab", "tags": ["from-the-lab"]}
        prompt = Prompt.objects.create(
            pk=IDS + n, project=project, messages=messages, content_hash=str(n), split="train", **fields
        )
        task = Task.objects.create(
            pk=IDS + 100 + n,
            project=project,
            prompt=prompt,
            overlap=3,
            ready=True,
            position=n,
            external_id=f"{IDS + n}",
        )
        for m in range(4):
            sampling = {"temperature": 0.777, "run": "seed-of-the-run"}
            fields = {"model_name": f"secretmodel-{m}", "sampling": sampling, "tokens": 98765}
            Candidate.objects.create(pk=IDS + 1000 + 10 * n + m, task=task, text=f"Answer {n}.", cut=m == 0, **fields)
        made.append(task)
    bertha = make_member("bertha")
    Membership.objects.filter(pk=bertha.pk).update(pseudonym="p-bertha")
    for n in range(2):
        lease = next_task(bertha)
        submit_ranking(lease, Answer(tiers=[lease.display_order], comment="berthas-comment"), key=str(n))
    next_task(bertha)
    return made


def texts_of(answer: HttpResponse) -> str:
    headers = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return f"{headers}\n{answer.cookies.output()}\n{body.decode()}"


class Reader:
    """Collects whatever comes back, and where from."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.read: dict[str, str] = {}

    def __call__(self, what: str, send: Callable[..., HttpResponse], *args: object, **more: object) -> HttpResponse:
        answer = send(*args, **more)
        assert answer.status_code < 500
        self.read[f"{len(self.read)} {what}: {args[0]} {answer.status_code}"] = texts_of(answer)
        return answer

    def statuses(self) -> str:
        return " ".join(place.rpartition(" ")[2] for place in self.read)

    def leaks(self) -> list[str]:
        return [
            f"{secret} in {place}" for place, text in self.read.items() for secret in SECRETS if re.search(secret, text)
        ]


def ballot_of(page: str) -> dict[str, object]:
    key = re.search(r'name="key" value="([^"]+)"', page)
    assert key, page
    return {"key": key[1], "rank_1": 1, "rank_2": 2, "rank_3": 2, "rank_4": 3, "comment": "mine"}


def test_the_readers_eyes_are_open(tasks, manager):
    """A test of the test: the manager's pages do show all this."""
    client = Client()
    client.force_login(manager.user)
    reader = Reader(client)
    reader("task", client.get, f"/p/kitchen/tasks/{tasks[0].pk}/")

    assert {"secretmodel", "bertha", "98765"} <= {leak.partition(" ")[0] for leak in reader.leaks()}


def test_no_page_tells(tasks, annotator):
    client = Client()
    client.force_login(annotator.user)
    reader = Reader(client)
    page = reader("ballot", client.get, "/p/kitchen/annotate/").content.decode()
    assert "Answer" in page
    reader("ballot by htmx", client.get, "/p/kitchen/annotate/", headers={"HX-Request": "true"})
    lease = Lease.objects.live().get(annotator=annotator).public_id
    ballot = ballot_of(page)

    reader("renewed", client.post, f"/leases/{lease}/renew/")
    reader("draft", client.post, f"/leases/{lease}/draft/", ballot | {"counter": 1})
    reader("bad draft", client.post, f"/leases/{lease}/draft/", {"rank_1": "x"})
    reader("incomplete", client.post, f"/leases/{lease}/submit/", ballot | {"rank_4": ""})
    reader("by htmx", client.post, f"/leases/{lease}/submit/", ballot | {"rank_4": ""}, headers={"HX-Request": "true"})
    reader("stored", client.post, f"/leases/{lease}/submit/", ballot, headers={"HX-Request": "true"})
    reader("key reused", client.post, f"/leases/{lease}/submit/", ballot | {"rank_1": 3})
    reader("surplus", client.post, f"/leases/{lease}/submit/", ballot | {"key": "another"})
    ranking = Ranking.objects.get(annotator=annotator, purpose="work").public_id
    reader("opened again", client.get, f"/p/kitchen/annotate/?amend={ranking}")
    reader("amended", client.post, f"/rankings/{ranking}/amend/", ballot | {"key": "b", "rank_1": 3})
    reader("amended twice", client.post, f"/rankings/{ranking}/amend/", ballot | {"key": "c"})
    lease = Lease.objects.live().get(annotator=annotator).public_id
    reader("skip without reason", client.post, f"/leases/{lease}/skip/", {})
    reader("skip", client.post, f"/leases/{lease}/skip/", {"reason": "other"})
    client.get("/p/kitchen/annotate/")
    Lease.objects.live().filter(annotator=annotator).update(state=Lease.State.EXPIRED)
    lost = Lease.objects.filter(annotator=annotator).latest("pk").public_id
    reader("lost", client.post, f"/leases/{lost}/submit/", ballot | {"key": "lost"})
    Task.objects.update(ready=False)
    reader("nothing left", client.get, "/p/kitchen/annotate/")
    for where in ("/", "/p/kitchen/history/", "/tokens/", "/p/new/", "/login/", "/api/v1/docs/", "/api/v1/schema/"):
        reader("page", client.get, where)

    assert reader.statuses() == (
        "200 200 204 204 422 422 422 200 422 409 200 302 422 422 302 409 200 302 200 200 200 200 200 200"
    )
    assert not reader.leaks()


def test_no_answer_of_the_api_tells(tasks, annotator):
    _token, secret = ApiToken.make(annotator.user, "test", ApiToken.Scope.values)
    client = Client(headers={"Authorization": f"Token {secret}"})
    reader = Reader(client)

    def post(path: str, data: object = None, what: str = "") -> HttpResponse:
        return reader(what, client.post, f"/api/v1/{path}", data, content_type="application/json")

    lease = post("projects/kitchen/next/").json()["lease"]
    body = {"tiers": [[1], [2, 3], [4]], "idempotency_key": "a"}
    post(f"leases/{lease}/renew/")
    post(f"leases/{lease}/ranking/", body | {"tiers": [[1]]}, "incomplete")
    post(f"leases/{lease}/ranking/", body | {"tiers": [[IDS + 1000]]}, "an id for a position")
    ranking = post(f"leases/{lease}/ranking/", body).json()["ranking"]
    post(f"leases/{lease}/ranking/", body | {"idempotency_key": "b"}, "surplus")
    post(f"leases/{lease}/skip/", {"reason": "other"}, "too late")
    post(f"rankings/{ranking}/amend/", body | {"idempotency_key": "c", "tiers": [[1, 2, 3, 4]]})
    post(f"rankings/{ranking}/amend/", body | {"idempotency_key": "d"}, "too late")
    reader("history", client.get, "/api/v1/projects/kitchen/history/")
    lease = post("projects/kitchen/next/").json()["lease"]
    Lease.objects.filter(public_id=lease).update(expires_at=timezone.now() - timedelta(days=1))
    post(f"leases/{lease}/skip/", {"reason": "other"})

    # what was sent is repeated in the reason for its refusal: that is no leak
    reader.read = {place: text for place, text in reader.read.items() if "an id for a position" not in place}
    assert reader.statuses() == "200 200 422 201 409 409 201 409 200 200 204"
    assert not reader.leaks()


def test_what_is_closed_to_annotators_tells_nothing_either(tasks, annotator, make_member):
    """Refusals too: every URL of the house that an annotator may not enter."""
    world = {"slug": "kitchen", "version": 1, "token": "x", "tasks": tasks[0].pk, "people": annotator.pk}
    world |= dict.fromkeys(["links", "tokens", "run", "modelversion", "dataset", "user", "project"], 1)
    world |= dict.fromkeys(["accessattempt", "accessfailurelog", "accesslog"], 1)
    lease, ranking = next_task(annotator), Ranking.objects.exclude(annotator=annotator).first()
    world |= {"lease_id": lease.public_id, "ranking_id": ranking.public_id}
    client = Client()
    client.force_login(annotator.user)
    reader = Reader(client)
    for route, row in TABLE.items():
        for method, allowed in (("get", row.get), ("post", row.post)):
            if allowed is not None and "annotator" not in allowed:
                answer = reader(method, getattr(client, method), address(route, world), row.data)
                assert answer.status_code in (401, 404), route

    # the address that was asked for may come back in the answer
    reader.read = {place: text.replace(place.split(" ")[2], "") for place, text in reader.read.items()}
    assert not reader.leaks()
