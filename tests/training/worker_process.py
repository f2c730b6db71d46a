"""`python -m tests.training.worker_process [HOST]`: a real worker process whose recipes are the patient one."""

import json
import os
import struct
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path


def safetensors(size: int = 4) -> bytes:
    """The smallest real file: one tensor of bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def plain_model(folder: Path) -> Path:
    """A folder that the registry takes, for recipes that never load it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(safetensors())
    return folder


def database_url() -> str:
    """How another process reaches the database of the tests."""
    from django.db import connection

    config = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{config['NAME']}"
    return f"postgres://{config['USER']}@/{config['NAME']}?host={config['OPTIONS']['host']}"


@contextmanager
def worker_process(storage, *, host: str = ""):
    """Runs until the block ends, and is then killed; its recipes may live on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.training.worker_process", *([host] if host else [])],
        env=os.environ | {"STORAGE": str(storage), "DATABASE_URL": database_url()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import socket

    import django

    django.setup()
    from django.core.management import call_command

    from training import worker
    from training.launchers import local

    if len(sys.argv) > 1:
        socket.gethostname = lambda: sys.argv[1]
    local.RECIPES = "tests.training.patient_recipe"
    worker.POLL_SECONDS = 0.05
    call_command("run_worker")
