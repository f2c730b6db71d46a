"""A tiny random Llama with the real tokenizer, and run folders to train it in."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from training.configs import RecipeConfig
from training.rundir import Row, RunFolder, write_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded, as the recipes' command does
SMOLLM2 = Path(__file__).parents[2] / ".setup" / "models" / "smollm2-135m-instruct"
TINY = "tiny@1"


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real model, prepared once per checkout."""
    from training.recipes.prepare_smollm2 import prepare

    prepare(SMOLLM2)
    return SMOLLM2


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    from training.recipes.checkpoints import load_tokenizer
    from training.recipes.prepare_smollm2 import gguf_file, prepare_tokenizer

    return load_tokenizer(SMOLLM2) if SMOLLM2.exists() else prepare_tokenizer(gguf_file())


@pytest.fixture(scope="session")
def tiny(tokenizer, tmp_path_factory) -> Path:
    """A policy of two layers, nearly all of it the embedding of the real vocabulary."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from training.recipes.checkpoints import folder_in_place, save_model

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.5,  # at the usual 0.02 every answer is nearly equally likely, and nothing can be told apart
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    with folder_in_place(folder) as working:
        save_model(LlamaForCausalLM(config), tokenizer, working)
    return folder


@pytest.fixture
def make_run(tiny, tmp_path) -> Callable[..., RunFolder]:
    """A run folder; `models` are named folders besides the tiny policy."""

    def make(
        config: RecipeConfig, *, name: str = "run", models: dict[str, Path] | None = None, **data: Any
    ) -> RunFolder:
        folders = {TINY: tiny, **(models or {})}
        run = RunFolder.create(
            tmp_path / name, config, {model: {"folder": str(folder)} for model, folder in folders.items()}
        )
        for kind, rows in data.items():
            write_rows(run.data / f"{kind}.parquet", rows)
        return run

    return make


def prompt_row(number: int, question: str = "", *, wanted: int = 2, existing: Sequence[str] = ()) -> Row:
    messages = [{"role": "user", "content": question or f"Question {number}?"}]
    return {
        "prompt_id": number,
        "task_id": 100 + number,
        "messages": json.dumps(messages),
        "language": "en",
        "existing": json.dumps(list(existing)),
        "wanted": wanted,
    }


def task_row(
    number: int, *answers: str, split: str = "train", strength: int | None = None, votes: tuple[int, int] = (1, 0)
) -> Row:
    """A judged task; its answers are given best first."""
    candidates = [{"id": 10 * number + place, "text": text, "model": "m"} for place, text in enumerate(answers)]
    ids = [candidate["id"] for candidate in candidates]
    comparisons = [
        {
            "i": ids[better],
            "j": ids[worse],
            "votes_for": votes[0],
            "votes_against": votes[1],
            "ties": 0,
            "weight": 1.0,
            "margin": strength / 4 if strength else 1.0,
        }
        for better in range(len(ids))
        for worse in range(better + 1, len(ids))
    ]
    ranking = {"id": number, "annotator": "a", "tiers": [[i] for i in ids], "unranked": [], "all_bad": False}
    return {
        "task_id": number,
        "prompt": json.dumps([{"role": "user", "content": f"Question {number}?"}]),
        "split": split,
        "tags": "[]",
        "candidates": json.dumps(candidates),
        "rankings": json.dumps([{**ranking, "strength": strength}]),
        "comparisons": json.dumps(comparisons),
    }


WORDS = ["apple", "river", "stone", "cloud", "seven", "green", "music", "paper"]


def judged_tasks(count: int = 8, **fields: Any) -> list[Row]:
    """Tasks in which the answer that thanks is best and the one that shouts is worst."""
    return [
        task_row(
            number,
            f"Thank you, {WORDS[number % 8]} it is.",
            f"It is {WORDS[number % 8]}.",
            f"NO NO NO {WORDS[number % 8]}!!!",
            **fields,
        )
        for number in range(1, count + 1)
    ]
