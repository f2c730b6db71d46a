"""The queue of runs: what enters, who gets it, and how each state is left. Races are run with threads."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from training import queue
from training.configs import UnknownMethod
from training.models import ModelVersion, Run, Worker
from training.queue import ClaimLost, WrongConfig, WrongState

pytestmark = pytest.mark.django_db


@pytest.fixture
def base(db) -> ModelVersion:
    return ModelVersion.objects.create(name="tiny", version=1, kind="base", folder="models/tiny", checksum="0" * 64)


@pytest.fixture
def run(base, project) -> Run:
    return queue.enqueue("generate", {"model": "tiny"}, project=project)


def claim(worker: str = "w1", host: str = "here", device: str = "cpu") -> Run | None:
    return queue.claim(worker, host=host, device=device)


def state_of(run: Run) -> str:
    run.refresh_from_db()
    return run.state


# Into the queue


def test_a_run_waits_with_its_whole_config(run, base, project, engineer):
    assert (run.state, run.method, run.name, run.project) == ("queued", "generate", "Generate answers", project)
    assert run.config["model"] == "tiny@1", "a name alone is fixed to a version"
    assert run.config["max_new_tokens"] == 256, "defaults are written down"
    assert list(run.parents.all()) == [base]
    json.dumps(run.config)


def test_a_wrong_config_is_refused_with_a_sentence_per_field(base):
    with pytest.raises(WrongConfig) as refused:
        queue.enqueue("dpo", {"model": "tiny", "epochs": 0, "epoch": 3})
    assert refused.value.errors == {
        "epochs": "Epochs: must be at least 1, not 0.",
        "epoch": 'There is no setting "epoch"; did you mean "epochs"?',
    }
    assert not Run.objects.exists()


def test_an_unknown_model_is_refused(base):
    with pytest.raises(WrongConfig, match=r"did you mean tiny@1\?"):
        queue.enqueue("dpo", {"model": "tinny"})


def test_a_model_of_the_wrong_kind_is_refused(base):
    ModelVersion.objects.filter(pk=base.pk).update(kind="reward")
    with pytest.raises(WrongConfig, match="does not fit here"):
        queue.enqueue("dpo", {"model": "tiny"})


def test_an_unknown_method_is_refused(base):
    with pytest.raises(UnknownMethod, match="known are generate"):
        queue.enqueue("ppoo", {"model": "tiny"})


def test_a_project_has_one_generation_at_a_time(run, project):
    with pytest.raises(WrongState, match="being written already"):
        queue.enqueue("generate", {"model": "tiny"}, project=project)
    queue.cancel(run)
    second = queue.enqueue("generate", {"model": "tiny"}, project=project)
    with pytest.raises(WrongState, match="being written already"):
        queue.resume(run)
    queue.cancel(second)
    queue.resume(run)
    assert run.state == "queued"


# Claims


def test_the_oldest_run_is_claimed_first(run, base):
    queue.enqueue("generate", {"model": "tiny"})
    claimed = claim()
    assert claimed == run
    assert (claimed.state, claimed.worker, claimed.attempts) == ("running", "w1", 1)
    assert claimed.heartbeat_at is not None


def test_an_empty_queue_gives_nothing(db):
    assert claim() is None


def test_one_run_at_a_time_per_device_of_a_host(run, base):
    queue.enqueue("generate", {"model": "tiny"})
    assert claim("w1")
    assert claim("w2") is None
    assert claim("w3", host="elsewhere")


def test_a_run_goes_to_a_worker_of_its_device(base):
    any_gpu = queue.enqueue("generate", {"model": "tiny", "device": "cuda"})
    second = queue.enqueue("generate", {"model": "tiny", "device": "cuda:1"})
    assert claim(device="cpu") is None
    assert claim("w0", device="cuda:0") == any_gpu
    assert claim("w1", device="cuda:1") == second


@pytest.mark.django_db(transaction=True)
def test_no_run_is_claimed_twice_under_contention(base):
    runs = [queue.enqueue("generate", {"model": "tiny"}) for _ in range(12)]

    def work(number: int) -> list[int]:
        claimed = []
        try:
            while run := claim(f"w{number}", host=f"host-{number}"):
                claimed.append(run.pk)
                queue.finish(run, f"w{number}", Run.State.SUCCEEDED)
            return claimed
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        claimed = [pk for worker in pool.map(work, range(8)) for pk in worker]
    assert sorted(claimed) == [run.pk for run in runs]


@pytest.mark.django_db(transaction=True)
def test_workers_of_one_device_never_run_side_by_side(base):
    for _ in range(6):
        queue.enqueue("generate", {"model": "tiny"})

    def try_once(number: int) -> bool:
        try:
            return claim(f"w{number}") is not None
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(try_once, range(24))) == 1


# Leaving the state "running"


def test_a_finished_run_frees_the_device(run, base):
    other = queue.enqueue("generate", {"model": "tiny"})
    queue.finish(claim(), "w1", Run.State.SUCCEEDED, outcome={"seconds": 3})
    run.refresh_from_db()
    assert (run.state, run.outcome) == ("succeeded", {"seconds": 3})
    assert run.ended_at is not None
    assert claim("w2") == other


def test_a_worker_whose_claim_was_taken_away_cannot_write(run):
    claim("w1")
    queue.lose(Q(pk=run.pk), reason="Lost.")
    assert claim("w2") == run
    for write in (
        lambda: queue.update_held(run, "w1", step=3),
        lambda: queue.cancel_wanted(run, "w1"),
        lambda: queue.finish(run, "w1", Run.State.FAILED),
    ):
        with pytest.raises(ClaimLost):
            write()
    assert state_of(run) == "running"
    assert run.worker == "w2"


def test_a_run_given_back_waits_again_and_loses_no_attempt(run):
    queue.give_back(claim(), "w1")
    assert state_of(run) == "queued"
    assert run.attempts == 0


def test_a_worker_cannot_give_back_what_another_holds(run):
    claimed = claim("w1")
    queue.give_back(claimed, "w2")
    assert state_of(run) == "running"


def test_without_a_heartbeat_for_a_minute_a_run_waits_again(run):
    claim()
    assert queue.requeue_lost() == 0
    Run.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=61))
    assert queue.requeue_lost() == 1
    assert state_of(run) == "queued"
    assert "not heard" in run.error
    assert claim("w2").attempts == 2


def test_a_run_that_is_lost_every_time_fails_in_the_end(run):
    for _ in range(queue.MOST_ATTEMPTS):
        assert state_of(run) == "queued"
        claim()
        queue.lose(Q(pk=run.pk), reason="The recipe was killed.")
    assert state_of(run) == "failed"
    assert run.error.startswith("The recipe was killed. This was attempt 5")
    queue.resume(run)
    assert claim().attempts == 1


def test_live_workers_are_those_heard_of_within_a_minute(db):
    now = timezone.now()
    Worker.objects.create(name="a", device="cpu", seen_at=now - timedelta(minutes=2))
    Worker.objects.create(name="b", device="cuda:0", seen_at=now)
    assert [worker.name for worker in queue.live_workers()] == ["b"]
    assert [worker.name for worker in queue.live_workers("cuda")] == ["b"]
    assert queue.live_workers("cpu") == []


# Cancel, resume, clone


def test_a_waiting_run_is_cancelled_at_once(run):
    queue.cancel(run)
    assert run.state == "cancelled"
    assert claim() is None


def test_a_running_run_is_asked_to_stop(run):
    claimed = claim()
    queue.cancel(run)
    assert run.state == "running"
    assert queue.cancel_wanted(claimed, "w1")


def test_cancelling_twice_is_no_error_but_a_finished_run_is(run):
    queue.cancel(run)
    queue.cancel(run)
    Run.objects.update(state=Run.State.SUCCEEDED)
    with pytest.raises(WrongState, match="is over already: succeeded"):
        queue.cancel(run)


@pytest.mark.parametrize("leave", [lambda run: queue.give_back(run, "w1"), lambda run: queue.lose(Q(), reason="Lost.")])
def test_a_run_that_was_to_be_cancelled_never_waits_again(run, leave):
    claimed = claim()
    queue.cancel(run)
    leave(claimed)
    assert state_of(run) == "cancelled"


@pytest.mark.django_db(transaction=True)
def test_a_cancel_at_the_moment_of_giving_back_is_not_forgotten(base):
    """Whichever comes first, the run ends cancelled."""
    for _ in range(10):
        run = queue.enqueue("generate", {"model": "tiny"})
        claimed = claim()

        def in_thread(verb):
            try:
                verb()
            finally:
                connection.close()

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(in_thread, [lambda: queue.cancel(run), lambda: queue.give_back(claimed, "w1")]))  # noqa: B023
        assert state_of(run) == "cancelled"


def test_a_cancelled_run_is_resumed(run):
    queue.cancel(run)
    queue.resume(run)
    assert (run.state, run.cancel_requested, run.error) == ("queued", False, "")
    assert claim() == run


def test_only_failed_and_cancelled_runs_are_resumed(run):
    with pytest.raises(WrongState, match="is queued"):
        queue.resume(run)


def test_a_clone_is_a_new_run_with_a_setting_changed(run, project):
    queue.cancel(run)
    clone = queue.clone(run, per_prompt=2)
    assert clone.pk != run.pk
    assert (clone.cloned_from, clone.project) == (run, project)
    assert clone.config == run.config | {"per_prompt": 2}
