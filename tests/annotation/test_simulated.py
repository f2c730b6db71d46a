import numpy as np
import pytest

from annotation.models import Ranking, Task
from annotation.quality import project_agreement
from annotation.simulated import Annotator, Band, crowd, expected_agreement, judge, judge_everything, predict, utility

QUESTION = "How do I keep boiled eggs fresh?"
GOOD = "Cool them in cold water, dry them, and keep them unpeeled in the fridge; eaten within a week they are safe."


@pytest.fixture
def judged(project, make_task):
    project.overlap = 3
    project.save()
    for n in range(30):
        make_task(
            f"{n}: {QUESTION}", (GOOD, "Eggs.", GOOD.rstrip("."), "鸡蛋煮熟以后放进冰箱。", "eggs are " * 30), overlap=3
        )
    judge_everything(project, annotators=3, seed=7)
    return project


def test_every_task_is_judged_by_all_and_marked_simulated(judged):
    rankings = Ranking.objects.counted().filter(task__project=judged)

    assert rankings.count() == 90
    assert set(rankings.values_list("made_by", "annotator__made_by")) == {("simulated", "simulated")}
    assert set(Task.objects.values_list("judged", "taken", "overlap")) == {(3, 3, 3)}


def test_judging_again_finds_nothing_left(judged):
    judge_everything(judged, annotators=3, seed=7)

    assert Ranking.objects.count() == 90


def test_measured_agreement_lies_in_the_predicted_band(judged):
    band = expected_agreement(judged, annotators=3, seed=7)

    assert project_agreement(judged)["pairwise"]["raw"] in band
    assert 0.6 < band.low < band.mean < band.high < 1


def test_the_band_would_notice_people_of_another_kind(judged):
    """Annotators who guess do not pass for these."""
    guessing = [Annotator(f"g{n}", noise=1e6, place_bias=0) for n in range(3)]
    utilities = [utility(QUESTION, text) for text in (GOOD, "Eggs.", "eggs are " * 30)]

    guessed = predict([(utilities, guessing)] * 30)

    assert guessed.mean == pytest.approx(0.5, abs=0.01)
    assert guessed.high < expected_agreement(judged, annotators=3, seed=7).low


def test_people_are_never_judged_for(annotator):
    with pytest.raises(ValueError, match="ada"):
        judge(annotator, crowd(1, seed=1)[0], seed=1)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (GOOD, "鸡蛋煮熟以后放进冰箱，可以吃一个星期，味道也不会变差，注意不要剥壳。"),  # another language
        (GOOD, GOOD.rstrip(".")),  # breaks off
        (GOOD, "Eggs."),  # too short
        (GOOD, "Keep eggs cold. " * 12),  # repeats itself
        (GOOD, " ".join(f"{GOOD} {n}." for n in range(12))),  # too long
        ("Eggs.", ""),
    ],
)
def test_utility_prefers(better, worse):
    assert utility(QUESTION, better) > utility(QUESTION, worse)


def test_an_answer_that_was_cut_is_incomplete():
    assert utility(QUESTION, GOOD, cut=True) == utility(QUESTION, GOOD) - 1


def test_chinese_questions_want_chinese_answers():
    answer = "煮熟的鸡蛋用冷水冲凉，擦干以后不要剥壳，放进冰箱冷藏，最好在一个星期之内吃完。"

    assert utility("煮好的鸡蛋怎么保存？", answer) == 7
    assert utility("煮好的鸡蛋怎么保存？", GOOD) == 4


def test_first_places_follow_plackett_luce():
    """exp(1) : exp(0) : exp(0) for utilities 1, 0, 0 without place bias."""
    draws = Annotator("a", noise=1.0, place_bias=0).draw(
        np.tile([1.0, 0.0, 0.0], (40_000, 1)), np.random.default_rng(3)
    )

    first = np.bincount(draws.argmax(axis=1), minlength=3) / len(draws)

    assert first == pytest.approx(np.array([np.e, 1, 1]) / (np.e + 2), abs=0.01)


def test_a_place_bias_shows():
    draws = Annotator("a", noise=1.0, place_bias=1.0).draw(np.zeros((20_000, 2)), np.random.default_rng(3))

    assert (draws.argmax(axis=1) == 0).mean() == pytest.approx(np.e / (np.e + 1), abs=0.01)


def test_the_same_seed_makes_the_same_crowd():
    assert crowd(3, seed=5) == crowd(3, seed=5) != crowd(3, seed=6)
    assert 0.5 in Band(0.4, 0.5, 0.6)
