"""What is frozen stays as it was, whatever people do afterwards."""

import json

import pyarrow.parquet as pq
import pytest

from annotation.assignment import next_task
from annotation.comparisons import aggregate
from annotation.models import Project, Ranking
from annotation.rankings import Answer, amend, submit_ranking
from training import launches, snapshots
from training.configs import RewardConfig
from training.models import Dataset
from training.snapshots import NameTaken, NothingToFreeze, SnapshotChanged, freeze, newest_or_fresh, preview, verified

pytestmark = pytest.mark.django_db


def judge(member, tiers_of=lambda order: [[pk] for pk in order], **fields) -> Ranking:
    """The member ranks the next task in the order of its candidates' ids."""
    lease = next_task(member)
    order = sorted(lease.display_order)
    return submit_ranking(lease, Answer(tiers=tiers_of(order), **fields), key=f"key-{lease.pk}")


@pytest.fixture
def judged(task, make_task, annotator) -> Project:
    """Three tasks: one ranked in full, one with a tie, one all bad."""
    make_task("Is soup healthy?", ("Yes.", "No.", "It depends."))
    make_task("Who invented bread?", ("I did.", "Nobody."))
    judge(annotator)
    judge(annotator, lambda order: [order[:2], order[2:]])
    judge(annotator, lambda order: None, all_bad=True)
    return annotator.project


def test_a_snapshot_says_what_it_holds(judged, engineer):
    dataset = freeze(judged, "first", by=engineer.user)

    summary = dataset.summary
    assert (summary["tasks"], summary["rankings"], summary["all_bad"]) == (3, 3, 1)
    assert (summary["pairs"], summary["ties"]) == (6 + 2, 1)
    assert sum(split["pairs"] for split in summary["splits"].values()) == 8
    assert summary["agreement"] is None, "nobody's work overlaps"
    assert (dataset.name, dataset.project, dataset.created_by) == ("first", judged, engineer.user)


def test_the_preview_says_the_same_before(judged):
    before = preview(judged)
    assert vars(before) == freeze(judged).summary
    assert Dataset.objects.count() == 1


def test_the_file_holds_the_tasks_with_all_judgements(judged, task, annotator):
    rows = pq.read_table(freeze(judged).path).to_pylist()

    assert [row["task_id"] for row in rows] == sorted(row["task_id"] for row in rows)
    row = next(row for row in rows if row["task_id"] == task.pk)
    ranking = task.rankings.get()
    assert json.loads(row["prompt"]) == task.prompt.messages
    assert row["split"] == task.prompt.split
    assert [candidate["text"] for candidate in json.loads(row["candidates"])] == [c.text for c in task.candidates.all()]
    assert json.loads(row["rankings"]) == [
        {
            "id": ranking.pk,
            "annotator": annotator.pseudonym,
            "made_by": "human",
            "tiers": ranking.tiers,
            "unranked": [],
            "all_bad": False,
            "strength": None,
        }
    ]
    assert len(json.loads(row["comparisons"])) == len(aggregate([ranking])) == 6


def test_people_go_on_and_the_snapshot_stays(judged, task, annotator):
    dataset = freeze(judged)
    before = dataset.path.read_bytes()
    ranking = task.rankings.get()
    amend(ranking, Answer(tiers=list(reversed(ranking.tiers))), key="again")

    assert verified(dataset).read_bytes() == before
    assert freeze(judged).sha256 != dataset.sha256


def test_the_same_judgements_make_the_same_file(judged, storage):
    one, two = freeze(judged), freeze(judged)
    assert one.pk != two.pk and one.name != two.name
    assert one.sha256 == two.sha256
    assert len(list((storage / "datasets").iterdir())) == 1


def test_a_fresh_snapshot_is_made_only_when_something_was_said(judged, task):
    first = newest_or_fresh(judged)
    assert newest_or_fresh(judged) == first
    ranking = task.rankings.get()
    amend(ranking, Answer(tiers=list(reversed(ranking.tiers))), key="again")
    assert newest_or_fresh(judged) != first


def test_more_tasks_than_fit_into_one_chunk(judged, monkeypatch):
    whole = freeze(judged)
    monkeypatch.setattr(snapshots, "CHUNK", 2)
    parts = freeze(judged)
    assert parts.summary == whole.summary
    assert pq.read_table(parts.path).to_pylist() == pq.read_table(whole.path).to_pylist()


def test_a_changed_file_is_refused(judged):
    dataset = freeze(judged)
    assert dataset.path.stat().st_mode & 0o222 == 0, "nobody writes into it by accident"
    dataset.path.chmod(0o644)
    dataset.path.write_bytes(dataset.path.read_bytes()[:-1])
    with pytest.raises(SnapshotChanged, match="was changed"):
        verified(dataset)
    dataset.path.unlink()
    with pytest.raises(SnapshotChanged, match="is gone"):
        verified(dataset)


def test_a_project_without_judgements_has_nothing_to_freeze(project, task, storage):
    with pytest.raises(NothingToFreeze):
        freeze(project)
    assert not Dataset.objects.exists()
    assert list((storage / "datasets").iterdir()) == []


def test_a_name_is_given_once(judged):
    freeze(judged, "first")
    with pytest.raises(NameTaken, match="first"):
        freeze(judged, " first ")
    assert [dataset.name for dataset in (freeze(judged), freeze(judged))] == ["kitchen-2", "kitchen-3"]


def test_simulated_judgements_are_told(judged):
    assert not preview(judged).simulated
    Ranking.objects.filter(pk=Ranking.objects.first().pk).update(made_by="simulated")
    assert preview(judged).simulated


def test_agreement_stands_in_the_summary(project, make_task, annotator, other_annotator):
    make_task(overlap=2)
    judge(annotator)
    judge(other_annotator)
    assert preview(project).agreement == 1


@pytest.mark.parametrize(
    ("splits", "values", "pairs"),
    [
        ({"train": (8, 80), "validation": (2, 20), "test": (1, 10)}, {"eval_share": 0.1}, 80),
        ({"train": (8, 80), "validation": (2, 20)}, {"max_pairs": 30}, 30),
        ({"train": (10, 100)}, {"eval_share": 0.2}, 80),  # two of ten prompts are held out
        ({"train": (1, 5)}, {"eval_share": 0.5}, 5),  # something must be left to train on
        ({"test": (3, 9)}, {}, 0),
    ],
)
def test_how_many_pairs_training_will_see(splits, values, pairs):
    summary = {"splits": {name: {"tasks": tasks, "pairs": pairs} for name, (tasks, pairs) in splits.items()}}
    config = RewardConfig(model="tiny@1", **values)
    assert launches.training_pairs(Dataset(summary=summary), config) == pairs
