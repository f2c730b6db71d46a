"""DPO makes what people chose likelier and leaves a plain policy behind."""

import pytest

from tests.training.conftest import TINY, judged_tasks
from training.configs import DPOConfig
from training.rundir import SUCCEEDED, RunFolder

pytestmark = pytest.mark.recipe


def config(**fields) -> DPOConfig:
    usual = {"threads": 1, "precision": "fp32", "max_length": 96, "batch_size": 2, "gradient_accumulation": 1}
    return DPOConfig(model=TINY, **{**usual, **fields})


def perform(run: RunFolder):
    from training.recipes.__main__ import perform

    outcome = perform(run)
    run.finish(outcome)
    return outcome


def metric(run: RunFolder, name: str) -> list[float]:
    return [row["metrics"][name] for row in run.read_metrics()[0] if name in row["metrics"]]


def margin(folder, tokenizer) -> float:
    """By how much a thankful answer is likelier than a shouted one, as the model in the folder sees it."""
    import torch

    from training.recipes.checkpoints import load_policy
    from training.recipes.data import answer_tokens
    from training.recipes.engine import prompt_tokens

    model = load_policy(folder).eval()
    prompt = prompt_tokens(tokenizer, [{"role": "user", "content": "Question 3?"}])

    def likelihood(text: str) -> float:
        answer = answer_tokens(tokenizer, text)
        with torch.no_grad():
            logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        return logits.log_softmax(-1)[range(len(answer)), answer].sum().item()

    return likelihood("Thank you, cloud it is.") - likelihood("NO NO NO cloud!!!")


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_chosen_answers_become_likelier(make_run, tiny, tokenizer, tuning):
    run = make_run(
        config(tuning=tuning, epochs=3, max_pairs=8, max_eval_pairs=2, learning_rate=1e-2), tasks=judged_tasks()
    )

    outcome = perform(run)

    assert outcome.state == SUCCEEDED, outcome.error
    assert metric(run, "loss/train")[0] == pytest.approx(0.6931, abs=1e-3)  # ln 2: policy and reference are one
    assert metric(run, "loss/train")[-1] < 0.3
    assert outcome.summary["held_out"]["accuracy"] == metric(run, "heldout/rewards/accuracies")[-1]
    assert margin(run.model, tokenizer) > margin(tiny, tokenizer) + 1
    assert {path.suffix for path in run.model.iterdir()} == {".safetensors", ".json"}
    assert run.is_complete()


def test_a_larger_beta_stays_nearer_to_the_reference(make_run, tiny):
    from safetensors.torch import load_file

    base = load_file(tiny / "model.safetensors")
    moved = {}
    for beta in (0.05, 5.0):
        run = make_run(
            config(tuning="full", epochs=4, max_pairs=4, eval_share=0, learning_rate=1e-3, beta=beta),
            name=f"beta-{beta}",
            tasks=judged_tasks(),
        )
        assert perform(run).state == SUCCEEDED
        trained = load_file(run.model / "model.safetensors")
        moved[beta] = sum((trained[name] - base[name]).norm().item() for name in base)
    assert moved[5.0] < moved[0.05]


def test_the_policy_remembers_the_prompts_of_all_its_trainings(make_run):
    from training.recipes.data import read_provenance

    first = make_run(config(max_pairs=6), name="first", tasks=judged_tasks(3))
    perform(first)
    second = make_run(
        DPOConfig(**{**config(max_pairs=4).model_dump(), "model": "first@1"}),
        name="second",
        models={"first@1": first.model},
        tasks=judged_tasks(5)[3:],
    )
    perform(second)

    provenance = read_provenance(second.model)
    assert [training["model"] for training in provenance["trained"]] == [TINY, "first@1"]
    assert set(read_provenance(first.model)["prompts"]) < set(provenance["prompts"])
