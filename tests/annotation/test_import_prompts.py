import gzip
import io
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from annotation import readers
from annotation.assignment import next_task
from annotation.imports import BadFile, ImportRefused, NewCandidate, add_candidates, import_prompts
from annotation.models import Candidate, Kind, Prompt, Task

ROWS = [
    {"prompt": "How long do eggs keep?", "language": "en", "tags": ["food", "advice"], "batch": "b1"},
    {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "怎么煮米饭?"}]},
    {"prompt": "كيف أصنع الخبز؟", "metadata": {"source": "letter", "year": 2026}},
]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode()


@pytest.fixture
def stored(project):
    return lambda: list(project.prompts.order_by("pk").values_list("messages", "language", "tags", "batch", "metadata"))


def test_prompts_wait_for_answers_in_the_order_of_the_file(project, stored):
    report = import_prompts(project, ROWS)

    assert (report.prompts, report.tasks, report.candidates, report.bad, report.duplicates) == (3, 3, 0, [], [])
    assert stored() == [
        ([{"role": "user", "content": "How long do eggs keep?"}], "en", ["food", "advice"], "b1", {}),
        (ROWS[1]["prompt"], "zh", [], "", {}),
        ([{"role": "user", "content": "كيف أصنع الخبز؟"}], "", [], "", {"source": "letter", "year": 2026}),
    ]
    tasks = Task.objects.order_by("position")
    assert [task.prompt.messages for task in tasks] == [messages for messages, *_ in stored()]
    assert not any(task.ready for task in tasks)


def test_answers_that_come_along_open_the_task(project, annotator):
    project.answers_per_task = 3
    project.save()
    answers = ["Five weeks.", {"text": "", "model": "sft-v1"}, {"text": "Five weeks.", "model": "sft-v1"}]

    import_prompts(
        project, [{"prompt": "Eggs?", "candidates": answers}, {"prompt": "Milk?", "candidates": answers[:2]}]
    )

    assert list(Task.objects.order_by("position").values_list("ready", flat=True)) == [True, False]
    assert list(Candidate.objects.filter(task__ready=True).values_list("text", "model_name")) == [
        ("Five weeks.", ""),
        ("", "sft-v1"),
        ("Five weeks.", "sft-v1"),
    ]
    assert next_task(annotator).task.prompt.last_user_turn == "Eggs?"


def test_the_same_again_is_reported_and_not_stored(project):
    import_prompts(project, ROWS[:2])

    report = import_prompts(project, [*ROWS, ROWS[2]])

    assert report.prompts == 1
    assert [str(problem) for problem in report.duplicates] == [
        "row 1: prompt: is there already",
        "row 2: prompt: is there already",
        "row 4: prompt: is there already",
    ]
    assert Prompt.objects.count() == 3


def test_calibration_tasks_are_drawn_by_hash(project):
    project.overlap, project.calibration_share, project.calibration_overlap = 1, 0.3, 3
    project.save()

    import_prompts(project, [{"prompt": f"Question {n}?"} for n in range(300)])

    assert set(Task.objects.values_list("is_calibration", "overlap")) == {(True, 3), (False, 1)}
    assert 0.2 < Task.objects.filter(is_calibration=True).count() / 300 < 0.4
    assert all(task.is_calibration == (task.draw < 0.3) for task in Task.objects.all())


TABLE = """\ufeffprompt;language;tags;batch;metadata\r
How long do eggs keep?;en;food, advice;b1;\r
"[{""role"": ""system"", ""content"": ""Be brief.""}, {""role"": ""user"", ""content"": ""怎么煮米饭?""}]"\r
كيف أصنع الخبز؟;;;;"{""source"": ""letter"", ""year"": 2026}"\r
"""


def messages_of(row):
    return row["prompt"] if isinstance(row["prompt"], list) else [{"role": "user", "content": row["prompt"]}]


def parquet(**columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = {name: [row.get(name) for row in ROWS] for name in ("language", "tags", "batch", "metadata")}
    file = io.BytesIO()
    pq.write_table(pa.table(columns or {"prompt": [messages_of(row) for row in ROWS], **rows}), file)
    return file.getvalue()


def latin_parquet():
    import pyarrow as pa

    return parquet(prompt=pa.array(["café".encode("latin-1")]).view(pa.string()))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(LINES, id="jsonl"),
        pytest.param(b"\xef\xbb\xbf" + LINES, id="byte-order-mark"),
        pytest.param(LINES.replace(b"\n", b"\r\n\r\n"), id="windows-lines-and-blank-ones"),
        pytest.param(gzip.compress(LINES), id="jsonl.gz"),
        pytest.param(json.dumps(ROWS, indent=2).encode(), id="json"),
        pytest.param(TABLE.encode(), id="csv"),
        pytest.param(parquet(), id="parquet"),
    ],
)
def test_the_format_is_told_by_the_content(project, stored, tmp_path, content):
    (tmp_path / "prompts.txt").write_bytes(content)

    import_prompts(project, tmp_path / "prompts.txt")
    by_path = stored()
    Prompt.objects.all().delete()
    import_prompts(project, SimpleUploadedFile("upload.bin", content))

    assert by_path == stored() and len(by_path) == 3
    assert [row[0] for row in by_path] == [messages_of(row) for row in ROWS]
    assert by_path[0][2] == ["food", "advice"]
    assert by_path[2][4] == {"source": "letter", "year": 2026}


GOOD = b'{"prompt": "Good?"}\n'


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b'{"prompt": "broken', "p.jsonl, line 2: is not JSON: unterminated string starting at character 12"),
        (b'{"prompt": "caf\xe9?"}', "p.jsonl, line 2: is not UTF-8 at byte 16"),
        (b'{"language": "en"}', "p.jsonl, line 2: prompt: is missing"),
        (b'{"prompt": "  \\n"}', "p.jsonl, line 2: prompt: is empty"),
        (b'{"prompt": 7}', "p.jsonl, line 2: prompt: expected a text or a list of messages"),
        (b'{"prompt": []}', "p.jsonl, line 2: prompt: expected a text or a list of messages"),
        (b'{"promt": "Hi"}', "p.jsonl, line 2: promt: unknown field; did you mean prompt?"),
        (b'{"prompt": "Hi", "zzz": 1}', "p.jsonl, line 2: zzz: unknown field; expected prompt, language"),
        (b'{"prompt": [{"role": "user"}]}', "p.jsonl, line 2: prompt[0]: expected an object with exactly role"),
        (b'{"prompt": [{"role": "bot", "content": "x"}]}', "p.jsonl, line 2: prompt[0].role: expected user or"),
        (b'{"prompt": [{"role": "assistant", "content": "x"}]}', "p.jsonl, line 2: prompt[0]: expected the last"),
        (b'{"prompt": "a\\u0000b"}', "p.jsonl, line 2: prompt: holds a NUL character"),
        (b'{"prompt": "a\\ud800b"}', "p.jsonl, line 2: prompt: holds half of a surrogate pair"),
        (b'{"prompt": "Hi", "metadata": {"x": ["a\\u0000"]}}', "p.jsonl, line 2: metadata: holds a NUL"),
        (b'{"prompt": "Hi", "metadata": {"x": NaN}}', "p.jsonl, line 2: is not JSON: NaN is no JSON number"),
        (b'{"prompt": "Hi", "metadata": {"x": 1e999}}', "p.jsonl, line 2: metadata: expected only"),
        (b'{"prompt": "Hi", "tags": "food"}', "p.jsonl, line 2: tags: expected a list of texts"),
        (b'{"prompt": "Hi", "batch": "' + b"b" * 81 + b'"}', "p.jsonl, line 2: batch: has 81 characters; expected at"),
        (b'{"prompt": "Hi", "candidates": [{"txt": "a"}]}', "p.jsonl, line 2: candidates[0]: expected a text, or"),
        (b'{"prompt": "Hi", "candidates": ["a", "a"]}', "p.jsonl, line 2: candidates: holds the same answer"),
        (b'{"prompt": "Hi", "candidates": [1,2,3,4,5,6,7,8,9,10]}', "p.jsonl, line 2: candidates: expected a list"),
        (b"[1, 2]", "p.jsonl, line 2: must be one JSON object"),
        (b'{"prompt": ' + b"[" * 100_000, "p.jsonl, line 2: is not JSON: it is nested too deeply"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_stored(project, tmp_path, line, sentence):
    (tmp_path / "p.jsonl").write_bytes(GOOD + line + b"\n" + GOOD.replace(b"Good", b"Better"))

    with pytest.raises(ImportRefused) as refused:
        import_prompts(project, tmp_path / "p.jsonl")

    assert str(refused.value).startswith(sentence)
    assert str(refused.value).endswith("Nothing was stored.")
    assert not Prompt.objects.exists()

    report = import_prompts(project, tmp_path / "p.jsonl", skip_bad=True)

    assert [prompt.last_user_turn for prompt in Prompt.objects.order_by("pk")] == ["Good?", "Better?"]
    assert [str(problem).startswith(sentence) for problem in report.bad] == [True]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "p.jsonl cannot be read: it is empty."),
        (LINES.decode().encode("utf-16"), "p.jsonl cannot be read: it is not UTF-8 text"),
        (gzip.compress(LINES)[:-20], "p.jsonl is a damaged gzip file."),
        (b"PK\x03\x04\x14\0\0\0\x08\0 a spreadsheet", "p.jsonl cannot be read: it is a ZIP archive or a spreadsheet"),
        (b"PAR1 but nothing more", "p.jsonl cannot be read: it is damaged Parquet"),
        (latin_parquet(), "p.jsonl cannot be read: it is damaged Parquet ('utf-8' codec can't decode"),
        (b'[{"prompt": "a"}', "p.jsonl cannot be read: it is not JSON"),
        (b"prompt,language\ncaf\xe9,fr\n", "p.jsonl cannot be read: line 2 is not UTF-8 at byte 4."),
    ],
)
def test_a_file_that_cannot_be_read_says_why(project, tmp_path, content, sentence):
    (tmp_path / "p.jsonl").write_bytes(content)

    for skip_bad in (False, True):
        with pytest.raises(BadFile) as bad:
            import_prompts(project, tmp_path / "p.jsonl", skip_bad=skip_bad)
        assert str(bad.value).startswith(sentence)
    assert not Prompt.objects.exists()


def test_a_row_of_a_csv_with_more_cells_than_columns(project, tmp_path):
    (tmp_path / "p.csv").write_bytes(b"prompt,language\nHow, much?,en\n")

    with pytest.raises(ImportRefused, match=r"p.csv, line 2: has 3 cells; its first line names 2 columns"):
        import_prompts(project, tmp_path / "p.csv")


def test_a_line_of_200_mb_fills_no_memory(project, tmp_path):
    """Gzip'd it is 200 kB; the reader never holds more than its limit of it."""
    import tracemalloc

    path = tmp_path / "bomb.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(GOOD + b'{"prompt": "')
        for _ in range(200):
            file.write(b"a" * 2**20)
        file.write(b'"}\n')
    tracemalloc.start()

    with pytest.raises(ImportRefused) as refused:
        import_prompts(project, path)

    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert str(refused.value) == "bomb.jsonl.gz, line 2: is longer than 8 MB; expected one row. Nothing was stored."
    assert peak < 5 * readers.MAX_LINE
    assert not Prompt.objects.exists()


def test_two_answers_are_compared_in_a_pairwise_project(project):
    project.kind, project.answers_per_task = Kind.PAIRWISE, 2
    project.save()

    with pytest.raises(ImportRefused, match="at most 2 in this project"):
        import_prompts(project, [{"prompt": "Hi", "candidates": ["a", "b", "c"]}])


# --- Candidates ------------------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(project):
    import_prompts(project, [{"prompt": "Eggs?"}])
    return Task.objects.get()


def answers(*texts):
    return [NewCandidate(text, "base@1", {"temperature": 0.7}, tokens=3) for text in texts]


def test_a_task_opens_with_its_last_answer(waiting):
    assert len(add_candidates(waiting, answers("a", "b", "c"))) == 3
    assert not Task.objects.get().ready

    add_candidates(waiting, answers("d"))

    assert Task.objects.get().ready
    assert set(Candidate.objects.values_list("text", "model_name", "tokens")) == {(t, "base@1", 3) for t in "abcd"}


def test_adding_the_same_answers_twice_adds_them_once(waiting):
    add_candidates(waiting, answers("a", "b"))

    assert add_candidates(waiting, answers("a", "b", "b")) == []
    assert Candidate.objects.count() == 2


def test_an_open_task_takes_no_more(waiting):
    add_candidates(waiting, answers("a", "b"), wanted=2)

    assert add_candidates(waiting, answers("c")) == []
    assert Candidate.objects.count() == 2


def test_no_more_than_wanted(waiting):
    add_candidates(waiting, answers("a", "b", "c", "d", "e"))

    assert Candidate.objects.count() == 4
