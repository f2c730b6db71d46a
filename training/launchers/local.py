"""Recipes as processes of this machine, each in a process group of its own.

A recipe outlives the worker that started it: the next worker finds it by its command line, which names the run
folder, and goes on supervising. No number in a file is trusted, so no stranger's process is ever taken for ours.
"""

import os
import signal
import sys
from contextlib import suppress
from subprocess import DEVNULL, STDOUT

import psutil
from django.conf import settings

from training.configs import RecipeConfig
from training.rundir import RunFolder

SECRETS = ("SECRET_KEY", "DATABASE_URL", "SMTP_PASSWORD")  # no recipe needs them
RECIPES = "training.recipes"  # the program that runs a folder
GRACE = 10.0  # seconds between asking a recipe to end and ending it
POLITENESS = 10  # of `nice`: pages stay quick while a run computes on the same cores


def launch(folder: RunFolder, config: RecipeConfig, *, device: str) -> psutil.Process:
    """Start the recipe of a run folder. What it prints goes to the folder's log."""
    with folder.log_file.open("ab") as log:
        process = psutil.Popen(
            _command(folder),
            cwd=settings.BASE_DIR,
            env=_environment(config, device),
            stdin=DEVNULL,
            stdout=log,
            stderr=STDOUT,
            start_new_session=True,
        )
    with suppress(psutil.Error):  # gone already, or not allowed here
        process.nice(POLITENESS)
    return process


def find(folder: RunFolder) -> psutil.Process | None:
    """The living process that works in a run folder, whoever started it."""
    command, mine = _command(folder)[1:], os.getuid()
    for process in psutil.process_iter(["cmdline", "uids"]):
        cmdline, uids = process.info["cmdline"], process.info["uids"]
        if cmdline and cmdline[1:] == command and uids and uids.real == mine:
            return process
    return None


def wait(process: psutil.Process, seconds: float) -> bool:
    """Wait for a recipe to end, at most so long; whether it has."""
    try:
        process.wait(timeout=seconds)
    except psutil.TimeoutExpired:
        # In a container whose first process reaps nobody, an orphan that ended stays as a zombie.
        with suppress(psutil.NoSuchProcess):
            return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True


def stop(process: psutil.Process) -> None:
    """End a recipe and all that it started: politely, then for good."""
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        if os.getpgid(process.pid) != process.pid:  # not as `launch` makes it: leave its group alone
            process.kill()
            return
        os.killpg(process.pid, signal.SIGTERM)
        wait(process, GRACE)
        os.killpg(process.pid, signal.SIGKILL)  # what is left of the group, if only its children
        wait(process, 30)


def _command(folder: RunFolder) -> list[str]:
    return [sys.executable, "-m", RECIPES, str(folder.path.resolve())]


def _environment(config: RecipeConfig, device: str) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
    if config.device == "cuda" and ":" in device:  # any GPU would do: it gets this worker's
        environment["CUDA_VISIBLE_DEVICES"] = device.partition(":")[2]
    return environment | {
        "OMP_NUM_THREADS": str(config.threads or os.cpu_count() or 1),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",  # all that a recipe needs lies in its folder
        "PYTHONUNBUFFERED": "1",  # the log is read while it is written
    }
