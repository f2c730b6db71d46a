"""Who gets which task next: breadth first, the same lease until it is spent, stale seats last."""

from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from annotation import assignment
from annotation.assignment import SeatLost, next_task, release, renew, set_overlap
from annotation.models import Lease, Project, Task
from annotation.rankings import Answer, submit_ranking


def judge(lease: Lease, key: str) -> None:
    submit_ranking(lease, Answer(tiers=[lease.display_order]), key=key)


def run_out(lease: Lease) -> None:
    Lease.objects.filter(pk=lease.pk).update(expires_at=timezone.now() - timedelta(seconds=1))


def test_the_same_call_gives_the_same_lease_with_its_clock_restarted(lease, annotator):
    run_out(lease)

    again = next_task(annotator)

    assert again == lease
    assert again.display_order == lease.display_order
    assert again.expires_at > timezone.now()


def test_every_task_gets_its_first_judgement_before_any_gets_its_second(make_task, make_member):
    tasks = [make_task(f"Question {n}?", overlap=2, position=n) for n in range(3)]
    given = [next_task(make_member(name)).task for name in ("ada", "ben", "cleo", "dora")]

    assert given == [*tasks, tasks[0]]


def test_people_see_the_answers_in_an_order_of_their_own(make_task, make_member):
    task = make_task(overlap=30)
    orders = [next_task(make_member(f"person-{n}")).display_order for n in range(30)]

    assert all(sorted(order) == [c.pk for c in task.candidates.all()] for order in orders)
    assert len({tuple(order) for order in orders}) > 5


def test_a_task_that_still_lacks_answers_is_not_given(make_task, annotator):
    Task.objects.filter(pk=make_task().pk).update(ready=False)

    assert next_task(annotator) is None


def test_other_projects_tasks_are_not_given(make_task, make_member):
    make_task()
    elsewhere = Project.objects.create(slug="garden", title="Garden")

    assert next_task(make_member("gus", project=elsewhere)) is None


def test_a_paused_project_gives_nothing_new_but_lets_the_current_task_be_finished(lease, annotator, make_member):
    Project.objects.update(state=Project.State.PAUSED)
    annotator.project.refresh_from_db()

    assert next_task(annotator) == lease
    late = make_member("late")
    late.project.refresh_from_db()
    assert next_task(late) is None


def test_a_stale_seat_goes_to_another_only_when_no_free_one_is_left(lease, make_task, other_annotator):
    run_out(lease)
    free = make_task("Something else?")

    first = next_task(other_annotator)
    assert first.task == free
    judge(first, "b")
    assert next_task(other_annotator).task == lease.task


def test_a_seat_held_in_time_is_not_taken_over(lease, other_annotator):
    assert next_task(other_annotator) is None


def test_whose_seat_was_taken_over_keeps_the_work_as_surplus(lease, task, other_annotator):
    run_out(lease)
    taken_over = next_task(other_annotator)

    assert taken_over.seat == lease.seat
    assert not renew(lease)
    with pytest.raises(SeatLost):
        judge(lease, "late")
    judge(taken_over, "in time")

    task.refresh_from_db()
    assert (task.taken, task.judged) == (1, 1)
    assert [ranking.key for ranking in task.rankings.counted()] == ["in time"]


def test_a_late_answer_counts_while_nobody_took_the_seat(lease, task):
    run_out(lease)
    judge(lease, "late")

    assert task.rankings.counted().count() == 1


def test_one_may_come_back_to_a_task_that_expired_and_was_left_by_the_next_person_too(
    lease, annotator, other_annotator
):
    """Else the last task of a project waits for ever for somebody who has gone home."""
    run_out(lease)
    run_out(next_task(other_annotator))

    again = next_task(annotator)

    assert again.task == lease.task
    assert (again.pk != lease.pk, again.attempt) == (True, 2)


def test_a_released_task_may_come_back_to_the_same_person(lease, task, annotator):
    assert release(lease)
    assert not release(lease)

    task.refresh_from_db()
    assert task.taken == 0
    assert next_task(annotator).task == task


def test_the_third_task_calibrates(make_task, project, annotator):
    for n in range(4):
        make_task(f"Plain {n}?", draw=0.5, position=n)
    calibration = make_task("Shared?", draw=0.01, position=9)
    set_overlap(project, overlap=1, calibration_share=0.15, calibration_overlap=3)
    annotator.project.refresh_from_db()

    given = []
    for n in range(3):
        lease = next_task(annotator)
        given.append(lease.task)
        judge(lease, str(n))

    assert calibration not in given[:2]
    assert given[2] == calibration


def test_the_other_tab_of_the_same_person_gets_the_same_lease(make_task, annotator, monkeypatch):
    """Both tabs find no current lease; the unique constraint refuses the second one, which then finds the first's."""
    make_task("One?")
    make_task("Two?")
    take = assignment._take_free_seat

    def take_after_the_other_tab(person, **options):
        monkeypatch.setattr(assignment, "_take_free_seat", take)
        next_task(person)
        return take(person, **options)

    monkeypatch.setattr(assignment, "_take_free_seat", take_after_the_other_tab)

    assert next_task(annotator) == Lease.objects.get()
    assert sorted(Task.objects.values_list("taken", flat=True)) == [0, 1]


def test_endless_contention_is_told_as_busy_not_as_nothing_left(task, annotator, monkeypatch):
    monkeypatch.setattr(assignment, "_take_free_seat", lambda *_args, **_options: None)

    with pytest.raises(OperationalError):
        next_task(annotator)


def test_the_queue_is_read_from_its_index(make_task, annotator, other_annotator, django_assert_max_num_queries):
    """On both databases: the first free task is found without sorting or scanning the others."""
    first = make_task("The first?", overlap=2)
    Task.objects.bulk_create(
        Task(project=first.project, prompt=first.prompt, ready=n % 10 > 0, position=n, overlap=2) for n in range(3_000)
    )
    held = {"seat": 0, "state": Lease.State.SPENT, "expires_at": timezone.now(), "display_order": []}
    Lease.objects.bulk_create(
        Lease(task=task, annotator=[annotator, other_annotator][n % 2], **held)
        for n, task in enumerate(Task.objects.order_by("-pk")[:2_000])
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    tasks = assignment._open_tasks(annotator)
    plan = tasks.order_by("taken", "position", "pk")[:1].explain()

    assert "task_queue" in plan
    assert not any(word in plan.upper() for word in ("TEMP B-TREE", "SORT", "SEQ SCAN"))
    assert "task_calibration_queue" in tasks.filter(is_calibration=True).order_by("-taken", "position", "pk").explain()
    with django_assert_max_num_queries(12):
        next_task(annotator)
