"""Workers and recipes as real processes, ended at every wrong moment: nothing is lost and nothing comes twice."""

import random
import signal
import time
from contextlib import ExitStack
from datetime import timedelta
from threading import Thread

import psutil
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Count

from annotation import imports
from annotation.models import Candidate, Project, Task
from tests.training import patient_recipe as recipe
from tests.training.worker_process import plain_model, worker_process
from training import queue, registry, worker
from training.launchers import local
from training.launches import launch_generation, launch_training
from training.models import Dataset, Evaluation, Metric, ModelVersion, Run, Worker
from training.rundir import RunFolder
from training.worker import WorkerProcess

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(local, "RECIPES", "tests.training.patient_recipe")
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.05)
    yield
    for process in psutil.process_iter(["cmdline"]):
        if "tests.training.patient_recipe" in (process.info["cmdline"] or []) and process.ppid() in (
            1,
            psutil.Process().pid,
        ):
            process.kill()


@pytest.fixture
def base(tmp_path) -> ModelVersion:
    return register(tmp_path, "base")


def register(tmp_path, name: str, kind: str = "base") -> ModelVersion:
    return registry.register_model(name, plain_model(tmp_path / name), kind)


@pytest.fixture
def waiting(project) -> list[Task]:
    """Six prompts without answers."""
    imports.import_prompts(project, [{"prompt": f"Question {n}?"} for n in range(6)])
    return list(project.tasks.filter(ready=False).order_by("position", "pk"))


@pytest.fixture
def make_run(base, project, waiting):
    def make(
        method: str = "generate", *, project: Project | None = project, dataset: Dataset | None = None, **settings
    ):
        slowness = {"eval_every": 20} if method in ("reward", "dpo") else {"max_new_tokens": 20}
        return queue.enqueue(
            method,
            {"model": str(base), "threads": 1, **slowness, **settings},
            project=project,
            datasets=[dataset] if dataset else [],
        )

    return make


@pytest.fixture
def dataset(project, annotator, task):
    from annotation.assignment import next_task
    from annotation.rankings import Answer, submit_ranking
    from training.snapshots import freeze

    lease = next_task(annotator)
    order = lease.display_order
    submit_ranking(lease, Answer(tiers=[[pk] for pk in order]), key="k")
    return freeze(project, "kitchen-1")


def work() -> None:
    WorkerProcess().serve(once=True)


def wait_until(condition, seconds: float = 20):
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
    return value


def fresh(run: Run) -> Run:
    run.refresh_from_db()
    return run


def parts_in(run: Run, number: int):
    return lambda: fresh(run).parts_imported >= number


def assert_answered_once(run: Run, waiting: list[Task], answers: int = 4) -> None:
    """Every prompt has its answers, no answer and no metric is there twice."""
    counts = dict(
        Task.objects.filter(pk__in=[task.pk for task in waiting]).values_list("pk").annotate(Count("candidates"))
    )
    assert counts == {task.pk: answers for task in waiting}
    assert not Task.objects.filter(ready=False).exists()
    assert run.parts_imported == len(RunFolder(run.folder).parts()) == len(waiting)
    assert list(run.metrics.filter(name="loss/train").order_by("step").values_list("step", flat=True)) == [
        *range(1, len(waiting) + 1)
    ]


# A run that goes well


def test_answers_enter_the_project(make_run, waiting, base):
    run = make_run()
    work()

    assert fresh(run).state == "succeeded", run.error
    assert_answered_once(run, waiting)
    answer = Candidate.objects.order_by("pk").first()
    assert answer.text == f"Answer 0 to {waiting[0].prompt_id}"
    assert (answer.model_name, answer.sampling) == (str(base), {"temperature": 0.7, "run": run.pk})
    assert (run.step, run.total_steps) == (5, 6)
    assert run.outcome == {"summary": {"prompts": 6, "answers": 24}, "seconds": 1.5, "peak_memory_mb": 10}
    assert not Worker.objects.exists()


def test_a_number_that_is_none_becomes_null(make_run):
    run = make_run()
    work()
    assert run.metrics.get(name="loss/odd", step=3).value is None
    assert run.metrics.get(name="loss/train", step=2).value == 0.5


def test_recipes_get_no_secrets_and_their_threads(make_run, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    run = make_run(threads=2)
    work()
    assert "working with 2 threads False" in RunFolder(run.folder).log_tail()


def test_only_missing_answers_are_asked_for(make_run, waiting):
    Candidate.objects.create(task=waiting[0], text="By hand")
    run = make_run()
    work()
    assert fresh(run).outcome["summary"]["answers"] == 23
    assert list(waiting[0].candidates.values_list("text", flat=True))[:2] == [
        "By hand",
        f"Answer 1 to {waiting[0].prompt_id}",
    ]


def test_the_first_answers_can_be_ranked_while_others_are_written(make_run, waiting):
    run = make_run(max_new_tokens=300)
    process = WorkerProcess()
    thread = Thread(target=lambda: (process.serve(once=True), connection.close()))
    thread.start()
    try:
        wait_until(lambda: Task.objects.filter(ready=True).exists())
        assert fresh(run).state == "running"
        assert Task.objects.filter(ready=True).first() == waiting[0]
        assert [seen.name for seen in queue.live_workers("cpu")] == [process.name]
    finally:
        process.stop.set()
        thread.join()


def test_a_trained_model_is_registered_with_its_origin(make_run, dataset, base):
    run = make_run("reward", dataset=dataset)
    work()

    assert fresh(run).state == "succeeded", run.error
    model = ModelVersion.objects.get(run=run)
    assert (str(model), model.kind, model.stage) == ("train-a-reward-model@1", "reward", "candidate")
    assert registry.verify(model) == run.folder / "model"
    assert list(run.parents.all()) == [base]
    assert run.outcome["summary"]["tasks"] == 1
    assert (run.folder / "data" / "tasks.parquet").read_bytes() == dataset.path.read_bytes()


def test_a_name_that_stands_for_another_model_is_left_to_it(make_run, dataset, base):
    """Else its newest version would be this one, and a promotion would retire it."""
    runs = [make_run(method, dataset=dataset) for method in ("reward", "reward", "dpo", "dpo")]
    for run, name in zip(runs, [*["House taste"] * 3, base.name], strict=True):
        Run.objects.filter(pk=run.pk).update(name=name)
    work()

    assert [str(ModelVersion.objects.get(run=run)) for run in runs] == [
        "house-taste@1",
        "house-taste@2",
        f"house-taste-{runs[2].pk}@1",
        f"{base.name}-{runs[3].pk}@1",
    ]


def test_a_name_of_another_project_is_left_to_it(make_run, dataset):
    runs = [make_run("reward", dataset=dataset), make_run("reward", dataset=dataset, project=None)]
    work()

    name = "train-a-reward-model"
    assert [str(ModelVersion.objects.get(run=run)) for run in runs] == [f"{name}@1", f"{name}-{runs[1].pk}@1"]


def test_an_evaluation_uses_prompts_that_no_training_saw(make_run, dataset, base, project, tmp_path, waiting):
    policy = make_run("dpo", dataset=dataset)
    work()
    policy = ModelVersion.objects.get(run=policy)
    judge = register(tmp_path, "judge", "reward")
    run = make_run("evaluate", model=str(policy), baseline=str(base), judge=str(judge))
    work()

    assert fresh(run).state == "succeeded", run.error
    evaluation = Evaluation.objects.get(run=run)
    assert (evaluation.model, evaluation.baseline, evaluation.judge) == (policy, base, judge)
    seen = dataset.project.tasks.get(judged=1).prompt.last_user_turn
    assert evaluation.result["prompts"] == [task.prompt.last_user_turn for task in waiting]
    assert seen not in evaluation.result["prompts"]


def test_few_new_prompts_are_joined_by_those_of_the_test_split(make_run, dataset, base, project, tmp_path, waiting):
    """One new prompt would else be all that two policies are compared on."""
    policy = make_run("dpo", dataset=dataset)
    work()
    frozen = dataset.project.tasks.get(judged=1).prompt
    type(frozen).objects.filter(pk=frozen.pk).update(split="test")
    judge = register(tmp_path, "judge", "reward")
    run = make_run("evaluate", model=str(ModelVersion.objects.get(run=policy)), baseline=str(base), judge=str(judge))
    work()

    compared = Evaluation.objects.get(run=run).result["prompts"]
    assert sorted(compared) == sorted([frozen.last_user_turn, *(task.prompt.last_user_turn for task in waiting)])


def test_a_new_database_finds_no_run_of_an_older_one(make_run):
    older, run = make_run(), Run(name="again")
    run.pk = older.pk
    run.created_at = older.created_at + timedelta(days=1)

    assert run.folder != older.folder


# A run that goes wrong


def test_a_failure_is_told_with_the_end_of_the_log(make_run):
    run = make_run(seed=recipe.FAILS)
    work()
    assert fresh(run).state == "failed"
    assert run.error == "The loss is not a number."
    assert run.outcome["log"].splitlines()[-2:] == ["step 2", "The loss is not a number."]


def test_a_failed_run_keeps_its_answers_and_is_resumed(make_run, waiting):
    run = make_run(seed=recipe.FAILS)
    work()
    assert Candidate.objects.count() == 4, "the first prompt was answered"
    Run.objects.update(config=run.config | {"seed": 0})
    (run.folder / "config.json").unlink()
    queue.resume(run)
    work()
    assert fresh(run).state == "succeeded", run.error
    assert Candidate.objects.count() == 24


def test_a_model_that_was_changed_stops_the_run_before_it_starts(make_run, base):
    (base.path / "config.json").write_text('{"changed": true}')
    run = make_run()
    work()
    assert fresh(run).state == "failed"
    assert "base@1" in run.error and "changed" in run.error
    assert not run.folder.joinpath("log.txt").exists()


def test_a_snapshot_that_was_changed_stops_the_run_before_it_starts(make_run, dataset):
    dataset.path.chmod(0o644)
    with dataset.path.open("ab") as file:
        file.write(b"!")
    run = make_run("reward", dataset=dataset)
    work()
    assert fresh(run).state == "failed"
    assert "kitchen-1 was changed after it was frozen" in run.error


def test_a_model_with_a_pickle_is_not_registered(make_run, dataset):
    run = make_run("reward", dataset=dataset, seed=recipe.PICKLES)
    work()
    assert fresh(run).state == "failed"
    assert "pytorch_model.bin may run code" in run.error
    assert not ModelVersion.objects.filter(run=run).exists()


def test_without_prompts_to_answer_the_run_fails_with_a_sentence(make_run):
    Task.objects.update(ready=True)
    run = make_run()
    work()
    assert (fresh(run).state, run.error) == ("failed", "Every prompt of this project has its answers.")


# The recipe dies


def test_a_recipe_that_is_killed_is_resumed_at_once(make_run, waiting):
    run = make_run(seed=recipe.DIES_ONCE)
    work()
    assert (fresh(run).state, run.attempts) == ("succeeded", 2), run.error
    assert_answered_once(run, waiting)


def test_a_generation_lets_a_training_pass_and_goes_on(make_run, dataset, waiting, storage):
    run = make_run(max_new_tokens=300)
    with worker_process(storage):
        wait_until(parts_in(run, 1))
        reward = make_run("reward", dataset=dataset)
        wait_until(lambda: fresh(reward).state == "succeeded")
        assert fresh(run).active, "its answers come after"
        wait_until(lambda: fresh(run).state == "succeeded")

    assert (run.attempts, run.error) == (1, "")
    assert_answered_once(run, waiting)


def test_a_recipe_that_dies_every_time_is_given_up(make_run):
    run = make_run(seed=recipe.DIES)
    work()
    assert (fresh(run).state, run.attempts) == ("failed", queue.MOST_ATTEMPTS)
    assert "killed from outside" in run.error


# The worker dies


def test_a_recipe_outlives_its_worker_and_is_adopted(make_run, waiting, storage):
    run = make_run(max_new_tokens=500)
    with worker_process(storage):
        wait_until(parts_in(run, 1))
        orphan = local.find(RunFolder(run.folder))
    assert orphan.is_running(), "the worker is dead, the recipe is not"

    work()
    assert (fresh(run).state, run.attempts) == ("succeeded", 2), run.error
    assert RunFolder(run.folder).log_tail().count("working with") == 1, "it was not started again"
    assert_answered_once(run, waiting)


def test_worker_and_recipe_die_together(make_run, waiting, storage):
    run = make_run(max_new_tokens=100)
    with worker_process(storage):
        wait_until(parts_in(run, 2))
    local.find(RunFolder(run.folder)).kill()

    work()
    assert fresh(run).state == "succeeded", run.error
    assert_answered_once(run, waiting)


def test_a_training_run_goes_on_from_its_checkpoint(make_run, dataset, storage):
    run = make_run("reward", dataset=dataset, eval_every=100)
    with worker_process(storage):
        wait_until(lambda: fresh(run).step >= 4)
    local.find(RunFolder(run.folder)).kill()

    work()
    assert fresh(run).state == "succeeded", run.error
    assert run.outcome["summary"]["first"] >= 4
    assert list(run.metrics.filter(name="loss/train").order_by("step").values_list("step", flat=True)) == [
        *range(1, 11)
    ]


def test_killed_again_and_again_everything_comes_once(make_run, waiting, storage):
    run = make_run(max_new_tokens=60)
    chance = random.Random(5)
    for _ in range(5):
        with worker_process(storage) as process:
            wait_until(lambda: f":{process.pid}:" in fresh(run).worker or not run.active)
            time.sleep(chance.uniform(0, 0.3))
        if chance.random() < 0.5 and (orphan := local.find(RunFolder(run.folder))):
            orphan.kill()
        Run.objects.filter(pk=run.pk).update(attempts=1)  # giving up is not what this is about

    work()
    assert fresh(run).state == "succeeded", run.error
    assert_answered_once(run, waiting)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_part_comes_once_when_the_worker_dies_while_importing(make_run, waiting, monkeypatch, moment):
    """Before or after its answers are stored, but always before the transaction ends."""
    run = make_run()
    store, calls = worker.sources.import_answers, []

    def die(run, rows):
        calls.append(rows)
        if len(calls) == 2 and moment == "before":
            raise SystemExit
        store(run, rows)
        if len(calls) == 2:
            raise SystemExit

    monkeypatch.setattr(worker.sources, "import_answers", die)
    dying = WorkerProcess()
    with pytest.raises(SystemExit):
        dying.serve()
    assert (fresh(run).state, run.parts_imported) == ("running", 1)
    assert Candidate.objects.count() == 4

    Run.objects.filter(pk=run.pk).update(worker=dead_name(dying))
    work()
    assert fresh(run).state == "succeeded", run.error
    assert_answered_once(run, waiting)


def dead_name(process: WorkerProcess) -> str:
    """The name that this worker would have if its process were gone."""
    host, pid, _start, one = process.name.rsplit(":", 3)
    return f"{host}:{pid}:1:{one}"


def test_an_ending_that_nobody_lived_to_see_is_kept(make_run, waiting):
    """The recipe ended well, then its worker died before it said so: it is not run again."""
    run = make_run()
    claimed = queue.claim(dead_name(WorkerProcess()), host="elsewhere", device="cpu")
    folder = RunFolder(claimed.folder)
    local.wait(local.launch(folder, worker.sources.prepare(claimed, folder), device="cpu"), 20)
    log = folder.log_tail()

    work()
    assert fresh(run).state == "succeeded", run.error
    assert folder.log_tail() == log
    assert_answered_once(run, waiting)


# The worker is told to stop


def test_a_stopped_worker_gives_its_run_back(make_run, waiting, storage):
    run = make_run(max_new_tokens=200)
    with worker_process(storage) as process:
        wait_until(parts_in(run, 1))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert (fresh(run).state, run.attempts, run.worker) == ("queued", 0, "")
    assert local.find(RunFolder(run.folder)) is None
    assert not Worker.objects.exists()

    work()
    assert fresh(run).state == "succeeded", run.error
    assert_answered_once(run, waiting)


def test_a_worker_for_an_unknown_device_does_not_start():
    with pytest.raises(CommandError, match="no device 'gpu'"):
        call_command("run_worker", "--device", "gpu")


def test_long_reading_of_files_does_not_lose_the_run(make_run, monkeypatch):
    """The checksums of a large model take minutes, in which heartbeats go on."""
    monkeypatch.setattr(queue, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(queue, "LOST_AFTER", timedelta(seconds=0.6))
    prepare, beats = worker.sources.prepare, set()

    def slowly(run, folder):
        for _ in range(15):
            time.sleep(0.1)
            beats.add(fresh(run).heartbeat_at)
        return prepare(run, folder)

    monkeypatch.setattr(worker.sources, "prepare", slowly)
    run = make_run()
    work()
    assert (fresh(run).state, run.attempts) == ("succeeded", 1), run.error
    assert len(beats) > 4


# Cancel


def test_a_cancelled_run_keeps_what_it_made(make_run):
    run = make_run(max_new_tokens=300)
    thread = Thread(target=lambda: (work(), connection.close()))
    thread.start()
    wait_until(parts_in(run, 1))
    queue.cancel(run)
    thread.join(20)
    assert fresh(run).state == "cancelled"
    assert Candidate.objects.count() == 4 * run.parts_imported > 0
    assert local.find(RunFolder(run.folder)) is None


def test_a_recipe_that_does_not_listen_is_killed(make_run, monkeypatch):
    monkeypatch.setattr(worker, "CANCEL_GRACE", 0.5)
    monkeypatch.setattr(local, "GRACE", 0.2)
    run = make_run(max_new_tokens=2000, seed=recipe.DEAF)
    thread = Thread(target=lambda: (work(), connection.close()))
    thread.start()
    wait_until(lambda: local.find(RunFolder(run.folder)))
    queue.cancel(run)
    thread.join(20)
    assert (fresh(run).state, run.error) == ("cancelled", "Cancelled on request.")
    assert local.find(RunFolder(run.folder)) is None


# The database


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="only a server can hang up")
def test_a_database_that_hangs_up_does_not_end_the_run(make_run, waiting, storage):
    run = make_run(max_new_tokens=200)
    with worker_process(storage):
        wait_until(parts_in(run, 1))
        for _ in range(3):
            with connection.cursor() as cursor:
                others = "datname = current_database() AND pid <> pg_backend_pid()"
                cursor.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
            time.sleep(0.2)
        wait_until(lambda: not fresh(run).active)
    assert (run.state, run.attempts) == ("succeeded", 1), run.error
    assert_answered_once(run, waiting)


# Several workers


def test_a_worker_whose_run_was_taken_away_stops_its_recipe_and_writes_nothing(make_run):
    run = make_run(max_new_tokens=300)
    thread = Thread(target=lambda: (work(), connection.close()))
    thread.start()
    wait_until(parts_in(run, 1))
    Run.objects.filter(pk=run.pk).update(worker="another:1:1:1", slot="another cpu")
    thread.join(20)
    imported = fresh(run).parts_imported
    assert not thread.is_alive()
    assert local.find(RunFolder(run.folder)) is None
    assert (run.state, run.worker) == ("running", "another:1:1:1")
    assert Candidate.objects.count() == 4 * imported


def test_workers_at_once_never_share_a_run(make_run, dataset, storage):
    runs = [make_run("reward", dataset=dataset, eval_every=5) for _ in range(6)]
    with ExitStack() as stack:
        for host in ("one", "two", "three"):
            stack.enter_context(worker_process(storage, host=host))
        wait_until(lambda: not Run.objects.filter(state__in=["queued", "running"]).exists(), 60)
    for run in runs:
        assert (fresh(run).state, run.attempts) == ("succeeded", 1), run.error
        assert RunFolder(run.folder).log_tail().count("working with") == 1
        assert Metric.objects.filter(run=run, name="loss/train").count() == 10
    assert sorted(ModelVersion.objects.exclude(run=None).values_list("version", flat=True)) == [1, 2, 3, 4, 5, 6]


# Real recipes


@pytest.mark.recipe
def test_answers_and_a_reward_model_by_real_recipes(tiny, project, monkeypatch):
    monkeypatch.setattr(local, "RECIPES", "training.recipes")
    base = registry.register_model("tiny", tiny)
    imports.import_prompts(project, [{"prompt": f"What is {n} and {n}?"} for n in range(3)])
    run = launch_generation(project, per_prompt=3, max_new_tokens=4)
    work()
    assert fresh(run).state == "succeeded", run.error
    tasks = list(project.tasks.filter(ready=True).prefetch_related("candidates"))
    assert len(tasks) == 3
    assert {candidate.model_name for task in tasks for candidate in task.candidates.all()} == {str(base)}

    rankings = [
        {
            "prompt": task.prompt.messages,
            "candidates": [{"text": each.text, "model": each.model_name} for each in task.candidates.all()],
            "annotator": "a1",
            "tiers": [[n] for n in range(task.candidates.count())],
        }
        for task in tasks
    ]
    imports.import_rankings(project, rankings)
    run = launch_training("reward", project=project, batch_size=1, gradient_accumulation=1, max_pairs=2, save_every=1)
    work()
    assert fresh(run).state == "succeeded", run.error
    model = ModelVersion.objects.get(run=run)
    assert {file.suffix for file in model.path.iterdir()} <= {".safetensors", ".json"}
    assert run.metrics.filter(name="loss/train").count() == run.outcome["summary"]["steps"] == 2
    assert (run.step, run.outcome["peak_memory_mb"] > 100) == (2, True)
