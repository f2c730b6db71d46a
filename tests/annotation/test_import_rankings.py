import json
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import pytest
from django.db import connection

from annotation.assignment import next_task
from annotation.exports import export_rows
from annotation.imports import ImportRefused, import_prompts, import_rankings
from annotation.models import Candidate, Membership, Prompt, Purpose, Ranking, Task
from annotation.quality import project_agreement
from annotation.rankings import Answer, submit_ranking


def row(annotator="a7", *, tiers=None, **fields):
    return {
        "task": "t1",
        "prompt": "How long do eggs keep?",
        "candidates": ["Five weeks.", {"text": "Long.", "model": "sft-v1"}, {"text": "", "model": "base"}],
        "annotator": annotator,
        "tiers": [[2], [0, 1]] if tiers is None else tiers,
        **fields,
    }


def current():
    """Who says what: the texts of the tiers."""
    texts = dict(Candidate.objects.values_list("pk", "text"))
    return {
        ranking.annotator.external_id: [sorted(texts[pk] for pk in tier) for tier in ranking.tiers]
        for ranking in Ranking.objects.counted().select_related("annotator")
    }


def test_a_judgement_comes_with_its_prompt_and_candidates(project):
    line = row(
        ratings={"helpful": [5, 5, 7]}, comment="short", seconds=41.5, created_at="2026-11-01T10:00:00Z", strength=None
    )

    report = import_rankings(project, [line])

    assert (report.prompts, report.tasks, report.candidates, report.rankings) == (1, 1, 3, 1)
    ranking = Ranking.objects.get()
    first, second, third = Candidate.objects.values_list("pk", flat=True)
    assert (ranking.tiers, ranking.unranked, ranking.all_bad) == ([[third], [first, second]], [], False)
    assert (ranking.ratings, ranking.comment, ranking.seconds) == ({"helpful": [5, 5, 7]}, "short", 41.5)
    assert ranking.created_at.isoformat() == "2026-11-01T10:00:00+00:00"
    assert (ranking.purpose, ranking.made_by, ranking.lease) == (Purpose.IMPORTED, "human", None)
    assert (ranking.annotator.name, ranking.annotator.user) == ("a7", None)
    assert list(Candidate.objects.values_list("text", "model_name")) == [
        ("Five weeks.", ""),
        ("Long.", "sft-v1"),
        ("", "base"),
    ]


def test_imported_judgements_take_no_seats(project, annotator):
    """Overlap is raised to what arrives; where more is wanted, people judge the rest."""
    import_rankings(project, [row("a1"), row("a2"), row("a3")])

    assert Task.objects.values_list("overlap", "taken", "judged", "ready").get() == (3, 3, 3, True)
    assert next_task(annotator) is None


def test_a_judgement_arriving_while_someone_works(project, task, annotator):
    lease = next_task(annotator)
    answers = list(task.candidates.values_list("text", "model_name"))

    import_rankings(
        project,
        [
            {
                "prompt": task.prompt.messages,
                "candidates": [{"text": text, "model": model} for text, model in answers],
                "annotator": "a1",
                "tiers": [[3], [2], [1], [0]],
            }
        ],
    )

    assert Task.objects.values_list("overlap", "taken", "judged").get() == (2, 2, 1)
    submit_ranking(lease, Answer(tiers=[lease.display_order]), key="k")
    assert Task.objects.values_list("overlap", "taken", "judged").get() == (2, 2, 2)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_candidates_come_in_any_order(project, order):
    first = row("a1")
    turned = row("a2", candidates=[first["candidates"][n] for n in order], ratings={"x": list(order)})
    turned["tiers"] = [[order.index(n) for n in tier] for tier in first["tiers"]]

    import_rankings(project, [first, turned])

    assert Task.objects.count() == 1
    assert current()["a1"] == current()["a2"] == [[""], ["Five weeks.", "Long."]]
    assert Ranking.objects.get(annotator__external_id="a2").ratings == {"x": [0, 1, 2]}


def test_two_models_may_say_the_same(project):
    same = [{"text": "Yes.", "model": "x"}, {"text": "Yes.", "model": "y"}]

    import_rankings(
        project,
        [
            row("a1", candidates=same, tiers=[[0], [1]]),
            row("a2", candidates=same[::-1], tiers=[[0], [1]]),
        ],
    )

    models = dict(Candidate.objects.values_list("pk", "model_name"))
    best = {r.annotator.external_id: models[r.tiers[0][0]] for r in Ranking.objects.all()}
    assert best == {"a1": "x", "a2": "y"}
    with pytest.raises(ImportRefused, match="text of several models; expected its model"):
        import_rankings(project, [row("a3", candidates=["Yes.", "Yes."], tiers=[[0], [1]])])


def test_without_a_task_the_prompt_and_the_texts_identify_it(project):
    lines = [row("a1"), row("a2"), row("a3", candidates=["Other.", "Long.", ""])]
    for line in lines:
        del line["task"]

    import_rankings(project, lines)

    assert (Prompt.objects.count(), Task.objects.count()) == (1, 2)
    assert sorted(Task.objects.values_list("judged", flat=True)) == [1, 2]


def test_judgements_find_the_task_of_imported_prompts(project):
    line = row("a1")
    import_prompts(project, [{"prompt": line["prompt"], "candidates": line["candidates"]}])
    del line["task"]

    report = import_rankings(project, [line])

    assert (report.tasks, report.candidates, report.rankings) == (0, 0, 1)
    assert Task.objects.values_list("judged", "ready").get() == (1, True)


def test_a_second_line_of_the_same_person_amends_the_first(project):
    report = import_rankings(project, [row("a1"), row("a2"), row("a1", tiers=[[0], [1], [2]])])

    assert (report.rankings, report.amended) == (3, 1)
    assert current() == {"a1": [["Five weeks."], ["Long."], [""]], "a2": [[""], ["Five weeks.", "Long."]]}
    new = Ranking.objects.get(supersedes__isnull=False)
    assert (new.supersedes.is_current, new.is_current, new.supersedes.annotator_id) == (False, True, new.annotator_id)
    assert Task.objects.values_list("overlap", "taken", "judged").get() == (2, 2, 2)


def test_an_amendment_may_come_in_a_later_file(project):
    import_rankings(project, [row("a1")])

    report = import_rankings(project, [row("a1", tiers=[[0], [1], [2]])])

    assert (report.rankings, report.amended) == (1, 1)
    assert current() == {"a1": [["Five weeks."], ["Long."], [""]]}
    assert Task.objects.values_list("overlap", "taken", "judged").get() == (1, 1, 1)


A, B = [[0], [1], [2]], [[2], [1], [0]]


@pytest.mark.parametrize("said", [[A], [A, A], [A, B], [A, B, A], [A, A, B], [A, B, A, B], [B, B, A, A, B]])
def test_the_same_file_again_changes_nothing(project, said):
    lines = [row("a1", tiers=tiers) for tiers in said]
    import_rankings(project, lines)
    before = list(Ranking.objects.order_by("pk").values())

    report = import_rankings(project, lines)

    assert list(Ranking.objects.order_by("pk").values()) == before
    assert (report.rankings, len(report.duplicates)) == (0, len(said))


def test_all_bad_needs_no_ranks(project):
    line = row("a1", all_bad=True)
    del line["tiers"]

    import_rankings(project, [line, row("a2", tiers=[[1]], all_bad=True)])

    assert Ranking.objects.filter(annotator__external_id="a1").values_list("tiers", "all_bad").get() == (None, True)
    report = project_agreement(project)
    assert (report["rankings"], report["comparisons"], report["all_bad"]) == (2, 0, 2)


def test_only_the_best_may_be_ranked(project):
    import_rankings(project, [row("a1", tiers=[[1]], unranked=[0, 2])])

    assert project_agreement(project)["comparisons"] == 2


def test_who_judged_is_told_apart(project):
    import_rankings(project, [row("a1"), row("gpt4", made_by="judge")])

    assert dict(Membership.objects.values_list("external_id", "made_by")) == {"a1": "human", "gpt4": "judge"}
    with pytest.raises(ImportRefused, match="made_by: is judge for this annotator elsewhere"):
        import_rankings(project, [row("gpt4", task="t2")])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tiers": [[0], [1]]}, "tiers: misses candidate 2; expected each one once"),
        ({"tiers": [[0], [1], [2], [3]]}, "tiers: expected numbers from 0 to 2"),
        ({"tiers": [[0], [1], [1], [2]]}, "tiers: names candidate 1 twice"),
        ({"tiers": [[0], [1, 2], []]}, "tiers: expected lists of candidates"),
        ({"tiers": [0, 1, 2]}, "tiers: expected lists of candidates"),
        ({"tiers": [[True], [1], [2]]}, "tiers: expected numbers from 0 to 2"),
        ({"tiers": None}, "tiers: is missing; expected lists of candidates, best first"),
        ({"unranked": [2]}, "unranked: names candidate 2 twice"),
        ({"annotator": "a|b"}, "annotator: must not hold the character |"),
        ({"annotator": " "}, "annotator: is missing; expected who judged"),
        ({"prompt": ""}, "prompt: is empty"),
        ({"prompt": "Another?"}, "prompt: differs from the prompt that this task has already"),
        ({"candidates": ["Five weeks.", "Long.", "x"]}, "candidates[2]: is none of the candidates that this task has"),
        ({"candidates": ["Five weeks.", "Long."], "tiers": [[0], [1]]}, "candidates: misses 1 of the candidates"),
        ({"candidates": ["one"], "tiers": [[0]]}, "candidates: expected a list of 2 to 9"),
        ({"strength": 3}, "strength: expected 1 to 4, and only where two candidates are compared"),
        ({"ratings": {"helpful": [1, 2]}}, "ratings.helpful: expected a number (or null) for each candidate"),
        ({"seconds": -1}, "seconds: expected a number of seconds, 0 or more"),
        ({"created_at": "yesterday"}, "created_at: expected a time such as"),
        ({"created_at": "0001-01-01T00:00:00+14:00"}, "created_at: expected a time such as"),
        ({"made_by": "robot"}, "made_by: expected one of human, simulated, judge"),
        ({"all_bad": "yes"}, "all_bad: expected true or false"),
        ({"tier": []}, "tier: unknown field; did you mean tiers?"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_stored(project, tmp_path, changes, sentence):
    lines = [row("a1"), row("a2") | changes, row("a3")]
    path = tmp_path / "r.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))

    with pytest.raises(ImportRefused) as refused:
        import_rankings(project, path)

    assert str(refused.value).startswith(f"r.jsonl, line 2: {sentence}")
    assert not any(model.objects.exists() for model in (Prompt, Task, Candidate, Membership, Ranking))

    report = import_rankings(project, path, skip_bad=True)

    assert sorted(current()) == ["a1", "a3"]
    assert Membership.objects.count() == 2  # nobody comes in by a bad line
    assert [str(problem).startswith(f"r.jsonl, line 2: {sentence}") for problem in report.bad] == [True]


def test_the_same_person_is_named_once_in_many_chunks(project, monkeypatch):
    monkeypatch.setattr("annotation.imports.CHUNK", 2)
    lines = [row(f"a{n % 3}", task=f"t{n % 4}") for n in range(24)]

    report = import_rankings(project, lines)

    assert (report.prompts, report.tasks, report.rankings, len(report.duplicates)) == (1, 4, 12, 12)
    assert set(Task.objects.values_list("overlap", "taken", "judged")) == {(3, 3, 3)}
    assert Membership.objects.count() == 3


@pytest.mark.parametrize("named", [True, False])
def test_queries_grow_with_chunks_not_with_lines(project, django_assert_max_num_queries, named):
    lines = [row(f"a{n % 3}", task=f"t{n}", prompt=f"Question {n // 2}?") for n in range(100)]
    if not named:
        lines = [{name: value for name, value in line.items() if name != "task"} for line in lines]

    for stored in (100 if named else 50, 0):
        with django_assert_max_num_queries(40):
            assert import_rankings(project, lines).tasks == stored


@pytest.mark.django_db(transaction=True)
def test_the_same_file_by_four_at_once_is_stored_once(project):
    lines = [row(f"a{n % 3}", task=f"t{n}", prompt=f"Question {n // 2}?") for n in range(40)]

    def store(_):
        try:
            return import_rankings(project, lines).rankings
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(store, range(4))) == [0, 0, 0, 40]

    assert (Task.objects.count(), Ranking.objects.count(), Membership.objects.count()) == (40, 40, 3)


def test_out_and_in_again_agreement_is_the_same(project, make_member, make_task):
    """By people and by import, with ties, all bad, unranked and an amendment: an empty project takes the export in."""
    from annotation.models import Project

    lines = [
        row(f"a{a}", task=f"t{t}", tiers=tiers)
        for t, spread in enumerate([(A, B, A), (A, A, B), ([[0, 1], [2]], B, A), (A, [[1], [0, 2]], [[0, 1, 2]])])
        for a, tiers in enumerate(spread)
    ]
    lines += [row("a1", task="t0", tiers=A), row("a2", task="t9", tiers=[[1]], unranked=[0, 2]), row("a1", task="t9")]
    lines += [row("a0", task="t9", all_bad=True)]
    import_rankings(project, lines)
    task = make_task("Milk?", overlap=2)
    for name in ("ada", "ben"):
        lease = next_task(make_member(name))
        submit_ranking(lease, Answer(tiers=[[pk] for pk in lease.display_order]), key="k")
    assert task.rankings.count() == 2
    other = Project.objects.create(slug="copy", title="Copy", calibration_share=0)

    import_rankings(other, list(export_rows(project, "rankings")))

    before, after = project_agreement(project, pseudonyms=True), project_agreement(other)
    assert flat(before) == pytest.approx(flat(after), nan_ok=False)
    assert before["undefined"] == after["undefined"]
    assert before["rankings"] == 17


def flat(report, prefix=""):
    numbers = {}
    for name, value in report.items():
        if isinstance(value, dict) and name != "undefined":
            numbers |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            numbers |= {f"{prefix}{name}.{n}": number for n, number in enumerate(value)}
        elif name != "undefined":
            numbers[f"{prefix}{name}"] = value
    return numbers
