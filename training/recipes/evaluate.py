"""How good a model is. A reward model: how often it agrees with people. A policy: how often a judge prefers it.

A reward model is measured on the comparisons of prompts that it saw in no training, beside what the lengths of the
texts alone would say. Two policies answer prompts that neither they nor the judge saw, with the same settings and the
same random numbers; the judge, a reward model, scores both. Ties count as half a win. Intervals take the prompts, not
the answers, as the observations. What the judge was trained on is part of the result: it is no stranger's opinion.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from training.configs import EvaluateConfig
from training.recipes.algorithms.intervals import share
from training.recipes.algorithms.winrates import length_controlled, verdict, win
from training.recipes.checkpoints import load_policy, load_reward_model, load_tokenizer
from training.recipes.data import prompt_hash, read_pairs, read_provenance
from training.recipes.engine import Answer, Request, prompt_tokens, sample
from training.recipes.hardware import device_of, dtype_of
from training.recipes.scoring import accuracy, score, score_pairs
from training.rundir import BrokenRun, Row, RunFolder, read_rows

log = logging.getLogger(__name__)


def perform(run: RunFolder, config: EvaluateConfig) -> dict[str, Any]:
    if config.baseline is None:
        return {"kind": "accuracy", **measure_reward_model(run, config)}
    return {"kind": "win_rate", **compare_policies(run, config)}


def measure_reward_model(run: RunFolder, config: EvaluateConfig) -> dict[str, Any]:
    folder = run.model_folder(config.model)
    trained = read_provenance(folder)
    seen = set(trained["prompts"])
    pairs = read_pairs(run.data / "tasks.parquet")
    # A model from elsewhere does not say what it saw; for it the snapshot's training prompts count as seen.
    unseen = [p for p in pairs if p.prompt_hash not in seen and (seen or p.split != "train")]
    if not unseen:
        raise BrokenRun("No comparison is left to measure on: the model saw the prompts of all of them in training.")
    log.info("%d of %d pairs are of prompts that the model never saw.", len(unseen), len(pairs))

    run.set_progress(0, 0, "scoring")
    tokenizer = load_tokenizer(folder)
    model = load_reward_model(folder, dtype_of(config), device_of(config)).eval()
    scores = score_pairs(
        model,
        tokenizer,
        unseen,
        max_length=config.max_length,
        batch_size=config.batch_size,
        between_batches=run.stop_if_asked,
    )
    return {**accuracy(unseen, scores, seed=config.seed), "trained_on": trained["trained"]}


def compare_policies(run: RunFolder, config: EvaluateConfig) -> dict[str, Any]:
    prompts, left_out = unseen_prompts(run, config)
    names = [config.model, config.baseline]
    total = len(prompts) * config.per_prompt * len(names)
    judge_folder = run.model_folder(config.judge)
    judge_tokenizer = load_tokenizer(judge_folder)
    judge = load_reward_model(judge_folder, dtype_of(config), device_of(config)).eval()

    at_once = max(1, config.batch_size // config.per_prompt)

    # 1. Answers of both, scored, in parts that a resumed run does not write again
    done = {(row["model"], row["prompt_id"]) for row in run.sampled()}
    written = len(done) * config.per_prompt
    for name in names:
        waiting = [prompt for prompt in prompts if (name, prompt["prompt_id"]) not in done]
        if not waiting:
            continue
        tokenizer = load_tokenizer(run.model_folder(name))
        model = load_policy(run.model_folder(name), dtype_of(config), device_of(config)).eval()
        for start in range(0, len(waiting), at_once):
            part = waiting[start : start + at_once]
            run.set_progress(written, total, f"answers of {name}")
            owners = [prompt for prompt in part for _ in range(config.per_prompt)]
            answers = answer(run, config, model, tokenizer, part)
            conversations = [(json.loads(p["messages"]), a.text) for p, a in zip(owners, answers, strict=True)]
            scores = score(
                judge, judge_tokenizer, conversations, max_length=config.max_length, batch_size=config.batch_size
            )
            run.write_part(
                [
                    {
                        "prompt_id": prompt["prompt_id"],
                        "model": name,
                        "text": given.text,
                        "score": value,
                        "tokens": given.tokens,
                        "cut": given.cut,
                    }
                    for prompt, given, value in zip(owners, answers, scores, strict=True)
                ]
            )
            written += len(answers)
            log.info("%d of %d answers.", written, total)
    run.set_progress(total, total, "done")

    # 2. Who wins
    return {
        **win_rate(list(run.sampled()), config),
        "prompts_left_out": left_out,
        "judge_trained_on": read_provenance(judge_folder)["trained"],
    }


def unseen_prompts(run: RunFolder, config: EvaluateConfig) -> tuple[list[Row], int]:
    """The prompts that none of the three models saw in training, and how many they did."""
    seen: set[str] = set()
    for name in config.models().values():
        seen |= set(read_provenance(run.model_folder(name))["prompts"])
    prompts = read_rows(run.data / "prompts.parquet")
    unseen = [prompt for prompt in prompts if prompt_hash(json.loads(prompt["messages"])) not in seen]
    if not unseen:
        raise BrokenRun("No prompt is left to compare on: each of them was seen in training.")
    return unseen, len(prompts) - len(unseen)


def answer(run: RunFolder, config: EvaluateConfig, model, tokenizer, prompts: Sequence[Row]) -> list[Answer]:
    """`per_prompt` answers to each prompt. The random numbers depend on the prompt, not on the model."""
    requests = [
        Request(
            prompt_tokens(tokenizer, json.loads(prompt["messages"])),
            config.temperature,
            key=(config.seed, prompt["prompt_id"], number),
        )
        for prompt in prompts
        for number in range(config.per_prompt)
    ]
    answers: list[Answer] = []
    for start in range(0, len(requests), config.batch_size):
        answers += sample(
            model,
            tokenizer,
            requests[start : start + config.batch_size],
            top_p=config.top_p,
            max_new_tokens=config.max_new_tokens,
            between_tokens=run.stop_if_asked,
        )
    return answers


def win_rate(rows: Sequence[Row], config: EvaluateConfig) -> dict[str, Any]:
    """How often the model's answer has the higher score, answer number n against answer number n."""
    by_model = {name: [row for row in rows if row["model"] == name] for name in (config.model, config.baseline)}
    ours, theirs = (sorted(found, key=lambda row: row["prompt_id"]) for found in by_model.values())
    wins = [win(a["score"], b["score"]) for a, b in zip(ours, theirs, strict=True)]
    mean, low, high = share(wins, [row["prompt_id"] for row in ours], seed=config.seed)
    return {
        "prompts": len({row["prompt_id"] for row in ours}),
        "answers": len(wins),
        "wins": wins.count(1.0),
        "ties": wins.count(0.5),
        "losses": wins.count(0.0),
        "win_rate": mean,
        "win_rate_ci": [low, high],
        "length_controlled": length_controlled(
            wins, [len(a["text"]) - len(b["text"]) for a, b in zip(ours, theirs, strict=True)]
        ),
        "verdict": verdict(low, high),
        "mean_score": {row[0]["model"]: round(sum(r["score"] for r in row) / len(row), 4) for row in (ours, theirs)},
        "mean_tokens": {row[0]["model"]: round(sum(r["tokens"] for r in row) / len(row), 1) for row in (ours, theirs)},
        "cut": {row[0]["model"]: sum(r["cut"] for r in row) for row in (ours, theirs)},
    }
