"""A reward model: a policy with a score head in place of its word head, trained on comparisons.

After Ouyang et al. (2022): the loss of a pair is -log sigmoid(r(chosen) - r(rejected) - margin). Where this departs:

1. The score is read at the token that ends the answer, and the sequence ends there.
2. A pair costs two forward passes; one pass per answer would serve all pairs of a task.
3. The margin is the mean stated strength, as a share of the strongest; none where nobody stated one.
4. A small pull keeps the scores around zero: comparisons say nothing of their level.
"""

from __future__ import annotations

import logging
from typing import Any

from datasets import Dataset
from peft import get_peft_model
from trl import RewardConfig as TRLRewardConfig
from trl import RewardTrainer

from training.configs import RewardConfig
from training.recipes.checkpoints import folder_in_place, load_reward_model, load_tokenizer, merged, save_model
from training.recipes.data import divide, read_pairs, require, tokenize, write_provenance
from training.recipes.hardware import device_of, dtype_of
from training.recipes.scoring import accuracy, score_pairs
from training.recipes.trainer import frozen_dtype, lora, train, trl_arguments
from training.rundir import RunFolder

log = logging.getLogger(__name__)


def perform(run: RunFolder, config: RewardConfig) -> dict[str, Any]:
    base = run.model_folder(config.model)
    tokenizer = load_tokenizer(base)

    # 1. Data: pairs to learn from, and pairs of other prompts to measure on
    pairs = read_pairs(run.data / "tasks.parquet")
    to_train, held_out = divide(pairs, config)
    rows, training = tokenize(tokenizer, to_train, config.max_length)
    held_out_rows, held_out = tokenize(tokenizer, held_out, config.max_length)
    require(training, to_train, pairs, config)
    too_long = len(to_train) - len(training)
    log.info(
        "%d pairs to learn from (%d more are too long), %d held out, of %d.",
        *(len(training), too_long, len(held_out), len(pairs)),
    )

    # 2. Training
    columns = ["chosen_ids", "rejected_ids"]
    if config.margins and any(row["margin"] for row in rows):
        columns.append("margin")
    model = load_reward_model(base, frozen_dtype(config), seed=config.seed)
    if adapter := lora(config, "SEQ_CLS"):
        model = get_peft_model(model, adapter)
    trainer = RewardTrainer(
        model=model,
        args=TRLRewardConfig(
            **trl_arguments(run, config, held_out=len(held_out)),
            center_rewards_coefficient=config.center_coefficient or None,
        ),
        train_dataset=Dataset.from_list([sequences(row, columns) for row in rows]),
        eval_dataset=Dataset.from_list([sequences(row, columns) for row in held_out_rows]) if held_out else None,
        processing_class=tokenizer,
    )
    train(trainer, run)

    # 3. A plain model folder
    run.set_progress(trainer.state.global_step, trainer.state.max_steps, "saving")
    plain = trainer.model
    if adapter:
        plain = merged(lambda: load_reward_model(base, seed=config.seed), trainer.model)
    with folder_in_place(run.model) as folder:
        save_model(plain, tokenizer, folder)
        write_provenance(folder, base, config, training)

    steps = trainer.state.global_step
    del model, plain, trainer  # two copies of the weights, with their gradients

    # 4. How good it is, read from the folder as everybody will
    run.set_progress(steps, steps, "measuring")
    summary: dict[str, Any] = {"pairs": len(training), "too_long": too_long, "steps": steps, "held_out": None}
    if held_out:
        model = load_reward_model(run.model, dtype_of(config), device_of(config)).eval()
        scores = score_pairs(
            model,
            tokenizer,
            held_out,
            max_length=config.max_length,
            batch_size=2 * config.batch_size,
            between_batches=run.stop_if_asked,
        )
        summary["held_out"] = accuracy(held_out, scores, seed=config.seed)
    return summary


def sequences(row: dict[str, Any], columns: list[str]) -> dict[str, Any]:
    """TRL's reward trainer reads whole sequences: each answer with its prompt before it."""
    whole = {
        "chosen_ids": row["prompt_ids"] + row["chosen_ids"],
        "rejected_ids": row["prompt_ids"] + row["rejected_ids"],
        "margin": row["margin"],
    }
    return {column: whole[column] for column in columns}
