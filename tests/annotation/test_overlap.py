"""Overlap is exact: as many counted judgements as seats, under any interleaving of two people."""

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from annotation.assignment import next_task, set_overlap, skip
from annotation.models import Lease, Task
from annotation.rankings import Answer, submit_ranking


def judge(lease: Lease, key: str = "k") -> None:
    submit_ranking(lease, Answer(tiers=[lease.display_order]), key=key)


def test_a_task_is_given_to_as_many_people_as_it_has_seats(make_task, make_member):
    make_task(overlap=2)
    leases = [next_task(make_member(name)) for name in ("ada", "ben", "cleo")]

    assert [lease and lease.seat for lease in leases] == [0, 1, None]


def test_nobody_judges_a_task_twice(make_task, annotator):
    make_task(overlap=3)
    judge(next_task(annotator))

    assert next_task(annotator) is None


def test_a_skipped_seat_is_given_to_another_with_its_number(make_task, annotator, other_annotator):
    task = make_task(overlap=2)
    skip(next_task(annotator), Lease.SkipReason.OTHER)
    judge(next_task(other_annotator))

    task.refresh_from_db()
    assert (task.taken, task.judged) == (1, 1)
    assert task.leases.get(state="spent").seat == 0


def test_the_database_itself_refuses_one_judgement_too_many(make_task):
    task = make_task(overlap=1)

    for fields in ({"taken": 2}, {"taken": 0, "judged": 1}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Task.objects.filter(pk=task.pk).update(**fields)


def test_the_database_itself_refuses_two_live_leases_for_a_seat_or_a_person(lease, make_task, other_annotator):
    def copy(**fields):
        kept = {"seat": 0, "expires_at": timezone.now(), "display_order": [], "annotator": other_annotator}
        return Lease.objects.create(**kept | {"task": lease.task} | fields)

    with pytest.raises(IntegrityError), transaction.atomic():
        copy()
    with pytest.raises(IntegrityError), transaction.atomic():
        copy(task=make_task("Another?"), annotator=lease.annotator)


def test_more_overlap_opens_seats_on_tasks_that_exist(task, project, annotator, other_annotator):
    judge(next_task(annotator))
    assert next_task(other_annotator) is None

    set_overlap(project, overlap=2, calibration_share=0, calibration_overlap=2)

    assert next_task(other_annotator).seat == 1


def test_less_overlap_takes_no_seat_away(make_task, project, annotator, other_annotator):
    task = make_task(overlap=3)
    leases = [next_task(annotator), next_task(other_annotator)]

    set_overlap(project, overlap=1, calibration_share=0, calibration_overlap=2)
    for lease in leases:
        judge(lease)

    task.refresh_from_db()
    assert (task.overlap, task.taken, task.judged) == (2, 2, 2)


def test_a_share_of_the_tasks_gets_more_people(make_task, project):
    low, high = make_task("Low?", draw=0.1), make_task("High?", draw=0.9)

    set_overlap(project, overlap=1, calibration_share=0.15, calibration_overlap=3)

    low.refresh_from_db()
    high.refresh_from_db()
    assert (low.overlap, low.is_calibration) == (3, True)
    assert (high.overlap, high.is_calibration) == (1, False)
