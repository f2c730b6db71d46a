"""The annotator's page without a browser: what it shows, what it stores, what it gives away."""

import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse
from django.utils import timezone

from annotation.assignment import next_task
from annotation.models import Candidate, Guideline, Kind, Lease, Project, Purpose, Ranking

HTMX = {"HX-Request": "true"}


@pytest.fixture
def at_work(client, annotator):
    """The annotator's browser."""
    client.force_login(annotator.user)
    return client


@pytest.fixture
def page(at_work, project):
    return lambda **query: at_work.get(reverse("annotate", args=[project.slug]), query)


def ranks(*given: int | None, **more: str) -> dict[str, str]:
    """The form's fields: a rank for each position, None for no rank."""
    fields = {f"rank_{position}": str(rank) for position, rank in enumerate(given, 1) if rank}
    return {"key": str(uuid.uuid4())} | fields | more


def submit_url(lease: Lease) -> str:
    return reverse("submit", args=[lease.public_id])


def test_a_plain_form_stores_the_ranking_and_shows_the_next_task(at_work, page, make_task, annotator):
    make_task("First?")
    make_task("Second?")
    assert "First?" in page().content.decode()
    lease = annotator.leases.get()

    response = at_work.post(submit_url(lease), ranks(2, 1, 2, 3, seconds="41.5", comment="B is kind."), follow=True)

    ranking = Ranking.objects.get()
    shown = ranking.display_order
    assert ranking.tiers == [[shown[1]], sorted([shown[0], shown[2]]), [shown[3]]]
    assert (ranking.seconds, ranking.comment, ranking.purpose) == (41.5, "B is kind.", Purpose.WORK)
    assert "Second?" in response.content.decode()
    assert "1 today" in response.content.decode()
    assert [str(message) for message in get_messages(response.wsgi_request)] or "Saved." in response.content.decode()


def test_htmx_gets_the_next_task_alone_and_its_address(at_work, page, make_task, annotator, project):
    make_task("First?")
    make_task("Second?")
    page()

    response = at_work.post(submit_url(annotator.leases.get()), ranks(1, 2, 3, 4), headers=HTMX)

    html = response.content.decode()
    assert html.strip().startswith('<section id="task"')
    assert "Second?" in html and "Saved. 1 today" in html
    assert response["HX-Replace-Url"] == reverse("annotate", args=[project.slug])


def test_twice_the_same_form_is_stored_once(at_work, page, task, annotator):
    page()
    form = ranks(1, 2, 3, 4)

    for _ in range(2):
        assert at_work.post(submit_url(annotator.leases.get()), form, headers=HTMX).status_code == 200

    assert Ranking.objects.count() == 1


def test_a_missing_rank_is_named_and_the_others_are_kept(at_work, page, task, annotator):
    page()

    response = at_work.post(submit_url(annotator.leases.get()), ranks(1, 2, None, 3, comment="wait"), headers=HTMX)

    html = response.content.decode()
    assert response.status_code == 422
    assert "C has no rank yet" in html
    assert len(re.findall(r"<input[^>]* checked", html)) == 3
    assert "wait" in html
    assert not Ranking.objects.exists()


def test_all_bad_needs_no_ranks(at_work, page, task, annotator):
    page()

    at_work.post(submit_url(annotator.leases.get()), ranks(all_bad="on"))

    assert Ranking.objects.get().all_bad


@pytest.mark.parametrize("choice, tiers", [("1", [[0], [1]]), ("2", [[1], [0]]), ("tie", [[0, 1]])])
def test_two_answers_are_compared_by_one_button(at_work, page, make_task, annotator, project, choice, tiers):
    Project.objects.filter(pk=project.pk).update(kind=Kind.PAIRWISE, answers_per_task=2)
    make_task(answers=("Five weeks.", "Long."))
    html = page().content.decode()
    assert 'name="rank_1"' not in html

    at_work.post(submit_url(annotator.leases.get()), {"key": "k", "choice": choice})

    ranking = Ranking.objects.get()
    assert ranking.kind == Kind.PAIRWISE
    assert ranking.tiers == [sorted(ranking.display_order[n] for n in tier) for tier in tiers]


def test_skip_frees_the_seat_with_its_reason(at_work, page, task, annotator):
    page()
    lease = annotator.leases.get()

    response = at_work.post(reverse("skip", args=[lease.public_id]), {"reason": "knowledge"}, headers=HTMX)

    lease.refresh_from_db()
    task.refresh_from_db()
    assert (lease.state, lease.skip_reason, task.taken) == (Lease.State.SKIPPED, "knowledge", 0)
    assert "All done" in response.content.decode()


def test_a_skip_without_a_reason_is_refused(at_work, page, task, annotator):
    page()

    response = at_work.post(reverse("skip", args=[annotator.leases.get().public_id]), {"reason": "boredom"})

    assert response.status_code == 422
    assert annotator.leases.get().state == Lease.State.LIVE


def test_a_draft_comes_back_with_its_gaps(at_work, page, task, annotator):
    page()
    lease = annotator.leases.get()
    draft = {"rank_1": "1", "rank_3": "3", "comment": "half done", "seconds": "7", "counter": "2"}

    assert at_work.post(reverse("draft", args=[lease.public_id]), draft).status_code == 204
    stale = draft | {"comment": "older", "counter": "1"}
    assert at_work.post(reverse("draft", args=[lease.public_id]), stale).status_code == 204

    html = page().content.decode()
    checked = re.findall(r'name="(rank_\d)" value="(\d)" checked', html)
    assert checked == [("rank_1", "1"), ("rank_3", "3")]
    assert "half done" in html and "older" not in html
    assert 'data-counter="2"' in html


def test_a_lost_seat_is_told_politely_and_the_answer_is_kept(at_work, page, task, annotator, other_annotator):
    page()
    lease = annotator.leases.get()
    Lease.objects.update(expires_at=timezone.now() - timedelta(minutes=1))
    assert next_task(other_annotator) is not None

    response = at_work.post(submit_url(lease), ranks(1, 2, 3, 4), headers=HTMX)

    html = response.content.decode()
    assert response.status_code == 409
    assert "This task went to somebody else" in html and "Next task" in html and "kept in your history" in html
    assert Ranking.objects.get().purpose == Purpose.SURPLUS
    assert at_work.post(reverse("draft", args=[lease.public_id]), {"counter": "1"}).status_code == 409
    assert at_work.post(reverse("renew", args=[lease.public_id])).status_code == 409
    assert "kept, not counted" in at_work.get(reverse("history", args=["kitchen"])).content.decode()


def test_undo_opens_the_last_judgement_and_sends_an_amendment(at_work, page, make_task, annotator):
    make_task("First?")
    make_task("Second?")
    page()
    at_work.post(submit_url(annotator.leases.get()), ranks(1, 2, 3, 4))
    first = Ranking.objects.get()
    assert f"?amend={first.public_id}" in page().content.decode()

    opened = page(amend=str(first.public_id)).content.decode()
    assert "First?" in opened and len(re.findall(r"<input[^>]* checked", opened)) == 4
    at_work.post(reverse("amend", args=[first.public_id]), ranks(4, 3, 2, 1))

    first.refresh_from_db()
    assert not first.is_current
    assert Ranking.objects.counted().get().tiers == first.tiers[::-1]


@pytest.mark.parametrize("who", ["other_annotator", "stranger", "engineer"])
def test_nobody_else_can_touch_a_lease_or_a_ranking(client, page, at_work, task, annotator, who, request):
    page()
    lease = annotator.leases.get()
    at_work.post(submit_url(lease), ranks(1, 2, 3, 4))
    ranking = Ranking.objects.get()
    person = request.getfixturevalue(who)
    client.force_login(getattr(person, "user", person))

    for name, of in (("submit", lease), ("draft", lease), ("skip", lease), ("renew", lease), ("amend", ranking)):
        assert client.post(reverse(name, args=[of.public_id]), ranks(4, 3, 2, 1)).status_code == 404
    assert client.get(reverse("annotate", args=["kitchen"]), {"amend": str(ranking.public_id)}).status_code == 404
    assert Ranking.objects.count() == 1


def test_the_page_is_blind(at_work, page, make_task, annotator):
    """Neither a model's name nor the number of a row: ids given in turn would tell the order of the models."""
    task = make_task(answers=())
    Candidate.objects.bulk_create(
        Candidate(pk=70_000 + n, task=task, text=f"answer {n}", model_name="secret-model") for n in range(4)
    )

    html = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "", page().content.decode())

    assert "answer 3" in html
    assert "secret-model" not in html and "7000" not in html
    assert re.findall(r'data-position="(\d)"', html) == ["1", "2", "3", "4"]
    links = re.findall(r'(?:href|action|hx-post|hx-get|data-\w+)="(/[^"]*)"', html)
    assert not [link for link in links if re.search(r"/\d+/", link)]


def test_what_may_be_hostile_comes_out_harmless(page, make_task):
    make_task("<script>alert(1)</script>", ("<img src=x onerror=alert(2)>", "[x](javascript:alert(3))", "", "d"))

    html = page().content.decode()

    assert "<script>alert" not in html and "<img" not in html and 'href="javascript' not in html
    assert "The model answered nothing." in html


def test_an_answer_that_was_cut_says_so(page, task):
    task.candidates.filter(text="Long.").update(cut=True)

    assert page().content.decode().count("cut at the length limit") == 1


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda project: Project.objects.update(state="paused"), "This project is paused"),
        (lambda project: None, "There are no prompts yet"),
    ],
)
def test_no_task_is_explained(page, project, change, told):
    change(project)

    assert told in page().content.decode()


def test_tasks_that_are_not_complete_or_are_with_others_are_explained(
    page, make_task, at_work, annotator, other_annotator
):
    task = make_task()
    next_task(other_annotator)
    assert "Others are at the last tasks" in page().content.decode()

    task.ready = False
    task.save()
    assert "The answers are still being written" in page().content.decode()


def test_preview_is_the_real_page_and_stores_nothing(client, manager, make_task, project):
    make_task("First?")
    make_task("Second?")
    client.force_login(manager.user)
    url = reverse("preview", args=[project.slug])
    assert "Nothing you do here is stored" in client.get(url).content.decode()

    incomplete = client.post(url, ranks(1, None, 2, 3))
    assert incomplete.status_code == 422 and "B has no rank yet" in incomplete.content.decode()
    following = client.post(url, ranks(1, 2, 3, 4), follow=True).content.decode()

    assert "Second?" in following
    assert not Ranking.objects.exists() and not Lease.objects.exists()
    project.refresh_from_db()
    assert project.previewed_at is not None


def test_annotators_do_not_get_the_preview(at_work, project):
    assert at_work.get(reverse("preview", args=[project.slug])).status_code == 404


def test_the_guideline_is_on_the_page_with_its_version(page, task, project):
    guideline = Guideline.objects.create(project=project, version=3, text="# Be *kind*")
    Project.objects.update(guideline=guideline)

    html = page().content.decode()

    assert '<h3 dir="auto">Be <em>kind</em></h3>' in html and "v3" in html


def test_a_form_that_a_login_interrupted_leads_back_to_the_page(client, annotator, lease):
    response = client.post(submit_url(lease), ranks(1, 2, 3, 4))
    assert response["Location"].startswith("/login/")

    client.force_login(annotator.user)
    assert client.get(submit_url(lease))["Location"] == "/p/kitchen/annotate/"


def test_home_leads_to_the_persons_work(client, annotator, manager, stranger):
    for person, address in ((annotator.user, "/p/kitchen/annotate/"), (manager.user, "/p/kitchen/")):
        client.force_login(person)
        assert client.get("/")["Location"] == address
    client.force_login(stranger)
    assert "You are in no project yet" in client.get("/").content.decode()


def test_names_are_locked_after_eight_wrong_passwords(client, annotator):
    for _ in range(7):
        assert client.post("/login/", {"username": "ada", "password": "wrong"}).status_code == 200

    locked = client.post("/login/", {"username": "ada", "password": "wrong"})
    assert locked.status_code == 429 and "Too many tries" in locked.content.decode()
    assert client.post("/login/", {"username": "ada", "password": "ada-secret"}).status_code == 429
