"""Drafts are kept on the server, in the order in which the client wrote them."""

import pytest

from annotation.assignment import skip
from annotation.models import Lease
from annotation.rankings import WrongAnswer, save_draft


def test_a_draft_survives_a_closed_tab(lease):
    assert save_draft(lease, {"tiers": [[2]]}, counter=1)

    assert Lease.objects.get().draft == {"tiers": [[2]]}


def test_a_draft_that_arrives_late_is_ignored(lease):
    save_draft(lease, {"tiers": [[1]]}, counter=7)

    assert save_draft(lease, {"tiers": []}, counter=6)
    assert save_draft(lease, {"tiers": []}, counter=7)
    assert Lease.objects.get().draft == {"tiers": [[1]]}


def test_without_the_seat_there_is_no_draft(lease):
    skip(lease, Lease.SkipReason.OTHER)

    assert not save_draft(lease, {"tiers": [[1]]}, counter=1)
    assert Lease.objects.get().draft is None


@pytest.mark.parametrize("counter", [0, -1, 2**31, "1", True, None, 1.5])
def test_a_counter_is_a_growing_whole_number(lease, counter):
    with pytest.raises(WrongAnswer, match="counter"):
        save_draft(lease, {}, counter=counter)


@pytest.mark.parametrize("text", ["x" * 50_001, "a\0b", "\ud800"])
def test_a_draft_that_no_database_takes_is_refused(lease, text):
    with pytest.raises(WrongAnswer, match="draft"):
        save_draft(lease, {"comment": text}, counter=1)
