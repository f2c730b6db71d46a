"""A run folder is readable at every moment, and complete only when its outcome is there."""

import json
import math
import threading

import pytest

from training.configs import RewardConfig
from training.rundir import BrokenRun, Cancelled, Outcome, Progress, RunFolder, folder_checksum


@pytest.fixture
def run(tmp_path) -> RunFolder:
    return RunFolder.create(tmp_path / "7", RewardConfig(model="base@1"), {"base@1": {"folder": "../base"}})


def end(run: RunFolder) -> None:
    run.model.mkdir()
    (run.model / "model.safetensors").write_bytes(b"weights")
    run.write_part([{"text": "hello"}])
    run.finish(Outcome(state="succeeded", summary={"accuracy": 0.7}))


def test_a_run_ends_with_its_outcome(run):
    assert run.outcome() is None
    assert not run.is_complete()

    end(run)

    assert run.is_complete()
    assert run.outcome().summary == {"accuracy": 0.7}


def test_the_config_is_read_back(run):
    assert run.config() == RewardConfig(model="base@1")


def test_a_changed_or_missing_file_is_found(run):
    end(run)
    (run.model / "model.safetensors").write_bytes(b"others")

    with pytest.raises(BrokenRun, match=r"model/model.safetensors .* was changed"):
        run.verify()

    (run.model / "model.safetensors").unlink()
    with pytest.raises(BrokenRun, match="is missing"):
        run.verify()


def test_log_and_progress_may_change_after_the_end(run):
    end(run)
    run.log_file.write_text("one more line")
    run.set_progress(1, 1, "done")

    assert run.is_complete()


def test_metrics_are_read_from_where_reading_stopped(run):
    run.log(1, {"loss/train": 0.7})
    rows, offset = run.read_metrics()
    assert [(row["step"], row["metrics"]) for row in rows] == [(1, {"loss/train": 0.7})]

    run.log(2, {"loss/train": math.nan})
    rows, offset = run.read_metrics(offset)
    assert [(row["step"], row["metrics"]) for row in rows] == [(2, {"loss/train": None})]
    assert run.read_metrics(offset) == ([], offset)


def test_the_half_line_of_a_killed_process_is_neither_read_nor_joined_to_the_next(run):
    run.log(1, {"loss/train": 0.7})
    with run.metrics_file.open("a") as file:
        file.write('{"step": 2, "met')
    assert len(run.read_metrics()[0]) == 1

    run.log(2, {"loss/train": 0.6})

    assert [row["step"] for row in run.read_metrics()[0]] == [1, 2]


def test_parts_are_numbered_and_complete(run):
    run.write_part([{"prompt_id": 1, "text": "a"}])
    run.write_part([{"prompt_id": 2, "text": "b"}, {"prompt_id": 3, "text": ""}])
    (run.samples / ".00002.parquet.unfinished").write_bytes(b"half")

    assert [part.name for part in run.parts()] == ["00000.parquet", "00001.parquet"]
    assert [row["text"] for row in run.sampled()] == ["a", "b", ""]


def test_cancel_and_pause(run):
    run.stop_if_asked()

    run.ask(pause=True)
    threading.Timer(0.2, lambda: run.ask(cancel=True)).start()
    with pytest.raises(Cancelled):
        run.stop_if_asked()


def test_a_cancelled_run_can_be_opened_again(run):
    run.write_part([{"text": "kept"}])
    run.ask(cancel=True)
    run.finish(Outcome(state="cancelled"))

    run.reopen()

    assert run.outcome() is None
    run.stop_if_asked()
    assert [row["text"] for row in run.sampled()] == ["kept"]


def test_progress_is_nothing_before_it_is_something(run):
    assert run.progress() == Progress(step=0, total=0, phase="")
    run.set_progress(3, 10, "training")
    assert run.progress() == Progress(step=3, total=10, phase="training")


def test_the_tail_of_a_long_log_begins_at_a_line(run):
    run.log_file.write_text("".join(f"line {n}\n" for n in range(1000)))
    assert run.log_tail(100).startswith("line ")
    assert run.log_tail(100).endswith("line 999\n")


def test_a_model_that_was_not_resolved_or_does_not_exist_is_named(run):
    with pytest.raises(BrokenRun, match="other@1"):
        run.model_folder("other@1")
    with pytest.raises(BrokenRun, match="holds no model"):
        run.model_folder("base@1")


def test_a_missing_config_is_named(tmp_path):
    with pytest.raises(BrokenRun, match=r"config\.json is missing"):
        RunFolder(tmp_path).config()


def test_a_folder_checksum_sees_names_and_contents(tmp_path):
    (tmp_path / "a").write_text("1")
    first = folder_checksum(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = folder_checksum(tmp_path)
    (tmp_path / "b").write_text(json.dumps(2))
    assert len({first, second, folder_checksum(tmp_path)}) == 3
