"""Direct preference optimisation, after Rafailov et al. (2023): the policy is its own reward model.

Where this departs from TRL: the texts are tokenized in `data.py`, and the trained answer ends with the token that ends
the turn, so that the policy learns to stop there and not to write the template's newline. With LoRA the reference model
is the policy without its added matrices; a full training keeps a frozen copy.
"""

from __future__ import annotations

import logging
from typing import Any

from datasets import Dataset
from peft import get_peft_model
from trl import DPOConfig as TRLDPOConfig
from trl import DPOTrainer

from training.configs import DPOConfig
from training.recipes.checkpoints import folder_in_place, load_policy, load_tokenizer, merged, save_model
from training.recipes.data import divide, read_pairs, require, tokenize, write_provenance
from training.recipes.trainer import frozen_dtype, lora, train, trl_arguments
from training.rundir import RunFolder

log = logging.getLogger(__name__)


class TokenizedDPOTrainer(DPOTrainer):
    """TRL's trainer on rows that are tokens already."""

    def _prepare_dataset(self, dataset, processing_class, args, dataset_name):
        return dataset


def perform(run: RunFolder, config: DPOConfig) -> dict[str, Any]:
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
    policy = load_policy(base, frozen_dtype(config))
    if adapter := lora(config, "CAUSAL_LM"):
        policy = get_peft_model(policy, adapter)
    trainer = TokenizedDPOTrainer(
        model=policy,
        ref_model=None if adapter else load_policy(base, frozen_dtype(config)),
        args=TRLDPOConfig(
            **trl_arguments(run, config, held_out=len(held_out)),
            beta=config.beta,
            label_smoothing=config.label_smoothing,
        ),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(held_out_rows) if held_out else None,
        processing_class=tokenizer,
    )
    train(trainer, run)

    # 3. A plain model folder
    run.set_progress(trainer.state.global_step, trainer.state.max_steps, "saving")
    plain = merged(lambda: load_policy(base), trainer.model) if adapter else trainer.model
    with folder_in_place(run.model) as folder:
        save_model(plain, tokenizer, folder)
        write_provenance(folder, base, config, training)

    return {
        "pairs": len(training),
        "too_long": too_long,
        "steps": trainer.state.global_step,
        "held_out": last_measured(trainer),
    }


def last_measured(trainer) -> dict[str, float] | None:
    """What was measured on the held-out pairs at the end."""
    found = [line for line in trainer.state.log_history if "eval_loss" in line]
    if not found:
        return None
    return {
        "accuracy": round(found[-1]["eval_rewards/accuracies"], 4),
        "mean_margin": round(found[-1]["eval_rewards/margins"], 4),
        "loss": round(found[-1]["eval_loss"], 4),
    }
