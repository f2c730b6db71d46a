"""What this machine computes with: threads, device, number format."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from training.configs import RecipeConfig


def set_threads(threads: int) -> None:
    """0 takes the cores that this process may use: in a container fewer than the machine has."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads or usable)


def device_of(config: RecipeConfig) -> torch.device:
    device = torch.device(config.device.partition(":")[0])  # the command shows the process only this one
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f"This machine has no usable CUDA device; the run asks for {config.device}. Choose cpu.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise RuntimeError("This machine has no usable MPS device. Choose cpu.")
    return device


def dtype_of(config: RecipeConfig) -> torch.dtype:
    """The number format to compute in; weights are stored in fp32 whatever it is."""
    match config.precision:
        case "fp32":
            return torch.float32
        case "bf16":
            return torch.bfloat16
        case _:
            return torch.bfloat16 if fast_in_bf16(device_of(config)) else torch.float32


def fast_in_bf16(device: torch.device) -> bool:
    """A CPU without AVX512-BF16 or AMX emulates bf16, several times slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool({"avx512_bf16", "amx_bf16"} & cpu_flags())


def cpu_flags() -> set[str]:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return set()
    flags = next((line for line in info.read_text().splitlines() if line.startswith("flags")), "")
    return set(flags.partition(":")[2].split())
