"""`manage.py generate`, and what a page says before and while answers are written."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from annotation import imports
from annotation.models import Candidate, Task
from tests.training.worker_process import plain_model
from training import launches, queue, registry, worker
from training.launchers import local
from training.launches import NoModel, NothingToAnswer, launch_generation, plan_generation, stop_generation
from training.models import ModelVersion, Run
from training.queue import WrongConfig, WrongState

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(local, "RECIPES", "tests.training.patient_recipe")
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.05)


@pytest.fixture
def base(tmp_path) -> ModelVersion:
    return registry.register_model("smollm2", plain_model(tmp_path / "smollm2"))


@pytest.fixture(autouse=True)
def prompts(project) -> list[Task]:
    """Three prompts; the first has an answer already."""
    imports.import_prompts(project, [{"prompt": f"Question {n}?"} for n in range(3)])
    tasks = list(project.tasks.order_by("position", "pk"))
    Candidate.objects.create(task=tasks[0], text="By hand")
    return tasks


def generate(*arguments: str) -> str:
    out = StringIO()
    call_command("generate", "kitchen", *arguments, stdout=out)
    return out.getvalue()


def test_prompts_get_the_answers_that_they_lack(base, prompts):
    said = generate("--wait", "--set", "max_new_tokens=5")

    run = Run.objects.get()
    assert run.state == "succeeded", run.error
    assert said.splitlines()[-1] == f"Run {run.pk} succeeded in 2 s."
    assert [task.candidates.count() for task in prompts] == [4, 4, 4]
    assert not Task.objects.filter(ready=False).exists()


def test_the_number_of_answers_may_be_chosen(base, prompts):
    done = json.loads(generate("--per-prompt", "2", "--wait", "--json", "--set", "max_new_tokens=5"))
    assert (done["state"], done["outcome"]["summary"]["answers"]) == ("succeeded", 5)
    assert [task.candidates.count() for task in prompts] == [2, 2, 2]


def test_the_newest_promoted_sft_model_answers_else_the_base_model(base, tmp_path):
    registry.promote(registry.register_model("sft", plain_model(tmp_path / "sft"), "sft"))
    generate()
    assert Run.objects.get().config["model"] == "sft@1"


def test_a_model_may_be_named(base, project):
    generate("--model", "smollm2")
    assert Run.objects.get().config["model"] == "smollm2@1"


def test_mistakes_are_told_in_one_sentence(base, tmp_path):
    registry.register_model("taste", plain_model(tmp_path / "taste"), "reward")
    for arguments, sentence in [
        (["--model", "gpt"], "There is no model gpt. Known are: smollm2@1, taste@1."),
        (["--model", "taste"], "taste@1 is a reward model; it does not fit here."),
        (["--per-prompt", "12"], "Answers per prompt: must be at most 9, not 12."),
    ]:
        with pytest.raises(CommandError) as mistake:
            generate(*arguments)
        assert str(mistake.value) == sentence
    assert not Run.objects.exists()


def test_nothing_is_launched_where_nothing_is_missing(base, project):
    Task.objects.update(ready=True)
    with pytest.raises(NothingToAnswer):
        launch_generation(project)


def test_without_a_model_nothing_is_launched(project):
    with pytest.raises(NoModel):
        launch_generation(project)
    assert plan_generation(project).model is None


# What the page says


def test_the_plan_counts_what_is_missing(base, project):
    plan = plan_generation(project)
    assert (plan.model, plan.prompts, plan.answers) == (base, 3, 11)
    assert plan.seconds == launches.LOADING_SECONDS + 11 * launches.USUAL_SECONDS_PER_ANSWER
    assert plan_generation(project, per_prompt=1).prompts == 2


def test_the_plan_learns_from_the_last_generation(base, project):
    done = queue.enqueue("generate", {"model": "smollm2"})
    Run.objects.filter(pk=done.pk).update(
        state=Run.State.SUCCEEDED, outcome={"seconds": launches.LOADING_SECONDS + 20, "summary": {"answers": 40}}
    )
    assert plan_generation(project).seconds == launches.LOADING_SECONDS + 11 * 0.5


def test_a_project_that_lacks_nothing_takes_no_time(base, project):
    Task.objects.update(ready=True)
    plan = plan_generation(project)
    assert (plan.prompts, plan.answers, plan.seconds) == (0, 0, 0)


def test_a_double_click_launches_one_run(base, project):
    run = launch_generation(project)
    with pytest.raises(WrongState):
        launch_generation(project)
    assert launches.generation_of(project) == run


def test_stop_ends_the_run_and_keeps_the_answers(base, project):
    run = launch_generation(project)
    assert stop_generation(project) == run
    run.refresh_from_db()
    assert run.state == "cancelled"
    assert stop_generation(project) is None
    assert Candidate.objects.get().text == "By hand"


def test_a_wrong_setting_is_refused(base, project):
    with pytest.raises(WrongConfig, match="Longest answer"):
        launch_generation(project, max_new_tokens=0)


def test_a_model_that_repeats_itself_still_opens_the_task(base, project, prompts):
    """Identical answers were drawn again, in vain: the task opens with those that differ."""
    run = launch_generation(project)
    queue.claim("w", host="here", device="cpu")
    worker.sources.prepare(run, worker.RunFolder(run.folder))
    row = {"prompt_id": prompts[1].prompt_id, "task_id": prompts[1].pk, "tokens": 1, "cut": False}
    texts = ["Yes.", "Yes.", "No.", "Yes."]
    rows = [{**row, "text": text, "model": "smollm2@1", "sampling": "{}"} for text in texts]
    worker.sources.import_answers(run, rows)
    prompts[1].refresh_from_db()
    assert prompts[1].ready
    assert [candidate.text for candidate in prompts[1].candidates.all()] == ["Yes.", "No."]


def test_a_model_that_repeats_an_answer_of_the_task_still_opens_it(base, project, prompts):
    Candidate.objects.create(task=prompts[1], text="Yes.", model_name="smollm2@1")
    run = launch_generation(project)
    queue.claim("w", host="here", device="cpu")
    worker.sources.prepare(run, worker.RunFolder(run.folder))
    row = {"prompt_id": prompts[1].prompt_id, "task_id": prompts[1].pk, "tokens": 1, "cut": False}
    rows = [{**row, "text": text, "model": "smollm2@1", "sampling": "{}"} for text in ("Yes.", "No.", "Yes.")]
    worker.sources.import_answers(run, rows)
    prompts[1].refresh_from_db()
    assert prompts[1].ready
    assert [candidate.text for candidate in prompts[1].candidates.all()] == ["Yes.", "No."]
