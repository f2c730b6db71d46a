"""What a run reads, written into its folder; and what generation writes, brought back into its project."""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict

from django.utils.translation import gettext as _

from annotation import exports, imports
from training import registry, snapshots
from training.configs import EvaluateConfig, GenerateConfig, RecipeConfig, config_for
from training.models import Dataset, Run
from training.rundir import BrokenRun, Row, RunFolder, put_in_place, read_rows, unfinished, write_rows

LEAST_ANSWERS = 2  # a task with fewer asks nothing
ENOUGH_PROMPTS = 16  # fewer prompts tell no two policies apart


def prepare(run: Run, folder: RunFolder) -> RecipeConfig:
    """Build the run folder, or find it as an earlier attempt left it. Checks the files of every model and dataset.

    Raises ModelChanged, SnapshotChanged, UnknownModel or BrokenRun.
    """
    config = config_for(run.method, run.config)
    models = {}
    for name in sorted(set(config.models().values())):
        model = registry.resolve(name)
        path = registry.verify(model)
        # Relative to the run folder: the storage folder may move as a whole.
        models[name] = {"folder": os.path.relpath(path, folder.path), "checksum": model.checksum, "kind": model.kind}
    if not (folder.path / "config.json").exists():  # written last: until then the data are not complete
        _write_data(run, config, folder)
    RunFolder.create(folder.path, config, models)
    return config


def _write_data(run: Run, config: RecipeConfig, folder: RunFolder) -> None:
    folder.data.mkdir(parents=True, exist_ok=True)
    match config:
        case GenerateConfig():
            write_rows(folder.data / "prompts.parquet", prompts_to_answer(run, config))
        case EvaluateConfig() if config.baseline:
            write_rows(folder.data / "prompts.parquet", unseen_prompts(run))
        case _:
            _copy_tasks(run, folder)


def _copy_tasks(run: Run, folder: RunFolder) -> None:
    datasets = list(run.datasets.all())
    if len(datasets) != 1:
        raise BrokenRun(_("This run has %(n)d datasets; it needs one.") % {"n": len(datasets)})
    target = folder.data / "tasks.parquet"
    shutil.copyfile(snapshots.verified(datasets[0]), unfinished(target))
    put_in_place(target)


def prompts_to_answer(run: Run, config: GenerateConfig) -> list[Row]:
    """The prompts whose tasks wait for answers, in the order in which people will get them."""
    if run.project is None:
        raise BrokenRun(_("This run belongs to no project, so there are no prompts to answer."))
    rows = []
    for task in exports.waiting_rows(run.project):
        wanted = config.per_prompt - len(task["existing"])
        if wanted > 0:
            rows.append(_flat(task) | {"task_id": task["task_id"], "wanted": wanted})
    if not rows:
        raise BrokenRun(_("Every prompt of this project has its answers."))
    return rows


def unseen_prompts(run: Run) -> list[Row]:
    """The prompts of the run's project that are in no data from which the compared models or the judge were trained.

    Where these are few, those of the test split come too: they were frozen into such data, but no training uses them.
    """
    if run.project is None:
        raise BrokenRun(_("This run belongs to no project, so there are no prompts to compare on."))
    seen: set[str] = set()
    for dataset in training_data(run):
        seen |= _prompts_of(dataset)
    prompts = list(exports.prompt_only_rows(run.project))
    unseen = [row for row in prompts if _key(row["prompt"]) not in seen]
    if len(unseen) < ENOUGH_PROMPTS:
        unseen = [row for row in prompts if row["split"] == "test" or _key(row["prompt"]) not in seen]
    if not unseen:
        raise BrokenRun(_("Every prompt of this project was used in training; import some that were not."))
    return [_flat(row) for row in unseen]


def training_data(run: Run) -> list[Dataset]:
    """The datasets that shaped the models which a run names, and the models that those were made from."""
    found: dict[int, Dataset] = {}
    models, known = list(run.parents.select_related("run")), set()
    while models:
        model = models.pop()
        if model.pk in known or model.run is None:
            continue
        known.add(model.pk)
        found |= {dataset.pk: dataset for dataset in model.run.datasets.all()}
        models += model.run.parents.select_related("run")
    return list(found.values())


def import_answers(run: Run, rows: list[Row]) -> None:
    """Give the answers of one part to their tasks, which open when they are complete.

    A model that says the same again and again leaves a prompt with fewer answers than were asked for; its task
    opens with those.
    """
    config = config_for(run.method, run.config)
    assert isinstance(config, GenerateConfig)
    existing = {
        row["task_id"]: set(json.loads(row["existing"]))
        for row in read_rows(RunFolder(run.folder).data / "prompts.parquet")
    }
    answers: dict[int, list[imports.NewCandidate]] = defaultdict(list)
    for row in rows:
        answers[row["task_id"]].append(
            imports.NewCandidate(
                text=row["text"],
                model_name=row["model"],
                sampling={**json.loads(row["sampling"]), "run": run.pk},
                tokens=row["tokens"],
                cut=row["cut"],
            )
        )
    assert run.project is not None  # prepare saw to it
    for task in run.project.tasks.filter(pk__in=answers):
        distinct = len(existing[task.pk].union(answer.text for answer in answers[task.pk]))
        wanted = max(LEAST_ANSWERS, min(config.per_prompt, distinct))
        imports.add_candidates(task, answers[task.pk], wanted=wanted)


def _flat(row: Row) -> Row:
    return {
        "prompt_id": row["prompt_id"],
        "messages": json.dumps(row["prompt"], ensure_ascii=False),
        "language": row["language"],
        "existing": json.dumps(row.get("existing", []), ensure_ascii=False),
    }


def _key(messages: list[dict[str, str]]) -> str:
    """What makes two prompts the same, whatever else is stored with them."""
    return json.dumps([[message["role"], message["content"]] for message in messages], ensure_ascii=False)


def _prompts_of(dataset: Dataset) -> set[str]:
    import pyarrow.parquet as pq

    texts = pq.read_table(snapshots.verified(dataset), columns=["prompt"]).column("prompt").to_pylist()
    return {_key(json.loads(text)) for text in texts}
