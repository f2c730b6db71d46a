"""The whole loop without a browser: prompts, answers, rankings, agreement, snapshot, reward model, DPO, comparison.

Everything is real but the people: two simulated annotators judge. Every run goes through the queue and a worker.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any

from django.conf import settings

from annotation import exports, imports, projects, quality, simulated
from annotation.models import Project
from training import demo, launches, results, snapshots
from training.models import Dataset, ModelVersion, Run

SEED = 1
PEOPLE = 2
WIDTH = 120


class StageFailed(Exception):
    """A stage did not end as it must; a sentence with what to look at."""


SHORT = {"max_length": 192, "eval_every": 1000}  # held-out pairs are measured once, at the end


@dataclass(frozen=True)
class Size:
    """How much of everything. The last table names these caps: they are what makes the loop short."""

    prompts: int = 24
    unseen: int = 16  # further prompts, which only the comparison at the end sees
    candidates: int = 4
    tokens: int = 64
    reward: dict[str, Any] = field(default_factory=lambda: {"max_pairs": 96, **SHORT})
    dpo: dict[str, Any] = field(default_factory=lambda: {"max_pairs": 64, **SHORT})
    threads: int = 0  # all cores


FULL = Size()
TWO_STEPS = {"max_pairs": 1, "epochs": 2, "batch_size": 1, "gradient_accumulation": 1, "max_length": 192}
SMALL = Size(prompts=2, unseen=2, candidates=3, tokens=16, reward=TWO_STEPS, dpo=TWO_STEPS, threads=1)


@dataclass
class Stage:
    name: str
    result: str = ""
    cap: str = ""
    where: str = "the database"
    seconds: float = 0.0
    memory_mb: int | None = None


class Loop:
    def __init__(self, size: Size, *, say: Callable[[str], object], check: Callable[[], object]) -> None:
        self.size = size
        self.say = say
        self.check = check  # raises when the worker has died
        self.stages: list[Stage] = []

    def run(self) -> None:
        """Raises StageFailed."""
        size = self.size
        rows = [json.loads(line) for line in (demo.DATA / "everyday_prompts.jsonl").read_text("utf-8").splitlines()]
        judged, unseen = rows[: size.prompts], rows[size.prompts : size.prompts + size.unseen]

        with self.stage("prompts") as stage:
            base = demo.base_model()
            project = make_project(size)
            imports.import_prompts(project, judged)
            stage.result = f"{size.prompts} imported into the project {project.slug}"
            stage.cap = f"{size.prompts} of the demo's {len(rows)}"

        with self.stage("answers") as stage:
            run = launches.launch_generation(
                project,
                model=str(base),
                per_prompt=size.candidates,
                max_new_tokens=size.tokens,
                threads=size.threads,
            )
            self.finish(run, stage)
            counts = exports.counts(project)
            stage.result = f"{counts['answers']} written by {base}, {counts['cut']} of them cut"
            stage.cap = f"{size.candidates} a prompt, {size.tokens} new tokens (those that need it, twice as many)"

        with self.stage("rankings") as stage:
            random.seed(SEED)  # the orders in which answers are shown
            simulated.judge_everything(project, annotators=PEOPLE, seed=SEED)
            stage.result = f"{exports.counts(project)['rankings']} by {PEOPLE} simulated annotators"
            stage.cap = "both judge every task"

        with self.stage("agreement") as stage:
            self.agreement(project, stage)

        with self.stage("snapshot") as stage:
            snapshot = snapshots.freeze(project)
            stage.result = "{rankings} rankings, {pairs} pairs and {ties} ties frozen".format(**snapshot.summary)
            stage.where = snapshot.file

        with self.stage("reward model") as stage:
            reward = self.train("reward", project, snapshot, stage, model=str(base), **size.reward)
        with self.stage("DPO") as stage:
            policy = self.train("dpo", project, snapshot, stage, model=str(base), **size.dpo)

        with self.stage("comparison") as stage:
            imports.import_prompts(project, unseen)
            run = launches.launch_training(
                "evaluate",
                project=project,
                model=str(policy),
                baseline=str(base),
                judge=str(reward),
                max_new_tokens=size.tokens,
                threads=size.threads,
            )
            self.finish(run, stage)
            stage.result = results.verdict(run.evaluation).sentence
            stage.cap = f"{size.unseen} prompts that no training saw, {size.tokens} new tokens"

    def agreement(self, project: Project, stage: Stage) -> None:
        """Compare what was measured with what the annotators' own model predicts."""
        raw = quality.project_agreement(project)["pairwise"]["raw"]
        band = simulated.expected_agreement(project, annotators=PEOPLE, seed=SEED)
        inside = "inside" if raw in band else "OUTSIDE"
        stage.result = f"{raw:.0%} of pairs agree, {inside} the predicted band [{band.low:.0%}, {band.high:.0%}]"
        stage.cap = "the band holds 999 of 1,000 repetitions"
        if raw not in band:
            raise StageFailed(f"agreement: {stage.result}.")

    def train(self, method: str, project: Project, snapshot: Dataset, stage: Stage, **options: Any) -> ModelVersion:
        run = launches.launch_training(method, project=project, dataset=snapshot, threads=self.size.threads, **options)
        self.finish(run, stage)
        model = run.model
        summary = run.outcome["summary"]
        stage.result = f"{model} registered after {summary['steps']} steps on {summary['pairs']} pairs"
        if measured := summary["held_out"]:
            right = results.percent(measured["accuracy"], measured.get("accuracy_ci"))
            stage.result += f"; right on {right} of {measured.get('pairs', 'the')} held-out pairs"
        stage.cap = f"LoRA, at most {options['max_pairs']} pairs of {options['max_length']} tokens"
        stage.where = model.folder
        return model

    def finish(self, run: Run, stage: Stage) -> None:
        """Wait until the worker has seen the run to its end."""
        while run.active:
            self.check()
            time.sleep(0.5)
            run.refresh_from_db()
        if run.state != Run.State.SUCCEEDED:
            raise StageFailed(f"{stage.name}: run {run.pk} is {run.state}. {run.error} See {run.folder / 'log.txt'}")
        stage.memory_mb = run.outcome["peak_memory_mb"]
        stage.where = f"runs/{run.folder.name}"

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        self.say(f"{name} ...")
        stage, started = Stage(name), time.monotonic()
        self.stages.append(stage)
        try:
            yield stage
        finally:
            stage.seconds = time.monotonic() - started
        self.say(f"    {stage.result} ({stage.seconds:.0f} s)")

    def table(self) -> str:
        """What happened: each stage with its time and peak memory, and below it what was capped and where it lies."""
        lines = [f"{'stage':<14}{'time':>6}{'memory':>10}  what happened", "-" * WIDTH]
        for stage in self.stages:
            memory = f"{stage.memory_mb:,} MB" if stage.memory_mb else ""
            details = [
                stage.result or "failed",
                stage.cap and f"Cap: {stage.cap}.",
                stage.result and f"In {stage.where}.",
            ]
            text = [line for part in details if part for line in wrap(part, WIDTH - 32, break_on_hyphens=False)]
            lines.append(f"{stage.name:<14}{f'{stage.seconds:.0f} s':>6}{memory:>10}  {text[0]}")
            lines += [f"{'':<32}{line}" for line in text[1:]]
        total = f"{sum(stage.seconds for stage in self.stages):.0f} s"
        lines += ["-" * WIDTH, f"{'all':<14}{total:>6}", ""]
        lines.append(f"The files are in {settings.STORAGE}. Every judgement is marked as simulated.")
        return "\n".join(lines)


def make_project(size: Size) -> Project:
    """A project of its own for every loop, so that one can be run beside the last."""
    taken = set(Project.objects.filter(slug__startswith="loop-").values_list("slug", flat=True))
    number = next(number for number in itertools.count(1) if f"loop-{number}" not in taken)
    return projects.create_project(
        f"Loop {number}",
        slug=f"loop-{number}",
        guideline=(demo.DATA / "everyday_guideline.md").read_text(encoding="utf-8"),
        answers_per_task=size.candidates,
        overlap=PEOPLE,
        calibration_share=0,
        simulated=True,
    )
