"""What the recipes that use TRL share: its arguments, and what a run folder needs to hear of its steps."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback

from training.configs import PreferenceTrainingConfig
from training.recipes.checkpoints import newest_checkpoint, seal
from training.recipes.hardware import device_of, dtype_of
from training.rundir import Cancelled, RunFolder

log = logging.getLogger(__name__)

# TRL's names -> ours. What it measures on the held-out pairs comes with `eval_` before it.
NAMES = {
    "loss": "loss/train",
    "eval_loss": "loss/heldout",
    "accuracy": "rewards/accuracies",
    "margin": "rewards/margins",
    "min_reward": "score/min",
    "mean_reward": "score/mean",
    "max_reward": "score/max",
    "grad_norm": "optim/grad_norm",
    "learning_rate": "optim/learning_rate",
}
UNTOLD = {"epoch", "num_tokens", "total_flos", "train_loss"}  # or end in `runtime`, `per_second`


def trl_arguments(run: RunFolder, config: PreferenceTrainingConfig, *, held_out: int) -> dict[str, Any]:
    """Arguments that TRL's RewardConfig and DPOConfig both take. `held_out` is the number of pairs to measure on."""
    return {
        "output_dir": str(run.checkpoints),
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": config.batch_size,
        "per_device_eval_batch_size": equal_batches(held_out, 2 * config.batch_size),
        "gradient_accumulation_steps": config.gradient_accumulation,
        "gradient_checkpointing": config.gradient_checkpointing,
        "learning_rate": config.step_size(),
        "warmup_steps": config.warmup_share,  # below 1 it is a share
        "weight_decay": config.weight_decay,
        "eval_strategy": "steps" if held_out else "no",
        "eval_steps": config.eval_every or 1 / 5,  # below 1 it is a share
        "save_strategy": "steps",
        "save_steps": config.save_every,
        "save_total_limit": 2,
        "logging_steps": 1,
        "max_length": None,  # longer pairs are left out before
        "disable_dropout": config.lora_dropout == 0,
        "seed": config.seed,
        "use_cpu": device_of(config).type == "cpu",
        "bf16": dtype_of(config) is torch.bfloat16,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "report_to": [],
    }


def equal_batches(count: int, most: int) -> int:
    """The largest batch, up to `most`, that divides `count`: TRL averages the means of batches, however small the last.

    >>> equal_batches(18, 8), equal_batches(17, 8), equal_batches(0, 8)
    (6, 1, 1)
    """
    return max(size for size in range(1, most + 1) if size == 1 or (count and count % size == 0))


def lora(config: PreferenceTrainingConfig, task_type: str) -> LoraConfig | None:
    if config.tuning == "full":
        return None
    return LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules="all-linear",
        task_type=task_type,
    )


def frozen_dtype(config: PreferenceTrainingConfig) -> torch.dtype:
    """Weights that are trained stay in fp32; those that LoRA leaves alone may be in the format of the computation."""
    return dtype_of(config) if config.tuning == "lora" else torch.float32


class Reporter(TrainerCallback):
    """Writes metrics and progress, seals checkpoints, and stops when asked."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.cancelled = False

    def on_train_begin(self, args, state, control, **kwargs):
        self.run.set_progress(state.global_step, state.max_steps, "training")

    def on_substep_end(self, args, state, control, **kwargs):
        self._look(control)

    def on_step_end(self, args, state, control, **kwargs):
        self.run.set_progress(state.global_step, state.max_steps, "training")
        self._look(control)
        control.should_save |= self.cancelled

    def on_log(self, args, state, control, logs=None, **kwargs):
        if metrics := told(logs or {}):
            self.run.log(state.global_step, metrics)

    def on_save(self, args, state, control, **kwargs):
        seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")
        log.info("Checkpoint at step %d of %d.", state.global_step, state.max_steps)

    def _look(self, control) -> None:
        try:
            self.run.stop_if_asked()
        except Cancelled:
            self.cancelled = control.should_training_stop = True


def told(logs: dict[str, Any]) -> dict[str, float]:
    """TRL's log line in our names.

    >>> told({"loss": 0.7, "eval_accuracy": 0.6, "rewards/margins": 0.1, "eval_rewards/margins": 0.2, "epoch": 1.0})
    {'loss/train': 0.7, 'heldout/rewards/accuracies': 0.6, 'rewards/margins': 0.1, 'heldout/rewards/margins': 0.2}
    """
    metrics = {}
    for name, value in logs.items():
        bare = name.removeprefix("eval_")
        if bare in UNTOLD or name.startswith("train_") or bare.endswith(("runtime", "per_second")):
            continue
        side = "heldout/" if bare != name and name not in NAMES else ""
        metrics[side + NAMES.get(name, NAMES.get(bare, bare))] = float(value)
    return metrics


def train(trainer, run: RunFolder) -> None:
    """Train to the end, from the last good checkpoint if there is one. Raises Cancelled."""
    reporter = Reporter(run)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(reporter)
    checkpoint = newest_checkpoint(run.checkpoints)
    if checkpoint:
        log.info("Going on from %s.", checkpoint.name)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if reporter.cancelled:
        raise Cancelled(f"Cancelled on request at step {trainer.state.global_step} of {trainer.state.max_steps}.")
