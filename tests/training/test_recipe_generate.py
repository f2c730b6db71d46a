"""Answers to prompts arrive in parts, none of them twice, and what is there stays there."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.training.conftest import TINY, prompt_row
from training.configs import GenerateConfig
from training.rundir import CANCELLED, SUCCEEDED, read_rows

pytestmark = pytest.mark.recipe


@pytest.fixture
def config() -> GenerateConfig:
    return GenerateConfig(model=TINY, max_new_tokens=4, batch_size=4, threads=1, precision="fp32")


@pytest.fixture
def scripted(monkeypatch):
    """Answers from a list instead of a model; remembers what was asked."""
    from training.recipes import generate
    from training.recipes.engine import Answer

    asked = []

    def script(*texts: str):
        left = list(texts)

        def sample(model, tokenizer, requests, **how):
            asked.extend(requests)
            return [Answer(left.pop(0), tokens=1, cut=False) for _ in requests]

        monkeypatch.setattr(generate, "sample", sample)
        return asked

    return script


def perform(run):
    from training.recipes.__main__ import perform

    outcome = perform(run)
    run.finish(outcome)
    return outcome


def test_every_prompt_gets_its_answers(make_run, config):
    run = make_run(config, prompts=[prompt_row(n) for n in range(1, 7)])

    outcome = perform(run)

    assert outcome.state == SUCCEEDED
    assert outcome.summary["answers"] == 12
    assert [{row["prompt_id"] for row in read_rows(part)} for part in run.parts()] == [{1}, {2, 3}, {4, 5}, {6}]
    assert {row["task_id"] - row["prompt_id"] for row in run.sampled()} == {100}
    assert [json.loads(row["sampling"])["temperature"] for row in run.sampled()] == [0.7, 1.0] * 6
    assert {row["model"] for row in run.sampled()} == {TINY}
    assert (run.progress().step, run.progress().total) == (12, 12)
    assert run.is_complete()


def test_an_answer_is_cut_only_at_double_length(make_run, config):
    run = make_run(config, prompts=[prompt_row(1)])

    perform(run)

    assert {(row["tokens"], row["cut"]) for row in run.sampled()} == {(8, True)}


def test_a_resumed_run_goes_on_and_draws_what_it_would_have_drawn(make_run, config):
    prompts = [prompt_row(n) for n in range(1, 5)]
    whole = make_run(config, name="whole", prompts=prompts)
    perform(whole)
    half = make_run(config, name="half", prompts=prompts)
    half.write_part(read_rows(whole.parts()[0]))
    first = half.parts()[0].read_bytes()

    perform(half)

    assert list(half.sampled()) == list(whole.sampled())
    assert half.parts()[0].read_bytes() == first


def test_a_cancelled_run_keeps_its_answers(make_run, config, monkeypatch):
    run = make_run(config, prompts=[prompt_row(n) for n in range(1, 4)])
    write = run.write_part
    monkeypatch.setattr(run, "write_part", lambda rows: (write(rows), run.ask(cancel=True)))

    assert perform(run).state == CANCELLED
    assert {row["prompt_id"] for row in run.sampled()} == {1}


def test_identical_answers_are_drawn_again(make_run, config, scripted):
    asked = scripted("same", "same", "other")
    run = make_run(config, prompts=[prompt_row(1)])

    perform(run)

    assert [row["text"] for row in run.sampled()] == ["same", "other"]
    assert len({request.key for request in asked}) == 3  # with other random numbers


def test_an_answer_that_exists_already_is_drawn_again(make_run, config, scripted):
    asked = scripted("there", "new")
    run = make_run(config, prompts=[prompt_row(1, wanted=1, existing=["there"])])

    perform(run)

    assert [row["text"] for row in run.sampled()] == ["new"]
    assert {request.temperature for request in asked} == {1.0}  # it is the prompt's second answer


def test_drawing_again_comes_to_an_end(make_run, config, scripted):
    scripted(*["same"] * 50)
    run = make_run(config, prompts=[prompt_row(1)])

    assert perform(run).state == SUCCEEDED
    assert [row["text"] for row in run.sampled()] == ["same", "same"]


def test_a_missing_model_is_named(make_run, config, tmp_path):
    run = make_run(config, prompts=[prompt_row(1)], models={TINY: tmp_path / "gone"})

    outcome = perform(run)

    assert outcome.state == "failed"
    assert f"of the model {TINY} holds no model" in outcome.error


def test_the_command_ends_gracefully_when_it_is_terminated(make_run):
    config = GenerateConfig(model=TINY, max_new_tokens=2000, batch_size=2, threads=1)
    run = make_run(config, prompts=[prompt_row(1), prompt_row(2)])
    process = subprocess.Popen([sys.executable, "-m", "training.recipes", str(run)], env={**os.environ})
    while run.progress().phase != "answering" and process.poll() is None:
        time.sleep(0.05)

    process.send_signal(signal.SIGTERM)

    assert process.wait(60) == 3
    assert run.outcome().state == CANCELLED
    assert run.outcome().peak_memory_mb > 0
    assert "Cancelled on request" in run.log_tail()
