"""A reward model comes out of comparisons, the same one however often training was killed."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.training.conftest import TINY, judged_tasks, task_row
from training.configs import RewardConfig
from training.rundir import CANCELLED, SUCCEEDED, RunFolder

pytestmark = pytest.mark.recipe


def config(**fields) -> RewardConfig:
    usual = {"threads": 1, "precision": "fp32", "max_length": 96, "batch_size": 2, "gradient_accumulation": 1}
    return RewardConfig(model=TINY, **{**usual, **fields})


def perform(run: RunFolder):
    from training.recipes.__main__ import perform

    outcome = perform(run)
    run.finish(outcome)
    return outcome


def weights(run: RunFolder):
    from safetensors.torch import load_file

    return load_file(run.model / "model.safetensors")


def assert_same_weights(one: RunFolder, other: RunFolder, *, tolerance: float = 0) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name in first:
        difference = (first[name] - second[name]).abs().max().item()
        assert difference <= tolerance, f"{name} differs by {difference}"


def metric(run: RunFolder, name: str) -> list[float]:
    return [row["metrics"][name] for row in run.read_metrics()[0] if name in row["metrics"]]


def test_a_reward_model_learns_what_people_prefer(make_run):
    from training.recipes.checkpoints import load_reward_model

    tasks = [*judged_tasks(8), *(task for task in judged_tasks(12, split="validation")[8:])]
    run = make_run(config(tuning="full", epochs=8, learning_rate=1e-2, eval_every=10), tasks=tasks)

    outcome = perform(run)

    assert outcome.state == SUCCEEDED, outcome.error
    assert metric(run, "loss/train")[-1] < 0.3 < metric(run, "loss/train")[0]
    assert outcome.summary["held_out"]["accuracy"] == 1.0
    assert outcome.summary["held_out"]["prompts"] == 4
    assert metric(run, "heldout/rewards/accuracies")[-1] == 1.0
    assert len(metric(run, "loss/heldout")) == math.ceil(outcome.summary["steps"] / 10)
    assert {path.suffix for path in run.model.iterdir()} == {".safetensors", ".json"}
    assert load_reward_model(run.model).config.num_labels == 1
    assert run.is_complete()


def test_a_short_run_too_has_a_held_out_curve(make_run):
    run = make_run(config(lora_r=4, max_pairs=20, batch_size=2, gradient_accumulation=1), tasks=judged_tasks(10))

    assert perform(run).summary["steps"] == 10
    assert len(metric(run, "heldout/rewards/accuracies")) == 5


def test_lora_is_merged_into_a_plain_model(make_run, tiny):
    from safetensors.torch import load_file

    run = make_run(config(lora_r=4, learning_rate=1e-2), tasks=judged_tasks())

    assert perform(run).state == SUCCEEDED

    trained, base = weights(run), load_file(tiny / "model.safetensors")
    assert not any("lora" in name for name in trained)
    assert "score.weight" in trained
    layer = "model.layers.0.self_attn.q_proj.weight"
    assert not trained[layer].equal(base[layer])
    assert trained["model.embed_tokens.weight"].equal(base["model.embed_tokens.weight"])


def test_the_merged_model_scores_as_the_trained_one_did(make_run):
    run = make_run(config(lora_r=4, learning_rate=1e-2, eval_every=1000), tasks=judged_tasks(10))

    outcome = perform(run)

    at_the_end = metric(run, "heldout/rewards/margins")[-1]  # measured by TRL on the model with its added matrices
    assert outcome.summary["held_out"]["mean_margin"] == pytest.approx(at_the_end, abs=2e-3)


def test_accumulated_batches_train_as_one_batch(make_run):
    tasks = judged_tasks(9)
    fields = {"tuning": "full", "learning_rate": 1e-3, "max_pairs": 16}
    whole = make_run(config(batch_size=8, **fields), name="whole", tasks=tasks)
    accumulated = make_run(config(batch_size=2, gradient_accumulation=4, **fields), name="accumulated", tasks=tasks)

    assert perform(whole).summary["steps"] == perform(accumulated).summary["steps"] == 2
    assert_same_weights(whole, accumulated, tolerance=2e-5)


def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(make_run):
    settings = config(tuning="full", epochs=8, learning_rate=1e-3, save_every=5)
    undisturbed = make_run(settings, name="undisturbed", tasks=judged_tasks())
    killed = make_run(settings, name="killed", tasks=judged_tasks())
    command = [sys.executable, "-m", "training.recipes", str(killed)]
    process = subprocess.Popen(command, env={**os.environ})
    while killed.progress().step < 12 and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert killed.outcome() is None

    assert subprocess.run(command, env={**os.environ}).returncode == 0
    perform(undisturbed)

    assert "Going on from checkpoint-" in killed.log_tail()
    assert_same_weights(killed, undisturbed)
    assert not killed.checkpoints.exists(), "nothing reads them after a success"


def test_a_half_written_checkpoint_is_not_resumed_from(make_run):
    from training.recipes.checkpoints import newest_checkpoint

    run = make_run(config(save_every=4), tasks=judged_tasks())
    perform(run)
    newest = newest_checkpoint(run.checkpoints)
    (newest / "optimizer.pt").write_bytes(b"half")

    older = newest_checkpoint(run.checkpoints)

    assert older and older != newest
    assert not newest.exists()


def test_a_cancelled_run_goes_on_where_it_stopped(make_run, monkeypatch):
    settings = config(tuning="full", learning_rate=1e-3)
    whole = make_run(settings, name="whole", tasks=judged_tasks())
    perform(whole)
    run = make_run(settings, name="cancelled", tasks=judged_tasks())
    log = RunFolder.log
    monkeypatch.setattr(
        RunFolder, "log", lambda self, step, values: (log(self, step, values), step == 3 and self.cancel_here())
    )

    assert perform(run).state == CANCELLED
    assert not run.model.exists()
    assert run.progress().step in (3, 4)

    monkeypatch.undo()
    run = RunFolder(run.path)
    run.reopen()
    assert perform(run).state == SUCCEEDED
    assert_same_weights(run, whole)


def test_stated_strengths_become_margins(make_run):
    """The first loss is -log sigmoid(difference - margin): with a margin it is larger."""
    plain = make_run(config(), name="plain", tasks=judged_tasks())
    strong = make_run(config(), name="strong", tasks=judged_tasks(strength=4))
    ignored = make_run(config(margins=False), name="ignored", tasks=judged_tasks(strength=4))
    for run in (plain, strong, ignored):
        assert perform(run).state == SUCCEEDED

    assert metric(strong, "loss/train")[0] > metric(plain, "loss/train")[0]
    assert metric(ignored, "loss/train") == metric(plain, "loss/train")


def test_a_score_is_read_at_the_end_of_the_answer(make_run, tokenizer):
    import torch

    from training.recipes.checkpoints import load_reward_model
    from training.recipes.data import answer_tokens
    from training.recipes.engine import prompt_tokens
    from training.recipes.scoring import score

    run = make_run(config(), tasks=judged_tasks())
    perform(run)
    model = load_reward_model(run.model).eval()
    prompt = [{"role": "user", "content": "Question?"}]

    batched = score(
        model, tokenizer, [(prompt, "Yes."), (prompt, "No, never, not at all.")], max_length=96, batch_size=2
    )

    for text, value in zip(("Yes.", "No, never, not at all."), batched, strict=True):
        ids = torch.tensor([prompt_tokens(tokenizer, prompt) + answer_tokens(tokenizer, text)])
        assert model(input_ids=ids).logits.item() == pytest.approx(value, abs=1e-5)


def test_the_prompts_that_were_trained_on_are_remembered(make_run):
    from training.recipes.data import read_provenance

    run = make_run(config(), tasks=[*judged_tasks(4), *judged_tasks(6, split="validation")[4:]])
    perform(run)

    provenance = read_provenance(run.model)
    assert len(provenance["prompts"]) == 4
    assert provenance["trained"] == [{"method": "reward", "model": TINY, "pairs": 12, "tasks": 4}]


@pytest.mark.parametrize(
    ("tasks", "sentence"),
    [
        ([task_row(1, "a", "b", votes=(1, 1))], "no comparison to learn from"),
        ([task_row(1, "word " * 200, "b")], "are longer than 96 tokens"),
        ([task_row(1, "a", "b", split="validation"), task_row(2, "a", "b", split="test")], "from which nothing learns"),
    ],
)
def test_data_that_teaches_nothing_fails_with_a_sentence(make_run, tasks, sentence):
    outcome = perform(make_run(config(), tasks=tasks))
    assert outcome.state == "failed"
    assert sentence in outcome.error


def test_pairs_that_are_too_long_are_counted(make_run):
    tasks = [task_row(1, "word " * 200, "b", "c"), task_row(2, "a", "b")]
    summary = perform(make_run(config(eval_share=0), tasks=tasks)).summary
    assert (summary["pairs"], summary["too_long"]) == (2, 2)


def test_a_bad_setting_fails_with_a_sentence(make_run):
    run = make_run(config(), tasks=judged_tasks())
    values = json.loads((run.path / "config.json").read_text())
    (run.path / "config.json").write_text(json.dumps({**values, "epochs": 0}))

    assert perform(run).error == "Epochs: must be at least 1, not 0."
