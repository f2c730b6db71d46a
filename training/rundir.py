"""The run folder: all that a recipe and the rest of the platform share.

A recipe writes, a supervisor reads, at the same time and perhaps on different machines. Every file is therefore either
appended line by line (`metrics.jsonl`, `log.txt`) or complete from the moment it has its name (written beside, flushed
to disk, renamed). `outcome.json` is written last: before it nothing is final.

No Django and no torch here; pyarrow is imported where it is used.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from training.configs import RecipeConfig, config_for

Row = dict[str, Any]

State = Literal["succeeded", "failed", "cancelled"]
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
PASSING = {"log.txt", "progress.json", "control.json", "manifest.json", "outcome.json"}  # not in the manifest


class Cancelled(Exception):
    """Somebody asked this run to stop."""


class BrokenRun(Exception):
    """A run folder that is incomplete or was changed, with the sentence that says how."""


class Outcome(BaseModel):
    """How a run ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State
    summary: dict[str, Any] = Field(default_factory=dict)
    error: str | None = None
    peak_memory_mb: int = 0
    seconds: float = 0


class Progress(BaseModel):
    """Where a run is: `step` of `total` in `phase`. A total of 0 means that it is not known yet."""

    model_config = ConfigDict(frozen=True)

    step: int = 0
    total: int = 0
    phase: str = ""


class Control(BaseModel):
    """What the supervisor asks of a recipe."""

    model_config = ConfigDict(frozen=True)

    cancel: bool = False
    pause: bool = False


class RunFolder:
    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.model = self.path / "model"
        self.data = self.path / "data"
        self.samples = self.path / "samples"
        self.checkpoints = self.path / "checkpoints"
        self.log_file = self.path / "log.txt"
        self.metrics_file = self.path / "metrics.jsonl"
        self._cancelled_here = False

    def __str__(self) -> str:
        return str(self.path)

    # What the run is to do

    @classmethod
    def create(cls, path: Path | str, config: RecipeConfig, models: Mapping[str, Mapping[str, str]]) -> RunFolder:
        """A new folder. `models` maps `name@version` to its `folder`, `checksum` and whatever else is known of it."""
        run = cls(path)
        for folder in (run.path, run.data, run.samples, run.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
        write_json(run.path / "resolved.json", {"models": {name: dict(model) for name, model in models.items()}})
        write_json(run.path / "config.json", {"method": config.method, **config.model_dump(mode="json")})
        return run

    def config(self) -> RecipeConfig:
        values = read_json(self.path / "config.json")
        return config_for(values.pop("method"), values)

    def resolved(self, model: str) -> dict[str, Any]:
        """What is known of a model that the config names: `folder`, `checksum`, ..."""
        models: dict[str, dict[str, Any]] = read_json(self.path / "resolved.json")["models"]
        if model not in models:
            raise BrokenRun(f"resolved.json does not say where the model {model} lies.")
        return models[model]

    def model_folder(self, model: str) -> Path:
        """Where a named model lies; a relative folder is relative to the run folder."""
        folder = self.path / str(self.resolved(model)["folder"])
        if not (folder / "config.json").is_file():
            raise BrokenRun(f"The folder {folder} of the model {model} holds no model.")
        return folder

    # How it is going

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line of metrics. A number that is not finite becomes null: JSON has no NaN."""
        values = {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}
        line = json.dumps(
            {"step": step, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), "metrics": values}
        )
        append_line(self.metrics_file, line)

    def read_metrics(self, offset: int = 0) -> tuple[list[Row], int]:
        """The complete lines after byte `offset`, and the offset to go on from.

        A step may come twice: a resumed run repeats the steps after its checkpoint.
        """
        if not self.metrics_file.exists():
            return [], offset
        with self.metrics_file.open("rb") as file:
            file.seek(offset)
            data = file.read()
        complete = data[: data.rfind(b"\n") + 1]
        return list(_parsed(complete)), offset + len(complete)

    def set_progress(self, step: int, total: int, phase: str) -> None:
        write_json(self.path / "progress.json", Progress(step=step, total=total, phase=phase).model_dump(), sync=False)

    def progress(self) -> Progress:
        return Progress.model_validate(read_json(self.path / "progress.json", default={}))

    def log_tail(self, limit: int = 20_000) -> str:
        """The end of the log, from a line's beginning."""
        if not self.log_file.exists():
            return ""
        with self.log_file.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            text = file.read().decode("utf-8", errors="replace")
        return text if size <= limit else text.partition("\n")[2]

    # What is asked of it

    def control(self) -> Control:
        if self._cancelled_here:
            return Control(cancel=True)
        return Control.model_validate(read_json(self.path / "control.json", default={}))

    def cancel_here(self) -> None:
        """Cancel from inside the recipe's own process (a signal handler), without touching the folder."""
        self._cancelled_here = True

    def ask(self, *, cancel: bool = False, pause: bool = False) -> None:
        write_json(self.path / "control.json", Control(cancel=cancel, pause=pause).model_dump())

    def stop_if_asked(self) -> None:
        """Called by a recipe between steps: waits while paused, raises Cancelled when cancelled."""
        while (control := self.control()).pause and not control.cancel:
            time.sleep(0.5)
        if control.cancel:
            raise Cancelled("Cancelled on request.")

    def reopen(self) -> None:
        """Make an ended run ready to be resumed. Its parts and checkpoints stay."""
        for name in ("outcome.json", "manifest.json", "control.json"):
            (self.path / name).unlink(missing_ok=True)

    # What it made

    def write_part(self, rows: Sequence[Row]) -> Path:
        """The next immutable part of `samples/`; it has its name only once it is complete."""
        part = self.samples / f"{len(self.parts()):05}.parquet"
        write_rows(part, rows)
        return part

    def parts(self) -> list[Path]:
        """The complete parts in order; part N is `NNNNN.parquet`, counted from 0."""
        return sorted(self.samples.glob("[0-9][0-9][0-9][0-9][0-9].parquet"))

    def sampled(self) -> Iterator[Row]:
        for part in self.parts():
            yield from read_rows(part)

    def finish(self, outcome: Outcome) -> None:
        """Close the run: the manifest, and last of all the outcome."""
        files = {name: sha256(self.path / name) for name in self._lasting_files()}
        write_json(self.path / "manifest.json", {"files": files})
        write_json(self.path / "outcome.json", outcome.model_dump(mode="json"))

    def outcome(self) -> Outcome | None:
        values = read_json(self.path / "outcome.json", default=None)
        return None if values is None else Outcome.model_validate(values)

    def verify(self) -> None:
        """Raise BrokenRun unless the run has ended and every file is as it was then."""
        if not (self.path / "outcome.json").exists():
            raise BrokenRun(f"The run in {self.path} has not ended: there is no outcome.json.")
        manifest = read_json(self.path / "manifest.json", default=None)
        if manifest is None:
            raise BrokenRun(f"The run in {self.path} has no manifest.json.")
        for name, checksum in manifest["files"].items():
            if not (self.path / name).is_file():
                raise BrokenRun(f"{name} of the run in {self.path} is missing.")
            if sha256(self.path / name) != checksum:
                raise BrokenRun(f"{name} of the run in {self.path} was changed after the run ended.")

    def is_complete(self) -> bool:
        try:
            self.verify()
        except BrokenRun:
            return False
        return True

    def _lasting_files(self) -> list[str]:
        names = [path.relative_to(self.path) for path in self.path.rglob("*") if path.is_file()]
        return sorted(
            name.as_posix()
            for name in names
            if name.as_posix() not in PASSING and name.parts[0] != "checkpoints" and not is_unfinished(name)
        )


# Files


def unfinished(path: Path) -> Path:
    """The name that a file or folder has while it is being written."""
    return path.with_name(f".{path.name}.unfinished")


def is_unfinished(path: Path) -> bool:
    return any(part.endswith(".unfinished") for part in path.parts)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put_in_place(path: Path) -> None:
    """Give what lies at `unfinished(path)` its name, in one step, surviving a power cut."""
    sync(unfinished(path))
    unfinished(path).replace(path)
    sync(path.parent)


def write_json(path: Path, value: Any, *, sync: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished(path).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if sync:
        put_in_place(path)
    else:
        unfinished(path).replace(path)


_REQUIRED = object()


def read_json(path: Path, *, default: Any = _REQUIRED) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if default is _REQUIRED:
            raise BrokenRun(f"{path.name} is missing in {path.parent}.") from None
        return default


def append_line(path: Path, line: str) -> None:
    """Append a line and flush it. A half line that a killed process left is ended first."""
    with path.open("a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        else:
            torn = False
        file.write((b"\n" if torn else b"") + line.encode() + b"\n")


def _parsed(data: bytes) -> Iterator[Row]:
    for line in data.splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # the half line of a killed process
            continue
        if isinstance(row, dict):
            yield row


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Rows as a Parquet file, complete by rename. Nested values are the caller's to turn into JSON strings."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), unfinished(path))
    put_in_place(path)


def read_rows(path: Path) -> list[Row]:
    import pyarrow.parquet as pq

    rows: list[Row] = pq.read_table(path).to_pylist()
    return rows


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_checksum(folder: Path) -> str:
    """One SHA-256 over the names and contents of a folder's files, for `resolved.json` and the registry."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0{sha256(folder / name)}\n".encode())
    return digest.hexdigest()
