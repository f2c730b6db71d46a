"""A project is set up, looked over, and its numbers lead to the tasks behind them."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from annotation.assignment import next_task
from annotation.models import Candidate, Kind, Membership, Project, Ranking, Role, Task
from annotation.projects import create_project
from annotation.rankings import Answer, submit_ranking

NEW = {"title": "Kitchen advice", "kind": "ranking", "answers_per_task": "4", "guideline": "Be kind."}


def judge(membership: Membership, **answer: object) -> Ranking:
    lease = next_task(membership)
    first, *rest = sorted(lease.display_order)
    return submit_ranking(lease, Answer(tiers=[[first], rest], **answer), key=f"{lease.pk}")


def overview(client, membership: Membership) -> str:
    client.force_login(membership.user)
    return client.get(reverse("overview", args=[membership.project.slug])).content.decode()


# --- New ---


def test_four_answers_make_a_project_and_its_manager(client, stranger):
    client.force_login(stranger)
    page = client.get(reverse("project_new")).content.decode()
    assert "What is better" in page and "What is harmful" in page and "When to tie" in page

    answer = client.post(reverse("project_new"), NEW)

    project = Project.objects.get()
    assert answer["Location"] == reverse("overview", args=["kitchen-advice"])
    assert (project.title, project.kind, project.answers_per_task) == ("Kitchen advice", Kind.RANKING, 4)
    assert (project.guideline.version, project.guideline.text) == (1, "Be kind.")
    assert project.memberships.get().role == Role.MANAGER and project.memberships.get().user == stranger


def test_comparing_two_always_takes_two(client, stranger):
    client.force_login(stranger)
    client.post(reverse("project_new"), NEW | {"kind": "pairwise", "answers_per_task": "12"})
    assert Project.objects.get().answers_per_task == 2


def test_a_wrong_number_of_answers_is_told_beside_its_field(client, stranger):
    client.force_login(stranger)
    answer = client.post(reverse("project_new"), NEW | {"answers_per_task": "12"})
    assert answer.status_code == 422 and "less than or equal to 9" in answer.content.decode()
    assert not Project.objects.exists()


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Kitchen advice", "kitchen-advice"),
        ("日常问题", "project"),
        ("GPT 回答对比 v2", "gpt-v2"),
        ("new", "new-2"),  # /p/new/ is a page
        ("أسئلة", "project"),
        ("x" * 120, "x" * 40),
    ],
)
def test_the_address_is_made_from_the_title(db, title, slug):
    assert create_project(title).slug == slug


def test_equal_titles_get_different_addresses(db):
    assert [create_project("日常问题").slug for _ in range(3)] == ["project", "project-2", "project-3"]


def test_a_new_project_asks_for_login(client, db):
    assert reverse("login") in client.get(reverse("project_new"))["Location"]


# --- Overview ---


def test_an_empty_project_says_what_to_do_first(client, manager):
    page = overview(client, manager)
    assert "upload the prompts" in page and reverse("upload", args=["kitchen"]) in page
    assert "Before people can work" in page


def test_the_checklist_goes_when_all_is_done(client, project, manager, annotator, task):
    project.guideline = project.guidelines.create(version=1, text="Be kind.")
    project.save()
    assert "Before people can work" in overview(client, manager)

    project.previewed_at = timezone.now()
    project.save()
    page = overview(client, manager)
    assert "Before people can work" not in page and "0 of 1 task is judged" in page


def test_tasks_without_people_ask_for_an_invitation(client, manager, task):
    page = overview(client, manager)
    assert "1 task is ready, and nobody is here to judge it" in page and "Invite people" in page


def test_prompts_without_answers_ask_for_a_model(client, manager, task):
    Task.objects.update(ready=False)
    assert "1 prompt waits for its answers" in overview(client, manager)


def test_progress_counts_and_leads_to_the_tasks(client, manager, annotator, other_annotator, make_task):
    for question in ("One?", "Two?", "Three?"):
        make_task(question)
    waiting = make_task("Four?")
    Task.objects.filter(pk=waiting.pk).update(ready=False)
    yesterday = judge(annotator)
    Ranking.objects.filter(pk=yesterday.pk).update(created_at=timezone.now() - timedelta(days=1))
    judge(annotator, comment="B invents a source.")
    next_task(other_annotator)

    page = overview(client, manager)

    assert "2 of 4 tasks are judged" in page and "1 judgement today" in page
    assert "2 tasks finished, 1 open, 1 waiting for answers" in page
    assert "B invents a source." in page
    assert "ben" in page.split("Working now")[1].split("Recent comments")[0]
    assert f"{reverse('tasks', args=['kitchen'])}?state=waiting" in page


def test_a_paused_project_offers_to_resume(client, project, manager, task):
    project.state = Project.State.PAUSED
    project.save()
    page = overview(client, manager)
    assert "nobody gets a new task" in page

    client.post(reverse("settings_state", args=["kitchen"]), {"state": "active", "next": "overview"})
    project.refresh_from_db()
    assert project.state == Project.State.ACTIVE


@pytest.mark.parametrize("who", ["annotator", "engineer", "stranger"])
def test_only_managers_see_the_overview(client, who, request, manager):
    person = request.getfixturevalue(who)
    client.force_login(getattr(person, "user", person))
    assert client.get(reverse("overview", args=["kitchen"])).status_code == 404


def test_the_overview_takes_the_same_queries_for_any_number(client, manager, make_member, make_task, count_queries):
    client.force_login(manager.user)
    url = reverse("overview", args=["kitchen"])
    for n in range(2):
        make_task(f"Question {n}?")
    judge(make_member("p0"), comment="Well.")
    next_task(make_member("q0"))
    few = count_queries(client, url)
    for n in range(2, 12):
        make_task(f"Question {n}?")
        next_task(make_member(f"p{n}"))
    for n in range(12, 16):
        make_task(f"Question {n}?")
        judge(make_member(f"q{n}"), comment="Well.")
    assert count_queries(client, url) == few <= 14


# --- Tasks ---


def test_tasks_are_filtered_by_state_and_by_who_judged(client, manager, annotator, other_annotator, make_task):
    shared, lone, _open = make_task("Shared?", overlap=2), make_task("Lone?"), make_task("Open?")
    for task, people in ((shared, [annotator, other_annotator]), (lone, [annotator])):
        Task.objects.exclude(pk=task.pk).update(ready=False)
        Task.objects.filter(pk=task.pk).update(ready=True)
        for person in people:
            judge(person)
    Task.objects.update(ready=True)
    client.force_login(manager.user)

    def shown(query: str) -> list[str]:
        page = client.get(reverse("tasks", args=["kitchen"]) + query).content.decode()
        return [question for question in ("Shared?", "Lone?", "Open?") if question in page]

    assert shown("") == ["Shared?", "Lone?", "Open?"]
    assert shown("?state=open") == ["Open?"]
    assert shown("?state=finished") == ["Shared?", "Lone?"]
    assert shown(f"?annotator={annotator.pk}") == ["Shared?", "Lone?"]
    assert shown(f"?annotator={annotator.pk}&annotator={other_annotator.pk}") == ["Shared?"]
    assert shown("?state=nonsense&annotator=x&page=99") == ["Shared?", "Lone?", "Open?"]


def test_the_list_of_tasks_is_paged_and_its_queries_do_not_grow(client, manager, make_task, count_queries):
    client.force_login(manager.user)
    url = reverse("tasks", args=["kitchen"])
    make_task("First?")
    few = count_queries(client, url)
    for n in range(60):
        make_task(f"Question {n}?")
    assert count_queries(client, url) == few <= 8
    page = client.get(url + "?state=open").content.decode()
    assert "Page 1 of 2" in page and "?state=open&amp;page=2" in page


def test_a_task_shows_models_and_who_voted_what(client, manager, annotator, task):
    judge(annotator, comment="A is right.")
    client.force_login(manager.user)
    page = client.get(reverse("task", args=["kitchen", task.pk])).content.decode()

    assert "A &gt; B = C = D" in page and "ada" in page and "A is right." in page
    assert "model-0" in page and "Five weeks." in page
    assert "Votes per pair" in page


def test_engineers_see_pseudonyms(client, engineer, annotator, task):
    judge(annotator)
    client.force_login(engineer.user)
    page = client.get(reverse("task", args=["kitchen", task.pk])).content.decode()
    assert annotator.pseudonym in page and "ada" not in page
    listed = client.get(reverse("tasks", args=["kitchen"]), {"annotator": annotator.pk}).content.decode()
    assert annotator.pseudonym in listed and "ada" not in listed


def test_annotators_see_no_list_and_no_task(client, annotator, task):
    client.force_login(annotator.user)
    assert client.get(reverse("tasks", args=["kitchen"])).status_code == 404
    assert client.get(reverse("task", args=["kitchen", task.pk])).status_code == 404


def test_a_task_of_another_project_is_not_found(client, manager, make_task):
    other = Project.objects.create(slug="other", title="Other")
    foreign = make_task(project=other)
    client.force_login(manager.user)
    assert client.get(reverse("task", args=["kitchen", foreign.pk])).status_code == 404


def test_hostile_text_is_shown_as_text(client, manager, make_task):
    task = make_task("<script>alert(1)</script>", answers=("<img src=x onerror=alert(1)>", "b", "c", ""))
    Candidate.objects.filter(task=task, text="c").update(cut=True)
    client.force_login(manager.user)
    for url in (reverse("task", args=["kitchen", task.pk]), reverse("tasks", args=["kitchen"])):
        page = client.get(url).content.decode()
        assert "<script>alert" not in page and "<img" not in page
    assert "cut at the length limit" in client.get(reverse("task", args=["kitchen", task.pk])).content.decode()
