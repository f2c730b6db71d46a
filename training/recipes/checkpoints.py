"""Model folders: what `model/` holds, how it is read, and how it is written.

A model folder holds safetensors and JSON only: nothing in it can run code. The chat template is a field of
`tokenizer_config.json`. Weights are fp32: the small changes that LoRA makes are lost when a bf16 weight is rounded.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from training.rundir import BrokenRun, put_in_place, read_json, sha256, sync, unfinished, write_json

PLAIN = {".safetensors", ".json"}


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer, with a pad token that is not the end of a turn.

    If they were one token, a mask made by `ids != pad` would hide the turn ends of the prompt, and a reward model would
    be read one token too early.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.chat_template is None:
        raise BrokenRun(f"The tokenizer in {folder} has no chat template: it cannot read conversations.")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.pad_token = spare_token(tokenizer)
    return tokenizer


def spare_token(tokenizer: PreTrainedTokenizerBase) -> str:
    """A special token of the vocabulary that ends no turn."""
    for token in ("<|endoftext|>", "<|finetune_right_pad_id|>", "<pad>", tokenizer.unk_token):
        if token and token != tokenizer.eos_token and token in tokenizer.get_vocab():
            return token
    raise BrokenRun("The tokenizer has no token to pad with besides the one that ends a turn.")


def load_policy(
    folder: Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device)


def load_reward_model(
    folder: Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", *, seed: int | None = None
) -> PreTrainedModel:
    """A model with one score. Made of a policy, its score head is drawn from `seed`; without a seed that is refused."""
    config = read_json(folder / "config.json")
    if not any("SequenceClassification" in name for name in config.get("architectures") or []):
        if seed is None:
            raise BrokenRun(f"The model in {folder} is not a reward model: it has no score head.")
        torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=dtype).to(device)
    model.config.pad_token_id = load_tokenizer(folder).pad_token_id
    return model


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a plain model into an empty folder: one of `folder_in_place`, that nobody takes for complete yet."""
    model.config.pad_token_id = tokenizer.pad_token_id
    if model.can_generate():
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    if strange := [path.name for path in folder.rglob("*") if path.suffix not in PLAIN]:
        raise BrokenRun(f"A model folder holds safetensors and JSON only, not {', '.join(strange)}.")


@contextmanager
def folder_in_place(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the name `folder` when the block ends well."""
    working = unfinished(folder)
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir(parents=True)
    yield working
    for path in working.rglob("*"):
        path.chmod(0o644)  # safetensors writes 0600; the web server and the worker may be different users
        sync(path)
    shutil.rmtree(folder, ignore_errors=True)
    put_in_place(folder)


# Checkpoints of a training run. They hold pickles (optimizer, random state): read only by the run that wrote them.

SEAL = "complete.json"


def seal(checkpoint: Path) -> None:
    """Mark a checkpoint as complete: the checksums of its files, written after them."""
    files = {path.name: sha256(path) for path in sorted(checkpoint.iterdir()) if path.is_file() and path.name != SEAL}
    write_json(checkpoint / SEAL, {"files": files})


def is_sealed(checkpoint: Path) -> bool:
    try:
        files = read_json(checkpoint / SEAL)["files"]
        return all(sha256(checkpoint / name) == checksum for name, checksum in files.items())
    except (BrokenRun, OSError, json.JSONDecodeError):
        return False


def newest_checkpoint(checkpoints: Path) -> Path | None:
    """The last good checkpoint. One that a killed process left half-written is removed."""
    found = sorted(checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for checkpoint in found:
        if is_sealed(checkpoint):
            return checkpoint
        shutil.rmtree(checkpoint)
    return None


def merged(fresh: Callable[[], PreTrainedModel], trained: PreTrainedModel) -> PreTrainedModel:
    """The plain model of a LoRA-trained one: its matrices added to weights loaded afresh in fp32."""
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    adapter = {name: value.float().cpu() for name, value in get_peft_model_state_dict(trained).items()}
    model = get_peft_model(fresh(), trained.peft_config["default"])
    set_peft_model_state_dict(model, adapter)
    return model.merge_and_unload(safe_merge=True)
