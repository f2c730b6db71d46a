"""Settings: each says its effect, and a change of overlap says what it costs."""

import pytest
from django.urls import reverse

from annotation.assignment import next_task, seats_added
from annotation.models import Project, Task
from annotation.rankings import Answer, submit_ranking

URL = "/p/kitchen/settings/"
SETTINGS = {
    "title": "Kitchen questions",
    "answers_per_task": "4",
    "overlap": "1",
    "calibration_percent": "0",
    "calibration_overlap": "3",
    "lease_minutes": "15",
}


@pytest.fixture
def ten_tasks(make_task) -> list[Task]:
    return [make_task(f"Question {n}?", draw=n / 10) for n in range(10)]


def test_settings_are_saved(client, project, manager):
    client.force_login(manager.user)
    changed = {"title": "Kitchen", "answers_per_task": "6", "lease_minutes": "30"}
    assert "Saved." in client.post(URL, SETTINGS | changed, follow=True).content.decode()
    project.refresh_from_db()
    assert (project.title, project.answers_per_task, project.lease_minutes) == ("Kitchen", 6, 30)
    assert project.slug == "kitchen"


def test_the_four_groups_name_defaults(client, manager):
    client.force_login(manager.user)
    page = client.get(URL).content.decode()
    for group in ("Task", "Overlap", "Quality", "Assignment"):
        assert f"<h2>{group}</h2>" in page
    assert page.count("Default:") == 5


def test_more_overlap_says_what_it_adds_and_reaches_open_tasks(client, project, manager, ten_tasks):
    client.force_login(manager.user)
    page = client.post(URL, SETTINGS | {"overlap": "2"}, follow=True).content.decode()
    assert "This adds 10 judgements." in page
    assert set(Task.objects.values_list("overlap", flat=True)) == {2}


def test_the_cost_is_told_before_saving(client, project, manager, ten_tasks):
    client.force_login(manager.user)
    shown = client.post(
        reverse("settings_effect", args=["kitchen"]),
        SETTINGS | {"calibration_percent": "20"},
        headers={"HX-Request": "true"},
    ).content.decode()
    assert "This adds 4 judgements." in shown  # tasks 0.0 and 0.1, two more people each
    assert set(Task.objects.values_list("overlap", flat=True)) == {1}
    project.refresh_from_db()
    assert project.calibration_share == 0


def test_less_overlap_keeps_every_judgement(client, project, manager, annotator, other_annotator, make_task):
    project.overlap = 2
    project.save()
    make_task("One?", overlap=2)
    for person in (annotator, other_annotator):
        lease = next_task(person)
        submit_ranking(lease, Answer(tiers=[lease.display_order]), key="k")
    make_task("Two?", overlap=2)
    client.force_login(manager.user)

    page = client.post(URL, SETTINGS, follow=True).content.decode()

    assert "This spares 1 judgement" in page
    assert list(Task.objects.order_by("pk").values_list("overlap", "judged")) == [(2, 2), (1, 0)]


def test_a_share_between_percents_is_not_rounded_by_saving_something_else(client, project, manager):
    Project.objects.update(calibration_share=0.125)
    client.force_login(manager.user)
    client.post(URL, SETTINGS | {"calibration_percent": "12", "title": "Other"})
    project.refresh_from_db()
    assert (project.calibration_share, project.title) == (0.125, "Other")


@pytest.mark.parametrize(
    ("field", "value"), [("overlap", "0"), ("calibration_percent", "101"), ("title", ""), ("lease_minutes", "x")]
)
def test_a_wrong_value_is_told_and_nothing_is_saved(client, project, manager, field, value):
    client.force_login(manager.user)
    answer = client.post(URL, SETTINGS | {"title": "Other", "overlap": "5"} | {field: value})
    assert answer.status_code == 422 and "errorlist" in answer.content.decode()
    project.refresh_from_db()
    assert (project.title, project.overlap) == ("Kitchen questions", 1)


def test_pausing_gives_nobody_a_new_task(client, project, manager, annotator, task):
    client.force_login(manager.user)
    page = client.post(reverse("settings_state", args=["kitchen"]), {"state": "paused"}, follow=True)
    assert "nobody gets a new one" in page.content.decode()
    annotator.refresh_from_db()
    annotator.project.refresh_from_db()
    assert next_task(annotator) is None


def test_seats_added_is_what_set_overlap_does(project, ten_tasks):
    assert seats_added(project, overlap=1, calibration_share=0.3, calibration_overlap=3) == 6
    assert seats_added(project, overlap=3, calibration_share=0.3, calibration_overlap=2) == 20
    assert seats_added(project, overlap=1, calibration_share=0, calibration_overlap=3) == 0


@pytest.mark.parametrize("who", ["annotator", "engineer", "stranger"])
def test_only_managers_see_settings(client, who, request, manager):
    person = request.getfixturevalue(who)
    client.force_login(getattr(person, "user", person))
    assert client.get(URL).status_code == 404
    assert client.post(reverse("settings_state", args=["kitchen"]), {"state": "paused"}).status_code == 404
