"""Comparisons for training: from the snapshot's `tasks.parquet` to tokens.

The tokens are made here and not by TRL, for two reasons. A text that holds `<|im_end|>` must not end its turn: people
and models write anything. And the answer ends with the token that ends a turn, not with the newline that the chat
template puts behind it and that no model ever writes: a reward model must be read where answers end.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from training.configs import PreferenceTrainingConfig
from training.recipes.engine import prompt_tokens
from training.rundir import BrokenRun, read_json, read_rows, write_json

Message = dict[str, str]


@dataclass(frozen=True)
class Pair:
    """Two answers of which most annotators prefer the first."""

    task: int
    messages: tuple[tuple[str, str], ...]  # (role, content)
    chosen: str
    rejected: str
    margin: float  # as a share of the strongest preference; 0 where nobody said how strongly
    split: str

    @property
    def prompt(self) -> list[Message]:
        return [{"role": role, "content": content} for role, content in self.messages]

    @property
    def prompt_hash(self) -> str:
        return prompt_hash(self.prompt)


def prompt_hash(messages: Sequence[Message]) -> str:
    """What identifies a prompt, in whatever snapshot, project or file it is.

    >>> prompt_hash([{"role": "user", "content": "Hi"}]) == prompt_hash([{"content": "Hi", "role": "user"}])
    True
    """
    turns = [[message["role"], message["content"]] for message in messages]
    return hashlib.sha256(json.dumps(turns, ensure_ascii=False).encode()).hexdigest()


def read_pairs(tasks: Path) -> list[Pair]:
    """Every comparison that has a winner. Ties teach no order, and equal texts no difference."""
    pairs = []
    for row in read_rows(tasks):
        texts = {candidate["id"]: candidate["text"] for candidate in json.loads(row["candidates"])}
        strong = any(ranking.get("strength") for ranking in json.loads(row["rankings"]))
        messages = tuple((message["role"], message["content"]) for message in json.loads(row["prompt"]))
        for comparison in json.loads(row["comparisons"]):
            chosen, rejected = texts[comparison["i"]], texts[comparison["j"]]
            if comparison["votes_for"] > comparison["votes_against"] and chosen != rejected:
                margin = comparison["margin"] if strong else 0.0
                pairs.append(Pair(row["task_id"], messages, chosen, rejected, margin, row["split"]))
    return pairs


def divide(pairs: Sequence[Pair], config: PreferenceTrainingConfig) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on and pairs held out, no prompt on both sides.

    The snapshot's validation prompts are held out, and as many training prompts more as `eval_share` asks for. Its test
    prompts are on neither side.
    """
    split = {pair.prompt_hash: pair.split for pair in pairs if pair.split != "test"}
    held_out = {prompt for prompt, side in split.items() if side == "validation"}
    training = sorted(set(split) - held_out)  # in the order of their hashes: the same for everybody
    missing = min(ceil(config.eval_share * len(split)) - len(held_out), len(training) - 1)
    held_out |= set(training[: max(0, missing)])

    used = [pair for pair in pairs if pair.prompt_hash in split]
    return (
        spread([pair for pair in used if pair.prompt_hash not in held_out], config.max_pairs, config.seed),
        spread([pair for pair in used if pair.prompt_hash in held_out], config.max_eval_pairs, config.seed),
    )


def spread(pairs: Sequence[Pair], most: int | None, seed: int) -> list[Pair]:
    """At most so many pairs, taken from the tasks in turn: no task has two more than another that had more to give."""
    shuffled = random.Random(seed).sample(pairs, len(pairs))
    by_task: dict[int, list[Pair]] = defaultdict(list)
    for pair in shuffled:
        by_task[pair.task].append(pair)
    rounds = sorted((place, n) for n, task in enumerate(by_task) for place in range(len(by_task[task])))
    tasks = list(by_task.values())
    return [tasks[n][place] for place, n in rounds[:most]]


def answer_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The answer as a model writes it: its text, in which no token is special, and the token that ends the turn."""
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [*ids, tokenizer.eos_token_id]


def tokenize(
    tokenizer: PreTrainedTokenizerBase, pairs: Iterable[Pair], max_length: int
) -> tuple[list[dict[str, Any]], list[Pair]]:
    """Rows of tokens, and the pairs that they stand for: those that fit into `max_length`."""
    rows, kept = [], []
    for pair in pairs:
        prompt = prompt_tokens(tokenizer, pair.prompt)
        chosen, rejected = answer_tokens(tokenizer, pair.chosen), answer_tokens(tokenizer, pair.rejected)
        if len(prompt) + max(len(chosen), len(rejected)) <= max_length:
            rows.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected, "margin": pair.margin})
            kept.append(pair)
    return rows, kept


def require(
    fitting: Sequence[Pair], training: Sequence[Pair], pairs: Sequence[Pair], config: PreferenceTrainingConfig
) -> None:
    """Raise BrokenRun where nothing is left to learn from: of all pairs those to train on, of these those that fit."""
    if not pairs:
        raise BrokenRun(
            "The snapshot has no comparison to learn from: it needs tasks in which an answer was preferred to another."
        )
    if not training:
        raise BrokenRun("All judged prompts are of the validation and test splits, from which nothing learns.")
    if not fitting:
        raise BrokenRun(f"All {len(training)} pairs are longer than {config.max_length} tokens. Raise max_length.")


# What a model was trained on, kept in its folder

PROVENANCE = "provenance.json"


def write_provenance(folder: Path, base: Path, config: PreferenceTrainingConfig, pairs: Sequence[Pair]) -> None:
    """Remember the prompts that this model and those before it saw in training, by their hashes."""
    earlier = read_provenance(base)
    write_json(
        folder / PROVENANCE,
        {
            "trained": [
                *earlier["trained"],
                {
                    "method": config.method,
                    "model": config.model,
                    "pairs": len(pairs),
                    "tasks": len({pair.task for pair in pairs}),
                },
            ],
            "prompts": sorted({*earlier["prompts"], *(pair.prompt_hash for pair in pairs)}),
        },
    )


def read_provenance(folder: Path) -> dict[str, Any]:
    return read_json(folder / PROVENANCE, default={"trained": [], "prompts": []})
