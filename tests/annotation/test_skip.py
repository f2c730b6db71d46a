"""Skipping gives the seat back, with a reason; it is neither a tie nor "all bad"."""

import pytest

from annotation.assignment import SeatLost, next_task, skip
from annotation.models import Lease, Ranking
from annotation.rankings import Answer, submit_ranking


def test_a_skip_frees_the_seat_for_others_and_keeps_its_reason(lease, task, annotator, other_annotator):
    skip(lease, Lease.SkipReason.LANGUAGE)

    lease.refresh_from_db()
    assert (lease.state, lease.skip_reason) == ("skipped", "language")
    assert not Ranking.objects.exists()
    assert next_task(annotator) is None
    assert next_task(other_annotator).task == task


def test_skipping_twice_frees_one_seat(lease, task):
    skip(lease, Lease.SkipReason.LANGUAGE)
    skip(lease, Lease.SkipReason.OTHER)

    task.refresh_from_db()
    lease.refresh_from_db()
    assert (task.taken, lease.skip_reason) == (0, "language")


def test_what_was_judged_cannot_be_skipped(lease, task):
    submit_ranking(lease, Answer(tiers=[lease.display_order]), key="a")

    with pytest.raises(SeatLost):
        skip(lease, Lease.SkipReason.OTHER)
    task.refresh_from_db()
    assert (task.taken, task.judged) == (1, 1)
