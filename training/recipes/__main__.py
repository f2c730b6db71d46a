"""Run what a run folder asks for:  python -m training.recipes RUN_FOLDER

Exit 0 when it succeeded, 3 when it was cancelled, 1 when it failed; `outcome.json` says the same in all three. Started
again after it was killed, it goes on from the last good checkpoint. SIGTERM is a request to cancel.
"""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from training.configs import METHODS, UnknownMethod, _, explain
from training.rundir import CANCELLED, FAILED, SUCCEEDED, BrokenRun, Cancelled, Outcome, RunFolder, read_json

EXIT_CODES = {SUCCEEDED: 0, FAILED: 1, CANCELLED: 3}
log = logging.getLogger("training.recipes")


def main(folder: str) -> int:
    run = RunFolder(folder)
    if (earlier := run.outcome()) and earlier.state == SUCCEEDED and run.is_complete():
        return 0  # it ended well, and whoever started it did not live to see it
    run.path.joinpath("outcome.json").unlink(missing_ok=True)

    logging.basicConfig(
        filename=run.log_file, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True
    )
    logging.captureWarnings(True)
    warnings.simplefilter("ignore", FutureWarning)  # the libraries' talk about their next versions
    signal.signal(signal.SIGTERM, lambda *_: run.cancel_here())
    outcome = perform(run)
    run.finish(outcome)
    if outcome.state == SUCCEEDED:  # nothing reads them any more: the model is in model/
        shutil.rmtree(run.checkpoints, ignore_errors=True)
    return EXIT_CODES[outcome.state]


def perform(run: RunFolder) -> Outcome:
    """Run the recipe; whatever happens becomes an outcome."""
    start, summary, error = time.monotonic(), {}, None
    try:
        summary, state = recipe(run), SUCCEEDED
        log.info("Done.")
    except Cancelled as cancelled:
        state = CANCELLED
        log.info("%s What was made so far is kept.", cancelled)
    except Exception as problem:  # a run must always end with an outcome
        state, error = FAILED, sentence(run, problem)
        log.error("%s\n%s", error, traceback.format_exc())
    return Outcome(
        state=state,
        summary=summary,
        error=error,
        peak_memory_mb=peak_memory_mb(),
        seconds=round(time.monotonic() - start, 1),
    )


def recipe(run: RunFolder) -> dict[str, Any]:
    config = run.config()
    log.info("%s: %s", config.title, config.model_dump_json())

    # Nothing comes from another machine, whatever a model's folder says.
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    # Threads that wait must sleep, not spin: on two cores shared with a web server and a browser, spinning made the
    # same answers take 100 s instead of 8. Read when torch is loaded, hence before it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    show_only(config.device)
    run.set_progress(0, 0, "loading")
    from transformers.utils import logging as transformers_logging

    from training.recipes.hardware import set_threads

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    set_threads(config.threads)
    return importlib.import_module(f"training.recipes.{config.method}").perform(run, config)


def show_only(device: str) -> None:
    """Hide every GPU but the run's own: a trainer that sees several takes the first, or all of them."""
    kind, _, number = device.partition(":")
    if kind == "cuda":
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        known = visible.split(",") if visible else []
        chosen = int(number or 0)
        os.environ["CUDA_VISIBLE_DEVICES"] = known[chosen] if chosen < len(known) else str(chosen)


def sentence(run: RunFolder, problem: Exception) -> str:
    """What went wrong, for the person who looks at the run."""
    match problem:
        case ValidationError():
            config = METHODS[read_json(run.path / "config.json")["method"]]
            return " ".join(explain(problem, config).values())
        case BrokenRun() | UnknownMethod():
            return str(problem)
        case MemoryError():
            return _("The machine has too little memory. Take a smaller batch size or shorter texts.")
        case _ if "out of memory" in str(problem).lower():
            return _("The device has too little memory. Take a smaller batch size or shorter texts.")
        case _:
            return f"{type(problem).__name__}: {problem}"


def peak_memory_mb() -> int:
    """The most memory that this process held at once."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)  # macOS counts bytes, Linux KiB


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: python -m training.recipes RUN_FOLDER")
    sys.exit(main(sys.argv[1]))
