"""The quality page: one sentence, one picture, and the numbers of `agreement --json`, each leading to its tasks."""

import pytest
from django.urls import reverse

from annotation.assignment import next_task
from annotation.imports import import_rankings
from annotation.models import Membership, Project, Task
from annotation.quality import project_agreement
from annotation.rankings import Answer, submit_ranking

URL = "/p/kitchen/quality/"


def quality(client, membership: Membership) -> str:
    client.force_login(membership.user)
    return client.get(URL).content.decode()


def judged(
    project: Project, *, tasks: int, people: tuple[str, ...] = ("a1", "a2", "a3"), tags: list[str] | None = None
):
    """Everybody prefers the first of two answers, but a1 in every fourth task and a2 in every fifth the second."""
    import_rankings(
        project,
        [
            {
                "task": f"{(tags or [''])[0]}{n}",
                "prompt": f"Question {n} of {(tags or [''])[0]}?",
                "candidates": [{"text": "A", "model": "x"}, {"text": "B", "model": "y"}],
                "annotator": person,
                "tiers": [[1], [0]] if (person, n % 4) == ("a1", 0) or (person, n % 5) == ("a2", 0) else [[0], [1]],
            }
            for n in range(tasks)
            for person in people
        ],
    )


def test_it_opens_with_its_sentence_and_shows_the_same_numbers(client, project, manager):
    judged(project, tasks=60)
    report = project_agreement(project)

    page = quality(client, manager)

    raw = f"{report['pairwise']['raw']:.0%}".replace("%", " %")
    assert f"Two people agree on {raw} [" in page
    for value in (report["pairwise"]["alpha_nominal"], report["pairwise"]["cohen_kappa"]["a1|a3"]):
        assert f"{value:.2f}" in page
    assert f"{report['pairwise']['bradley_terry']['x']:.3f}" in page
    assert "60 pairs" in page and "See the 60 tasks behind it" in page


def test_cells_lead_to_the_tasks_that_both_judged(client, project, manager):
    judged(project, tasks=3)
    page = quality(client, manager)
    a1, a2 = (project.memberships.get(external_id=name) for name in ("a1", "a2"))
    link = f"{reverse('tasks', args=['kitchen'])}?annotator={a1.pk}&amp;annotator={a2.pk}"
    assert link in page
    assert "3 tasks, judged by a1, a2" in client.get(link.replace("&amp;", "&")).content.decode()


def test_few_pairs_are_called_few(client, project, manager):
    judged(project, tasks=5)
    assert "5 shared pairs are too few to trust it" in quality(client, manager)


def test_without_overlap_it_offers_calibration(client, project, manager, annotator, make_task):
    for n in range(4):
        make_task(f"Question {n}?", draw=n / 10)
    lease = next_task(annotator)
    submit_ranking(lease, Answer(tiers=[lease.display_order]), key="k")

    page = quality(client, manager)
    assert "Nobody&#x27;s work overlaps, so agreement cannot be measured." in page
    assert "Let 3 people judge 15 %" in page
    page = client.post(reverse("quality_overlap", args=["kitchen"]), follow=True).content.decode()

    project.refresh_from_db()
    assert (project.calibration_share, project.calibration_overlap, project.overlap) == (0.15, 3, 1)
    assert sorted(Task.objects.values_list("overlap", flat=True)) == [1, 1, 3, 3]
    assert "This adds 4 judgements." in page and "Let 3 people judge" not in page


def test_an_empty_project_says_so(client, manager):
    page = quality(client, manager)
    assert "Nobody has judged yet." in page and "Figures" not in page


def test_what_cannot_be_computed_is_explained_and_never_zero(client, project, manager):
    judged(project, tasks=2, people=("a1", "a2"))
    judged(project, tasks=1, people=("a1", "a2", "a3"), tags=["more"])
    page = quality(client, manager)
    assert "verdicts; Fleiss needs the same number on each" in page
    assert "undefined" in page and "NaN" not in page and "None" not in page


def test_the_weakest_tag_leads_to_its_tasks(client, project, manager):
    judged(project, tasks=60, tags=["cooking"])
    judged(project, tasks=60, tags=["health"])
    for prompt in project.prompts.all():
        prompt.tags = ["health"] if "health" in prompt.last_user_turn else ["cooking", "food & <drink>"]
        prompt.save()
    project.prompts.filter(messages__0__content="Question 0 of health?").update(tags=[])
    page = quality(client, manager)
    assert "Weakest:" in page and "?tag=" in page
    shown = client.get("/p/kitchen/tasks/", {"tag": "food & <drink>"}).content.decode()
    assert "60 prompts" in shown and "food &amp; &lt;drink&gt;" in shown


def test_engineers_see_pseudonyms_and_cannot_change_the_overlap(client, project, engineer):
    judged(project, tasks=3)
    page = quality(client, engineer)
    pseudonyms = project.memberships.exclude(external_id="").values_list("pseudonym", flat=True)
    assert all(pseudonym in page for pseudonym in pseudonyms) and ">a1<" not in page
    assert client.post(reverse("quality_overlap", args=["kitchen"])).status_code == 404


def test_simulated_people_are_marked(client, project, manager):
    project.simulated = True
    project.save()
    judged(project, tasks=3)
    project.memberships.exclude(external_id="").update(made_by="simulated")
    page = quality(client, manager)
    assert "simulated annotators" in page and page.count("Simulated</span>") == 3


def test_many_people_make_a_list_instead_of_a_matrix(client, project, manager):
    judged(project, tasks=2, people=tuple(f"p{n:02}" for n in range(14)))
    assert "Two people, weakest first" in quality(client, manager)


@pytest.mark.parametrize("who", ["annotator", "stranger"])
def test_annotators_do_not_see_it(client, who, request, manager):
    person = request.getfixturevalue(who)
    client.force_login(getattr(person, "user", person))
    assert client.get(URL).status_code == 404


def test_its_queries_do_not_grow(client, project, manager, count_queries):
    client.force_login(manager.user)
    judged(project, tasks=3)
    few = count_queries(client, URL)
    judged(project, tasks=30, people=tuple(f"p{n:02}" for n in range(9)), tags=["more"])
    assert count_queries(client, URL) == few <= 16
