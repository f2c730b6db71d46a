import pytest

from annotation.imports import import_prompts, import_rankings
from annotation.models import Membership
from annotation.quality import annotator_names, project_quality, summarise

A, B = [[0], [1]], [[1], [0]]


def judge(project, tasks, *, agree, tag="", people=("ann", "bob"), **fields):
    """So many tasks, of which the first `agree` are judged alike by everyone and the others not."""
    prompts = [{"prompt": f"{tag} question {n}?", "tags": [tag] if tag else []} for n in range(tasks)]
    import_prompts(project, prompts)
    import_rankings(
        project,
        [
            {"task": f"{tag}{n}", "prompt": prompt["prompt"], "candidates": ["a", "b"], "annotator": who}
            | {"tiers": A if who == people[0] or n < agree else B}
            | fields
            for n, prompt in enumerate(prompts)
            for who in people
        ],
    )


def test_one_sentence_in_words_that_the_field_would_use(project):
    judge(project, 100, agree=71)

    found = project_quality(project)

    assert found.summary.level == "usual"
    assert found.summary.sentence == "Two people agree on 71 % [61, 79] of pairs, usual for preferences."


@pytest.mark.parametrize(
    ("tasks", "agree", "level", "words"),
    [(40, 36, "few", "40 shared pairs are too few"), (60, 30, "weak", ", weak."), (60, 54, "strong", ", strong.")],
)
def test_levels(project, tasks, agree, level, words):
    judge(project, tasks, agree=agree)

    summary = project_quality(project).summary

    assert summary.level == level
    assert words in summary.sentence


def test_the_weakest_tag_is_named(project):
    judge(project, 60, agree=50, tag="cooking")
    judge(project, 60, agree=35, tag="medical")
    judge(project, 10, agree=0, tag="rare")  # too few pairs to tell

    summary = project_quality(project).summary

    assert (summary.weakest.tag, summary.weakest.tasks) == ("medical", 60)
    assert summary.sentence.endswith("Weakest: medical, 58 %.")


def test_nobody_has_judged_and_nobody_overlaps(project):
    assert project_quality(project).summary.sentence == "Nobody has judged yet."

    judge(project, 5, agree=5, people=("ann",))

    found = project_quality(project)
    assert found.summary.sentence == "Nobody's work overlaps, so agreement cannot be measured."
    assert [(person.name, person.agreement, person.shared_verdicts) for person in found.annotators] == [
        ("ann", None, 0)
    ]


def test_each_annotator_beside_the_others(project):
    judge(project, 10, agree=10, people=("ann", "bob"), seconds=30)
    judge(project, 10, agree=0, tag="x", people=("ann", "cyd"), seconds=90)

    people = {person.name: person for person in project_quality(project).annotators}

    assert [(p.rankings, p.agreement, p.median_seconds) for p in (people["ann"], people["bob"], people["cyd"])] == [
        (20, 0.5, 60),
        (10, 1.0, 30),
        (10, 0.0, 90),
    ]


def test_two_of_one_name_stay_two_people(project, annotator):
    imported = Membership.objects.create(project=project, external_id="ada")

    names = annotator_names(project)

    assert len(set(names.values())) == 2
    assert names[imported.pk] == f"ada ({imported.pseudonym})"


def test_the_sentence_needs_no_interval():
    report = {"rankings": 4, "pairwise": {"raw": 0.5, "raw_ci": None, "units": 60}}

    assert summarise(report).sentence == "Two people agree on 50 % of pairs, weak."
