"""Submitting: stored exactly once, whatever is repeated, raced or wrong."""

import pytest
from django.db import IntegrityError

from annotation import rankings
from annotation.assignment import SeatLost, next_task, skip
from annotation.models import Lease, Purpose, Ranking
from annotation.rankings import Answer, KeyReused, WrongAnswer, submit_ranking


def read(lease: Lease, **data: object) -> Answer:
    """An answer in display positions: the first shown is best unless the test says otherwise."""
    return Answer.from_positions({"tiers": [[1], [2, 3], [4]]} | data, lease.display_order)


def test_a_ranking_is_stored_with_all_it_was_made_under(lease, task):
    ranking = submit_ranking(lease, read(lease, comment=" fine ", seconds=41.5), key="a")

    first, second, third, fourth = lease.display_order
    ranking.refresh_from_db()
    assert ranking.tiers == [[first], sorted([second, third]), [fourth]]
    assert (ranking.comment, ranking.seconds) == ("fine", 41.5)
    assert ranking.display_order == lease.display_order
    assert (ranking.purpose, ranking.made_by, ranking.is_current) == (Purpose.WORK, "human", True)
    task.refresh_from_db()
    assert (task.taken, task.judged) == (1, 1)
    lease.refresh_from_db()
    assert lease.state == Lease.State.SPENT


def test_the_same_request_again_stores_nothing(lease, task):
    first = submit_ranking(lease, read(lease, seconds=10), key="a")
    again = submit_ranking(lease, read(lease, seconds=12), key="a")

    assert again == first
    assert (first.repeated, again.repeated) == (False, True)
    task.refresh_from_db()
    assert task.judged == Ranking.objects.count() == 1


def test_the_same_key_with_another_answer_is_refused(lease):
    submit_ranking(lease, read(lease), key="a")

    with pytest.raises(KeyReused):
        submit_ranking(lease, read(lease, tiers=[[4], [3], [2], [1]]), key="a")
    assert Ranking.objects.count() == 1


def test_the_same_key_on_another_task_is_refused_even_with_an_equal_answer(lease, annotator, make_task):
    """ "All bad" looks the same on every task; taking it for a repetition would lose the second judgement."""
    submit_ranking(lease, read(lease, tiers=None, all_bad=True), key="a")
    make_task("And butter?")
    second = next_task(annotator)

    with pytest.raises(KeyReused):
        submit_ranking(second, read(second, tiers=None, all_bad=True), key="a")
    second.refresh_from_db()
    assert second.state == Lease.State.LIVE


def test_a_second_answer_is_kept_but_not_counted(lease, task):
    submit_ranking(lease, read(lease), key="a")

    with pytest.raises(SeatLost):
        submit_ranking(lease, read(lease, tiers=[[1, 2, 3, 4]]), key="b")

    assert list(task.rankings.counted()) == [Ranking.objects.get(key="a")]
    assert Ranking.objects.get(key="b").purpose == Purpose.SURPLUS
    task.refresh_from_db()
    assert task.judged == 1


def test_surplus_sent_again_is_surplus_still_and_stored_once(lease):
    submit_ranking(lease, read(lease), key="a")

    for _attempt in range(2):
        with pytest.raises(SeatLost):
            submit_ranking(lease, read(lease, tiers=[[1, 2, 3, 4]]), key="b")

    assert Ranking.objects.count() == 2


def test_an_answer_to_a_skipped_task_is_kept_as_surplus(lease, task):
    skip(lease, Lease.SkipReason.LANGUAGE)

    with pytest.raises(SeatLost):
        submit_ranking(lease, read(lease), key="a")

    assert Ranking.objects.get().purpose == Purpose.SURPLUS
    task.refresh_from_db()
    assert (task.taken, task.judged) == (0, 0)


def test_the_same_request_at_the_same_moment_is_stored_once(lease, monkeypatch):
    """The twin commits between our look and our write; the unique key then refuses, and a second look finds it."""
    look = rankings._stored_before

    def look_before_the_twin_commits(*arguments, **named):
        monkeypatch.setattr(rankings, "_stored_before", look)
        earlier = look(*arguments, **named)
        submit_ranking(Lease.objects.get(pk=lease.pk), read(lease), key="a")
        return earlier

    monkeypatch.setattr(rankings, "_stored_before", look_before_the_twin_commits)

    assert submit_ranking(lease, read(lease), key="a") == Ranking.objects.get()


def test_a_ranking_that_cannot_be_stored_gives_the_seat_back_untouched(lease, task, monkeypatch):
    def fail(**_fields):
        raise IntegrityError

    monkeypatch.setattr(Ranking.objects, "create", fail)
    with pytest.raises(IntegrityError):
        submit_ranking(lease, read(lease), key="a")

    lease.refresh_from_db()
    task.refresh_from_db()
    assert (lease.state, task.judged) == (Lease.State.LIVE, 0)


@pytest.mark.parametrize("key", ["", "k" * 81, "a\0b", "\ud800"])
def test_a_key_that_no_database_takes_is_refused(lease, key):
    with pytest.raises(WrongAnswer, match="idempotency_key"):
        submit_ranking(lease, read(lease), key=key)
    assert not Ranking.objects.exists()


def test_all_bad_needs_no_ranks_and_keeps_those_given(lease):
    assert read(lease, tiers=None, all_bad=True).tiers is None
    assert read(lease, tiers=[[2]], all_bad=True).tiers == [[lease.display_order[1]]]


def test_strength_is_for_two_answers(lease):
    assert Answer.from_positions({"tiers": [[2], [1]], "strength": 4}, [7, 8], "pairwise").strength == 4
    with pytest.raises(WrongAnswer, match="strength"):
        read(lease, strength=4)


@pytest.mark.parametrize(
    ("data", "field", "says"),
    [
        ({"tiers": None}, "tiers", "no answer has a rank yet"),
        ({"tiers": []}, "tiers", "no answer has a rank yet"),
        ({"tiers": [[1], [2], [3]]}, "tiers", "D has no rank yet"),
        ({"tiers": [[1], [2], [3], [4], [1]]}, "tiers", "A is ranked twice"),
        ({"tiers": [[1], [2], [3]], "unranked": [3, 4]}, "tiers", "C is ranked twice"),
        ({"tiers": [[1], [2], [3], [5]]}, "tiers", "no answer at position 5"),
        ({"tiers": [[0], [1], [2], [3]]}, "tiers", "no answer at position 0"),
        ({"tiers": [[1], [2], [3]], "unranked": [9]}, "unranked", "no answer at position 9"),
        ({"tiers": [1, 2, 3, 4]}, "tiers", "list of lists"),
        ({"tiers": [["1"], [2], [3], [4]]}, "tiers", "list of lists"),
        ({"tiers": [[True], [2], [3], [4]]}, "tiers", "list of lists"),
        ({"tiers": [[1], [], [2, 3, 4]]}, "tiers", "list of lists"),
        ({"tiers": {"A": 1}}, "tiers", "list of lists"),
        ({"unranked": "4"}, "unranked", "list of positions"),
        ({"all_bad": "yes"}, "all_bad", "true or false"),
        ({"comment": ["fine"]}, "comment", "text"),
        ({"comment": "x" * 10_001}, "comment", "10,000"),
        ({"comment": "a\0b"}, "comment", "text"),
        ({"comment": "\ud83e"}, "comment", "text"),
        ({"seconds": -1}, "seconds", "seconds"),
        ({"seconds": float("nan")}, "seconds", "seconds"),
        ({"seconds": "12"}, "seconds", "seconds"),
        ({"strength": 9}, "strength", "1 to 4"),
    ],
)
def test_wrong_content_is_refused_with_a_reason_per_field(lease, data, field, says):
    with pytest.raises(WrongAnswer) as refused:
        read(lease, **data)

    assert list(refused.value.errors) == [field]
    assert says in refused.value.errors[field]
