import json

import pytest

from annotation.exports import export_rows, task_rows, waiting_rows
from annotation.imports import import_prompts, import_rankings

EGGS = [{"role": "user", "content": "Eggs?"}]


def judged(project, *answers, texts=("a", "b"), task="t1"):
    """Each answer of another person: tiers, or fields."""
    import_rankings(
        project,
        [
            {"task": task, "prompt": "Eggs?", "candidates": [{"text": text, "model": f"m-{text}"} for text in texts]}
            | {"annotator": f"a{n}"}
            | (answer if isinstance(answer, dict) else {"tiers": answer})
            for n, answer in enumerate(answers)
        ],
    )


A, B, TIE = [[0], [1]], [[1], [0]], [[0, 1]]


def test_preference_adds_votes_up(project):
    judged(project, A, {"tiers": A, "strength": 2}, B, A, TIE)

    (row,) = export_rows(project, "preference")

    ids = {row["chosen_id"], row["rejected_id"]}
    rankings = list(project.tasks.get().rankings.order_by("pk").values_list("pk", flat=True))
    assert len(ids) == 2
    assert row == {
        "prompt": EGGS,
        "chosen": [{"role": "assistant", "content": "a"}],
        "rejected": [{"role": "assistant", "content": "b"}],
        "margin": 0.5,
        "weight": 1.0,
        "votes_for": 3,
        "votes_against": 1,
        "task": project.tasks.get().pk,
        "chosen_id": min(ids),
        "rejected_id": max(ids),
        "rankings": [rankings[0], rankings[1], rankings[3]],
        "split": project.prompts.get().split,
    }


def test_a_tie_is_never_a_win(project):
    judged(project, A, B, task="split votes")
    judged(project, TIE, task="tied")
    judged(project, {"all_bad": True}, task="all bad")

    assert list(export_rows(project, "preference")) == []
    ties = list(export_rows(project, "preference", ties=True))
    assert [(row["target"], row["votes_for"], row["votes_against"], len(row["rankings"])) for row in ties] == [
        (0.5, 1, 1, 2),
        (0.5, 0, 0, 1),
    ]


def test_a_line_per_vote(project):
    judged(project, A, B, TIE)

    rows = list(export_rows(project, "preference", votes=True))

    assert [(row["chosen"][0]["content"], row["votes_for"], row["votes_against"]) for row in rows] == [
        ("a", 1, 0),
        ("b", 1, 0),
    ]
    assert len(list(export_rows(project, "preference", votes=True, ties=True))) == 3


def test_unpaired_preference_labels_what_won_and_what_lost(project):
    judged(project, [[0], [1], [2]], [[0, 1], [2]], {"all_bad": True}, texts=("a", "b", "c"))

    rows = {row["completion"][0]["content"]: row for row in export_rows(project, "unpaired_preference")}

    # a: won 2 + 1, lost 1 (all bad); b: won 1 + 1, lost 1 + 1; c: lost 2 + 2 + 1
    assert {text: (row["label"], row["won"], row["lost"]) for text, row in rows.items()} == {
        "a": (True, 3, 1),
        "c": (False, 0, 5),
    }


def test_prompt_completion_is_the_best_answer(project):
    judged(project, [[1], [0], [2]], [[1], [0, 2]], texts=("a", "b", "c"))
    judged(project, TIE, task="t2")

    assert [row["completion"][0]["content"] for row in export_rows(project, "prompt_completion")] == ["b"]


def test_prompt_only_has_every_prompt(project):
    import_prompts(project, [{"prompt": "Milk?", "tags": ["food"], "language": "en"}])
    judged(project, A)

    rows = list(export_rows(project, "prompt_only"))

    assert [row["prompt"][0]["content"] for row in rows] == ["Milk?", "Eggs?"]
    assert (rows[0]["language"], rows[0]["tags"]) == ("en", ["food"])


def test_files_name_people_by_pseudonyms(project):
    judged(project, A)

    (row,) = export_rows(project, "rankings")

    assert row["annotator"] == project.memberships.get(external_id="a0").pseudonym
    for kind in ("preference", "unpaired_preference", "prompt_only", "prompt_completion", "rankings"):
        assert '"a0"' not in json.dumps(list(export_rows(project, kind)))


def test_a_snapshot_row_holds_everything_said(project):
    judged(project, A, {"tiers": [[1]], "unranked": [0]}, A)

    (row,) = task_rows(project)

    first, second = row["candidates"]
    assert (first["text"], second["text"], first["model"]) == ("a", "b", "m-a")
    assert [ranking["tiers"] for ranking in row["rankings"]] == [
        [[first["id"]], [second["id"]]],
        [[second["id"]]],
        [[first["id"]], [second["id"]]],
    ]
    assert row["rankings"][1]["unranked"] == [first["id"]]
    assert row["comparisons"] == [
        {
            "i": first["id"],
            "j": second["id"],
            "votes_for": 2,
            "votes_against": 1,
            "ties": 0,
            "margin": 1.0,
            "weight": 1.0,
        }
    ]
    assert json.dumps(row)


def test_amended_judgements_are_gone_from_exports(project):
    judged(project, A)
    judged(project, B)

    assert [row["chosen"][0]["content"] for row in export_rows(project, "preference")] == ["b"]
    assert len(next(task_rows(project))["rankings"]) == 1


def test_waiting_tasks_come_in_the_order_of_the_queue(project):
    import_prompts(project, [{"prompt": "One?"}, {"prompt": "Two?", "candidates": ["x"]}])
    judged(project, A)

    assert [(row["prompt"][0]["content"], row["existing"]) for row in waiting_rows(project)] == [
        ("One?", []),
        ("Two?", ["x"]),
    ]


@pytest.mark.parametrize("kind", ["preference", "unpaired_preference", "prompt_completion", "rankings", "prompt_only"])
def test_queries_do_not_grow_with_tasks(project, django_assert_max_num_queries, kind):
    for n in range(30):
        judged(project, A, B, A, task=f"t{n}")

    with django_assert_max_num_queries(4):
        list(export_rows(project, kind))
