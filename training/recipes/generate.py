"""Answers to prompts, for people to rank.

The first part is one prompt, the second two, then as many as fill a batch: the first task can be judged while the
others are being written. A part holds whole prompts, so a resumed run goes on with the first prompt that is in no part.

An answer that reaches the limit is drawn once more at double length, with the same random numbers: that repeats it
word for word and goes on, so here it simply goes on. One that reaches the double length too is marked as cut.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

from training.configs import GenerateConfig
from training.recipes.checkpoints import load_policy, load_tokenizer
from training.recipes.engine import Answer, Request, prompt_tokens, sample
from training.recipes.hardware import device_of, dtype_of
from training.rundir import Row, RunFolder, read_rows

TRIES = 3  # for an answer that repeats another one
log = logging.getLogger(__name__)


def perform(run: RunFolder, config: GenerateConfig) -> dict[str, Any]:
    prompts = read_rows(run.data / "prompts.parquet")
    done = {row["prompt_id"] for row in run.sampled()}
    total = sum(prompt["wanted"] for prompt in prompts)
    written = sum(prompt["wanted"] for prompt in prompts if prompt["prompt_id"] in done)
    if done:
        log.info("%d of %d prompts are answered already.", len(done), len(prompts))

    folder = run.model_folder(config.model)
    tokenizer = load_tokenizer(folder)
    model = load_policy(folder, dtype_of(config), device_of(config)).eval()

    for batch in batches([prompt for prompt in prompts if prompt["prompt_id"] not in done], config.batch_size):
        run.set_progress(written, total, "answering")
        run.stop_if_asked()
        answers = answer_prompts(run, config, model, tokenizer, batch)
        run.write_part([row for prompt in batch for row in answers[prompt["prompt_id"]]])
        written += sum(prompt["wanted"] for prompt in batch)
        log.info("%d of %d answers.", written, total)
    run.set_progress(written, total, "done")

    rows = list(run.sampled())
    return {
        "prompts": len({row["prompt_id"] for row in rows}),
        "answers": len(rows),
        "tokens": sum(row["tokens"] for row in rows),
        "cut": sum(row["cut"] for row in rows),
    }


def batches(prompts: list[Row], size: int) -> Iterator[list[Row]]:
    """One prompt, then two, then as many as their answers fill a batch (one at least).

    >>> [len(batch) for batch in batches([{"wanted": 4}] * 14, 16)]
    [1, 2, 4, 4, 3]
    """
    limits = iter([1, 2])
    while prompts:
        count = next(limits, max(1, size // max(1, prompts[0]["wanted"])))
        yield prompts[:count]
        prompts = prompts[count:]


def answer_prompts(
    run: RunFolder, config: GenerateConfig, model, tokenizer, prompts: list[Row]
) -> dict[int, list[Row]]:
    """The wanted answers of each prompt. An answer that repeats another is drawn again, at most `TRIES` times."""
    tokens = {prompt["prompt_id"]: prompt_tokens(tokenizer, json.loads(prompt["messages"])) for prompt in prompts}
    texts = {prompt["prompt_id"]: set(json.loads(prompt["existing"])) for prompt in prompts}
    first = {prompt["prompt_id"]: len(json.loads(prompt["existing"])) for prompt in prompts}
    slots = [(p["prompt_id"], first[p["prompt_id"]] + number) for p in prompts for number in range(p["wanted"])]

    found: dict[tuple[int, int], Answer] = {}
    for attempt in range(1 + TRIES):
        open_slots = [slot for slot in slots if slot not in found]
        requests = [
            Request(tokens[prompt], temperature_of(config, number), key=(config.seed, prompt, number, attempt))
            for prompt, number in open_slots
        ]
        if not requests:
            break
        for slot, answer in zip(open_slots, sample_all(run, config, model, tokenizer, requests), strict=True):
            prompt_id, _ = slot
            if answer.text not in texts[prompt_id] or attempt == TRIES:
                texts[prompt_id].add(answer.text)
                found[slot] = answer

    task = {prompt["prompt_id"]: prompt["task_id"] for prompt in prompts}
    rows: dict[int, list[Row]] = {prompt["prompt_id"]: [] for prompt in prompts}
    for prompt_id, number in slots:
        rows[prompt_id].append(
            {
                "task_id": task[prompt_id],
                "prompt_id": prompt_id,
                "text": found[prompt_id, number].text,
                "tokens": found[prompt_id, number].tokens,
                "cut": found[prompt_id, number].cut,
                "model": config.model,
                "sampling": json.dumps(
                    {
                        "temperature": temperature_of(config, number),
                        "top_p": config.top_p,
                        "max_new_tokens": config.max_new_tokens,
                        "seed": config.seed,
                    }
                ),
            }
        )
    return rows


def temperature_of(config: GenerateConfig, number: int) -> float:
    return config.temperatures[number % len(config.temperatures)]


def sample_all(run: RunFolder, config: GenerateConfig, model, tokenizer, requests: list[Request]) -> list[Answer]:
    answers: list[Answer] = []
    for start in range(0, len(requests), config.batch_size):
        answers += sample(
            model,
            tokenizer,
            requests[start : start + config.batch_size],
            top_p=config.top_p,
            max_new_tokens=2 * config.max_new_tokens,
            between_tokens=run.stop_if_asked,
        )
    return answers
