"""A recipe that keeps the contract of the run folder and needs no torch: it starts in a quarter of a second.

`python -m tests.training.patient_recipe RUN_FOLDER`. It is as slow per prompt or step as `max_new_tokens` or
`eval_every` says in milliseconds, and `seed` chooses what goes wrong: see the constants.
"""

import json
import os
import signal
import sys
import time

from tests.training.worker_process import plain_model
from training.rundir import FAILED, SUCCEEDED, Cancelled, Outcome, RunFolder, read_rows, write_json

FAILS, DIES_ONCE, DIES, DEAF, PICKLES = 1, 2, 3, 4, 5  # seeds


def generate(run: RunFolder, config) -> dict:
    prompts = read_rows(run.data / "prompts.parquet")
    done = {row["prompt_id"] for row in run.sampled()}
    for number, prompt in enumerate(prompts, start=1):
        if prompt["prompt_id"] in done:
            continue
        step(run, config, number, len(prompts), config.max_new_tokens)
        first = len(json.loads(prompt["existing"]))
        run.write_part(
            [
                {
                    "task_id": prompt["task_id"],
                    "prompt_id": prompt["prompt_id"],
                    "text": f"Answer {first + n} to {prompt['prompt_id']}",
                    "tokens": 4,
                    "cut": False,
                    "model": config.model,
                    "sampling": json.dumps({"temperature": 0.7}),
                }
                for n in range(prompt["wanted"])
            ]
        )
    return {"prompts": len(prompts), "answers": sum(prompt["wanted"] for prompt in prompts)}


def train(run: RunFolder, config) -> dict:
    tasks = read_rows(run.data / "tasks.parquet")
    checkpoint = run.checkpoints / "step.json"
    first = json.loads(checkpoint.read_text())["step"] if checkpoint.exists() else 0
    for number in range(first + 1, 11):
        step(run, config, number, 10, config.eval_every or 5)
        write_json(checkpoint, {"step": number})
    plain_model(run.model)
    if config.seed == PICKLES:
        (run.model / "pytorch_model.bin").write_bytes(b"\x80")
    return {"tasks": len(tasks), "first": first}


def evaluate(run: RunFolder, config) -> dict:
    prompts = read_rows(run.data / "prompts.parquet") if config.baseline else []
    return {"prompts": [json.loads(prompt["messages"])[-1]["content"] for prompt in prompts]}


def step(run: RunFolder, config, number: int, total: int, milliseconds: int) -> None:
    run.set_progress(number - 1, total, "working")
    time.sleep(milliseconds / 1000)
    print("step", number, flush=True)
    run.log(number, {"loss/train": 1 / number, "loss/odd": float("nan")})
    if config.seed != DEAF:
        run.stop_if_asked()
    if config.seed == FAILS and number == 2:
        raise ValueError("The loss is not a number.")
    started_before = run.path / "started_before"
    if config.seed == DIES or (config.seed == DIES_ONCE and number == 2 and not started_before.exists()):
        started_before.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def main(folder: str) -> int:
    run = RunFolder(folder)
    config = run.config()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if config.seed == DEAF else lambda *_: run.cancel_here())
    print("working with", os.environ["OMP_NUM_THREADS"], "threads", "DATABASE_URL" in os.environ, flush=True)
    work = {"generate": generate, "evaluate": evaluate}.get(config.method, train)
    try:
        outcome = Outcome(state=SUCCEEDED, summary=work(run, config), seconds=1.5, peak_memory_mb=10)
    except Cancelled:
        outcome = Outcome(state="cancelled")
    except Exception as error:
        print(error, flush=True)
        outcome = Outcome(state=FAILED, error=str(error))
    run.finish(outcome)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
