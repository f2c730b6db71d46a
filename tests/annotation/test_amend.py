"""Amending: append-only; the old judgement counts until the new one is stored, and exactly one counts."""

import pytest

from annotation.models import Purpose, Ranking
from annotation.rankings import AlreadyAmended, Answer, KeyReused, SeatLost, amend, last_ranking, submit_ranking


@pytest.fixture
def answer(lease):
    return Answer(tiers=[[pk] for pk in lease.display_order])


@pytest.fixture
def other_answer(lease):
    return Answer(tiers=[lease.display_order])


@pytest.fixture
def ranking(lease, answer):
    return submit_ranking(lease, answer, key="a")


def test_an_amendment_supersedes_and_takes_no_seat(ranking, other_answer, task):
    better = amend(ranking, other_answer, key="b")

    ranking.refresh_from_db()
    assert better.supersedes == ranking
    assert (ranking.is_current, better.is_current) == (False, True)
    assert list(task.rankings.counted()) == [better]
    task.refresh_from_db()
    assert (task.taken, task.judged) == (1, 1)


def test_the_same_amendment_again_stores_nothing(ranking, other_answer):
    better = amend(ranking, other_answer, key="b")

    again = amend(ranking, other_answer, key="b")
    assert (again, again.repeated) == (better, True)
    assert Ranking.objects.count() == 2


def test_what_was_amended_meanwhile_is_not_amended_again(ranking, answer, other_answer):
    amend(ranking, other_answer, key="b")

    with pytest.raises(AlreadyAmended):
        amend(ranking, answer, key="c")
    assert Ranking.objects.count() == 2


def test_changing_ones_mind_back_needs_a_key_of_its_own(ranking, answer, other_answer):
    """With the first submit's key the change would be answered "stored" and be lost."""
    better = amend(ranking, other_answer, key="b")

    with pytest.raises(KeyReused):
        amend(better, answer, key="a")
    assert amend(better, answer, key="c").tiers == answer.tiers


def test_amended_surplus_stays_surplus(lease, ranking, answer, other_answer):
    with pytest.raises(SeatLost):
        submit_ranking(lease, other_answer, key="b")

    assert amend(Ranking.objects.get(key="b"), answer, key="c").purpose == Purpose.SURPLUS
    assert list(lease.task.rankings.counted()) == [ranking]


def test_an_imported_judgement_is_amended_by_importing_it_again(ranking, other_answer):
    Ranking.objects.update(lease=None, purpose=Purpose.IMPORTED)
    ranking.refresh_from_db()

    with pytest.raises(AlreadyAmended):
        amend(ranking, other_answer, key="b")


def test_undo_opens_the_newest_judgement_of_this_person(ranking, other_answer, annotator, other_annotator):
    better = amend(ranking, other_answer, key="b")

    assert last_ranking(annotator) == better
    assert last_ranking(other_annotator) is None
