"""Snapshots: what a project's people said so far, frozen into a file that never changes again.

The file has the checksum of its content as its name, so freezing the same twice makes the same file, and nothing is
ever overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from annotation import exports, quality
from training.models import Dataset
from training.rundir import Row, sha256, sync

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from annotation.models import Project

CHUNK = 1000  # tasks in memory at a time
NESTED = ("prompt", "tags", "candidates", "rankings", "comparisons")  # stored as JSON texts


class SnapshotChanged(Exception):
    """The file of a dataset is not the one that was frozen."""


class NothingToFreeze(ValueError):
    """The project has no judgements yet."""


class NameTaken(ValueError):
    """Another dataset has this name."""


@dataclass
class Summary:
    """What a snapshot holds; pairs and ties are those of the aggregated comparisons."""

    tasks: int = 0
    rankings: int = 0
    pairs: int = 0
    ties: int = 0
    all_bad: int = 0
    splits: dict[str, dict[str, int]] = field(default_factory=dict)  # train: tasks, pairs; validation ...
    agreement: float | None = None  # share of agreeing pairs of verdicts; None where nobody's work overlaps
    simulated: bool = False  # simulated annotators made some of it

    def add(self, row: Row) -> None:
        rankings, comparisons = row["rankings"], row["comparisons"]
        ties = sum(comparison["votes_for"] == comparison["votes_against"] for comparison in comparisons)
        pairs = len(comparisons) - ties
        split = self.splits.setdefault(row["split"], {"tasks": 0, "pairs": 0})
        split["tasks"] += 1
        split["pairs"] += pairs
        self.tasks += 1
        self.rankings += len(rankings)
        self.pairs += pairs
        self.ties += ties
        self.all_bad += sum(ranking["all_bad"] for ranking in rankings)
        self.simulated |= any(ranking["made_by"] == "simulated" for ranking in rankings)


def preview(project: Project) -> Summary:
    """What a snapshot would hold if it were frozen now."""
    summary = Summary(agreement=_agreement(project))
    for row in exports.task_rows(project):
        summary.add(row)
    return summary


def freeze(project: Project, name: str = "", *, by: User | None = None) -> Dataset:
    """Freeze every judged task of a project. Raises NothingToFreeze or NameTaken."""
    name = name.strip()
    if name and Dataset.objects.filter(name=name).exists():
        raise NameTaken(_("There is a dataset named %(name)s already.") % {"name": name})
    path, summary = _store(project)
    return _create(project, name, path, summary, by)


def newest_or_fresh(project: Project, *, by: User | None = None) -> Dataset:
    """The newest snapshot, if it holds exactly what was said until now, else a fresh one. Raises NothingToFreeze."""
    path, summary = _store(project)
    newest = newest_snapshot(project)
    return newest if newest and newest.sha256 == path.stem else _create(project, "", path, summary, by)


def newest_snapshot(project: Project) -> Dataset | None:
    return Dataset.objects.filter(project=project).order_by("-created_at", "-pk").first()


def verified(dataset: Dataset) -> Path:
    """The file of a dataset. Raises SnapshotChanged unless it is as it was frozen."""
    if not dataset.path.is_file():
        raise SnapshotChanged(_("The file of %(name)s is gone from the storage folder.") % {"name": dataset.name})
    if sha256(dataset.path) != dataset.sha256:
        raise SnapshotChanged(_("The file of %(name)s was changed after it was frozen.") % {"name": dataset.name})
    return dataset.path


def _agreement(project: Project) -> float | None:
    raw: float | None = quality.project_agreement(project)["pairwise"]["raw"]
    return raw


def _store(project: Project) -> tuple[Path, Summary]:
    """Write the project's judged tasks into the file that their checksum names."""
    folder = Path(settings.STORAGE) / "datasets"
    folder.mkdir(exist_ok=True)
    incoming = folder / f".{uuid4().hex}.unfinished"
    summary = Summary(agreement=_agreement(project))
    try:
        _write(incoming, exports.task_rows(project), summary)
        if not summary.rankings:
            raise NothingToFreeze(_("Nobody has judged anything in this project yet, so there is nothing to freeze."))
        final = folder / f"{sha256(incoming)}.parquet"
        if not final.exists():
            incoming.chmod(0o444)
            incoming.rename(final)
            sync(folder)
    finally:
        incoming.unlink(missing_ok=True)
    return final, summary


def _write(path: Path, rows: Iterator[Row], summary: Summary) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("task_id", pa.int64()), ("split", pa.string()), *((name, pa.string()) for name in NESTED)])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while chunk := list(islice(rows, CHUNK)):
            for row in chunk:
                summary.add(row)
            flat = [row | {name: json.dumps(row[name], ensure_ascii=False) for name in NESTED} for row in chunk]
            writer.write_table(pa.Table.from_pylist(flat, schema=schema))
    sync(path)


def _create(project: Project, name: str, path: Path, summary: Summary, by: User | None) -> Dataset:
    fields: dict[str, Any] = {
        "project": project,
        "file": path.relative_to(settings.STORAGE).as_posix(),
        "sha256": path.stem,
        "summary": asdict(summary),
        "created_by": by,
    }
    number = Dataset.objects.filter(project=project).count()
    while True:
        number += 1
        try:
            with transaction.atomic():
                return Dataset.objects.create(name=name or f"{project.slug}-{number}", **fields)
        except IntegrityError as error:  # named so meanwhile, or by someone else
            if name:
                raise NameTaken(_("There is a dataset named %(name)s already.") % {"name": name}) from error
