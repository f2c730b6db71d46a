"""An evaluation uses only prompts that no training saw, and says when it shows nothing."""

import shutil

import pytest

from tests.training.conftest import TINY, judged_tasks, prompt_row, task_row
from training.configs import EvaluateConfig, RewardConfig
from training.rundir import SUCCEEDED, RunFolder, read_rows

pytestmark = pytest.mark.recipe

JUDGE, OTHER = "judge@1", "other@1"


def perform(run: RunFolder):
    from training.recipes.__main__ import perform

    outcome = perform(run)
    run.finish(outcome)
    return outcome


@pytest.fixture(scope="module")
def judge(tiny, tmp_path_factory):
    """A reward model that likes thanks, trained on the questions 1 to 6."""
    from training.rundir import write_rows

    config = RewardConfig(
        model=TINY, tuning="full", threads=1, precision="fp32", epochs=6, learning_rate=1e-2, eval_share=0
    )
    run = RunFolder.create(tmp_path_factory.mktemp("judge"), config, {TINY: {"folder": str(tiny)}})
    write_rows(run.data / "tasks.parquet", judged_tasks(6))
    assert perform(run).state == SUCCEEDED
    return run.model


def config(**fields) -> EvaluateConfig:
    usual = {"model": OTHER, "baseline": TINY, "judge": JUDGE, "max_new_tokens": 6}
    return EvaluateConfig(**{"threads": 1, "precision": "fp32", **usual, **fields})


def test_a_reward_model_is_measured_on_prompts_that_it_never_saw(make_run, judge):
    run = make_run(config(model=JUDGE, baseline=None, judge=None), models={JUDGE: judge}, tasks=judged_tasks(10))

    found = perform(run).summary

    assert (found["prompts"], found["pairs"]) == (4, 12)
    low, high = found["accuracy_ci"]
    assert low < 0.6 < found["accuracy"] <= high  # four prompts show little
    assert found["trained_on"][0]["tasks"] == 6


def test_length_alone_is_the_measure_to_beat(make_run, judge):
    tasks = [task_row(n, "yes", "a much longer answer") for n in range(20, 24)]
    run = make_run(config(model=JUDGE, baseline=None, judge=None), models={JUDGE: judge}, tasks=tasks)

    found = perform(run).summary

    assert (found["length_rule"], found["length_accuracy"]) == ("prefer the shorter", 1.0)
    assert found["against_length"] != "better"


def test_without_unseen_prompts_nothing_is_measured(make_run, judge):
    run = make_run(config(model=JUDGE, baseline=None, judge=None), models={JUDGE: judge}, tasks=judged_tasks(6))
    assert "saw the prompts of all of them" in perform(run).error


def test_a_policy_without_a_score_head_is_not_measured_as_a_reward_model(make_run):
    run = make_run(config(model=TINY, baseline=None, judge=None), tasks=judged_tasks(3, split="test"))
    assert "is not a reward model" in perform(run).error


def test_equal_policies_tie_and_no_difference_is_shown(make_run, judge, tiny):
    run = make_run(config(), models={JUDGE: judge, OTHER: tiny}, prompts=[prompt_row(n) for n in range(30, 40)])

    found = perform(run).summary

    assert (found["wins"], found["ties"], found["losses"]) == (0, 10, 0)
    assert found["win_rate"] == found["length_controlled"] == 0.5
    assert found["verdict"] == "no difference shown"
    assert found["judge_trained_on"][0]["pairs"] == 18


def test_both_answers_are_kept_side_by_side(make_run, judge, tiny):
    run = make_run(
        config(per_prompt=2, batch_size=4),
        models={JUDGE: judge, OTHER: tiny},
        prompts=[prompt_row(n) for n in range(30, 33)],
    )
    perform(run)

    rows = list(run.sampled())
    assert len(rows) == 12
    assert {"prompt_id", "model", "text", "score"} <= rows[0].keys()
    assert [r["text"] for r in rows if r["model"] == OTHER] == [r["text"] for r in rows if r["model"] == TINY]
    assert len({r["text"] for r in rows if r["model"] == OTHER}) > 3  # two different answers to a prompt


def test_prompts_that_a_training_saw_are_left_out(make_run, judge, tiny):
    run = make_run(config(), models={JUDGE: judge, OTHER: tiny}, prompts=[prompt_row(n) for n in range(5, 9)])

    found = perform(run).summary

    assert found["prompts_left_out"] == 2  # the judge was trained on the questions 5 and 6
    assert {row["prompt_id"] for row in run.sampled()} == {7, 8}


def test_a_resumed_comparison_does_not_answer_again(make_run, judge, tiny):
    settings, models = config(batch_size=2), {JUDGE: judge, OTHER: tiny}
    prompts = [prompt_row(n) for n in range(30, 34)]
    whole = make_run(settings, name="whole", models=models, prompts=prompts)
    perform(whole)
    half = make_run(settings, name="half", models=models, prompts=prompts)
    for part in whole.parts()[:3]:
        shutil.copy(part, half.samples / part.name)

    assert perform(half).summary == perform(whole).summary
    assert [read_rows(part) for part in half.parts()] == [read_rows(part) for part in whole.parts()]
