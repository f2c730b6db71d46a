"""The data page: files come in, a model answers, snapshots are frozen, exports go out."""

import json
from io import BytesIO

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone

from annotation.imports import import_rankings
from annotation.models import Candidate, Membership, Project, Prompt, Ranking, Task
from training.models import Dataset, ModelVersion, Run, Worker

DATA, UPLOAD = "/p/kitchen/data/", "/p/kitchen/data/upload/"
HTMX = {"HX-Request": "true"}
GOOD = '{"prompt": "How long do eggs keep?", "candidates": ["Five weeks.", {"text": "A day.", "model": "m1"}]}'


@pytest.fixture
def speaker(db) -> ModelVersion:
    return ModelVersion.objects.create(name="small", version=1, kind="base", folder="models/x", checksum="0" * 64)


@pytest.fixture
def waiting(project, make_task) -> list[Task]:
    tasks = [make_task(f"Question {n}?", answers=()) for n in range(3)]
    Task.objects.update(ready=False)
    return tasks


@pytest.fixture
def judged(project) -> Project:
    rows = [
        {
            "task": str(n),
            "prompt": f"Question {n}?",
            "candidates": ["A", "B", "C"],
            "annotator": person,
            "tiers": [[0], [1, 2]],
        }
        for n in range(10)
        for person in ("a1", "a2")
    ]
    import_rankings(project, rows)
    return project


def page(client, membership: Membership, url: str = DATA, **query: str) -> str:
    client.force_login(membership.user)
    answer = client.get(url, query)
    assert answer.status_code == 200
    return answer.content.decode()


def upload(client, lines: str | bytes, **data: str):
    raw = lines.encode() if isinstance(lines, str) else lines
    file = SimpleUploadedFile("prompts.jsonl", raw)
    return client.post(UPLOAD, {"content": "prompts", "file": file, **data}, follow=True)


# --- Upload ---


def test_prompts_come_in_by_a_file(client, project, manager):
    client.force_login(manager.user)
    shown = upload(client, GOOD + '\n{"prompt": "你好"}\n').content.decode()

    assert "Stored: 2 prompts, 2 answers." in shown
    assert Prompt.objects.count() == 2 and Candidate.objects.get(text="A day.").model_name == "m1"


def test_a_bad_line_stops_all_and_is_named(client, project, manager):
    client.force_login(manager.user)
    answer = upload(client, f'{GOOD}\n{{"question": "no prompt"}}\nnot json\n')
    shown = answer.content.decode()

    assert answer.status_code == 422
    assert "2 lines are bad. Nothing was stored." in shown
    assert "prompts.jsonl, line 2" in shown and "prompts.jsonl, line 3" in shown
    assert not Prompt.objects.exists()


def test_the_good_lines_are_stored_on_request(client, project, manager):
    client.force_login(manager.user)
    shown = upload(client, f'{GOOD}\n{{"question": "no prompt"}}\n', skip_bad="on").content.decode()

    assert "Stored: 1 prompt, 2 answers." in shown and "1 line is bad and was left out" in shown
    assert "prompts.jsonl, line 2" in shown


def test_duplicates_are_reported(client, project, manager):
    client.force_login(manager.user)
    upload(client, GOOD)
    shown = upload(client, GOOD).content.decode()
    assert "Stored: nothing new." in shown and "1 duplicate was not stored again" in shown


def test_finished_rankings_come_in_too(client, project, manager):
    client.force_login(manager.user)
    line = json.dumps(
        {"prompt": "Eggs?", "candidates": ["A day.", "Five weeks."], "annotator": "a7", "tiers": [[1], [0]]}
    )
    assert "Stored: 1 prompt, 2 answers, 1 ranking." in upload(client, line, content="rankings").content.decode()
    assert Ranking.objects.counted().count() == 1


@pytest.mark.parametrize("content", [b"", b"\xff\xfeh\x00i\x00", b"PK\x03\x04 a spreadsheet"])
def test_a_file_that_cannot_be_read_is_refused_by_name(client, project, manager, content):
    client.force_login(manager.user)
    answer = upload(client, content)
    assert answer.status_code == 422 and "prompts.jsonl cannot be read" in answer.content.decode()
    assert not Prompt.objects.exists()


def test_too_large_a_file_is_refused(client, project, manager, settings):
    settings.MAX_UPLOAD_MB = 1
    client.force_login(manager.user)
    answer = client.post(UPLOAD, {"content": "prompts", "file": SimpleUploadedFile("p.jsonl", b"x" * (2**20 + 1))})
    assert answer.status_code == 422 and "at most 1.0" in answer.content.decode()


def test_no_file_is_told(client, manager):
    client.force_login(manager.user)
    answer = client.post(UPLOAD, {"content": "prompts"})
    assert answer.status_code == 422 and "This field is required" in answer.content.decode()


# --- Generate ---


def test_the_plan_counts_prompts_and_time(client, manager, speaker, waiting):
    shown = page(client, manager)
    assert "for 3 prompts that lack answers, about" in shown
    assert "small@1" in shown and "No worker is running" in shown


def test_another_choice_is_planned_anew(client, manager, speaker, waiting):
    client.force_login(manager.user)
    url = reverse("generate", args=["kitchen"])
    few, many = (
        client.get(url, {"model": "small@1", "per_prompt": n}, headers=HTMX | {"HX-Target": "plan"}).content.decode()
        for n in ("2", "9")
    )
    assert "for 3 prompts" in few and "for 3 prompts" in many and few != many
    assert "<html" not in few


def test_generating_queues_one_run_and_shows_it_live(client, project, manager, speaker, waiting):
    client.force_login(manager.user)
    for _ in range(2):  # a double click
        shown = client.post(
            reverse("generate", args=["kitchen"]), {"model": "small@1", "per_prompt": "3"}, follow=True
        ).content.decode()

    run = Run.objects.get()
    assert (run.method, run.project, run.config["per_prompt"], run.created_by) == (
        "generate",
        project,
        3,
        manager.user,
    )
    assert "being written already" in shown
    assert 'hx-trigger="every 2s"' in shown and "Stop" in shown and "3 prompts still lack answers" in shown
    part = client.get(reverse("generate", args=["kitchen"]), headers=HTMX | {"HX-Target": "generation"})
    assert "every 2s" in part.content.decode() and "<html" not in part.content.decode()


def test_the_page_renews_itself_when_the_run_is_over(client, manager, speaker, waiting):
    client.force_login(manager.user)
    answer = client.get(reverse("generate", args=["kitchen"]), headers=HTMX | {"HX-Target": "generation"})
    assert answer["HX-Refresh"] == "true"


def test_stop_cancels_and_keeps_what_is_there(client, project, manager, speaker, waiting):
    client.force_login(manager.user)
    client.post(reverse("generate", args=["kitchen"]), {"model": "small@1", "per_prompt": "4"})
    Candidate.objects.create(task=waiting[0], text="One.", model_name="small@1")

    client.post(reverse("stop", args=["kitchen"]))

    assert Run.objects.get().state == Run.State.CANCELLED
    assert Candidate.objects.count() == 1


def test_a_failed_run_says_why(client, project, manager, speaker, waiting):
    Run.objects.create(
        name="x",
        method="generate",
        config={},
        project=project,
        state="failed",
        error="The disk is full.",
        started_at=timezone.now(),
        ended_at=timezone.now(),
    )
    assert "The disk is full." in page(client, manager)


def test_without_a_model_it_says_how_to_register_one(client, manager, waiting):
    shown = page(client, manager)
    assert "register_model" in shown and "Generate answers</button>" not in shown


def test_models_of_another_project_are_not_offered(client, manager, speaker, waiting):
    other = Project.objects.create(slug="other", title="Other")
    run = Run.objects.create(name="x", method="dpo", config={}, project=other, state="succeeded")
    ModelVersion.objects.create(name="secret", version=1, kind="policy", folder="m", checksum="1" * 64, run=run)
    assert "secret@1" not in page(client, manager)
    client.post(reverse("generate", args=["kitchen"]), {"model": "secret@1", "per_prompt": "4"})
    assert Run.objects.filter(method="generate").count() == 0


def test_a_worker_that_lives_needs_no_warning(client, manager, speaker, waiting):
    Worker.objects.create(name="w", device="cpu", seen_at=timezone.now())
    assert "No worker is running" not in page(client, manager)


# --- Snapshot and export ---


def test_a_snapshot_is_shown_before_it_is_frozen(client, judged, manager):
    shown = page(client, manager, reverse("snapshot", args=["kitchen"]))
    assert "20 rankings make 20 pairs" in shown  # two pairs and a tie in each of ten tasks
    assert "100 %" in shown and "Train" in shown and "Validation" in shown
    assert not Dataset.objects.exists()

    client.post(reverse("snapshot", args=["kitchen"]), {"name": "first"})
    dataset = Dataset.objects.get()
    assert (dataset.name, dataset.summary["pairs"], dataset.summary["ties"]) == ("first", 20, 10)
    assert dataset.created_by == manager.user


def test_a_taken_name_is_told(client, judged, manager):
    client.force_login(manager.user)
    url = reverse("snapshot", args=["kitchen"])
    client.post(url, {"name": "first"})
    answer = client.post(url, {"name": "first"})
    assert answer.status_code == 422 and "already" in answer.content.decode()
    assert Dataset.objects.count() == 1


def test_nothing_judged_is_nothing_to_freeze(client, project, manager, task):
    assert "nothing to freeze" in page(client, manager, reverse("snapshot", args=["kitchen"]))
    assert client.post(reverse("snapshot", args=["kitchen"]), {"name": ""}).status_code == 422


def test_engineers_train_from_here_and_managers_do_not(client, judged, manager, engineer):
    client.force_login(manager.user)
    client.post(reverse("snapshot", args=["kitchen"]), {"name": ""})
    dataset = Dataset.objects.get()
    link = f"{reverse('admin:training_run_add')}?method=reward&amp;dataset={dataset.pk}"

    assert link in page(client, engineer) and "Train with DPO" in page(client, engineer)
    assert "Train with DPO" not in page(client, manager)


@pytest.mark.parametrize(
    ("kind", "lines"),
    [("preference", 20), ("unpaired_preference", 30), ("prompt_only", 10), ("prompt_completion", 10), ("rankings", 20)],
)
def test_exports_are_streamed_as_json_lines(client, judged, manager, kind, lines):
    client.force_login(manager.user)
    answer = client.get(reverse("export", args=["kitchen"]), {"type": kind})
    content = b"".join(answer.streaming_content)

    rows = [json.loads(line) for line in BytesIO(content)]
    assert len(rows) == lines
    assert answer["Content-Disposition"] == f'attachment; filename="kitchen-{kind}.jsonl"'
    assert b'"a1"' not in content  # pseudonyms only


def test_an_unknown_export_is_not_found(client, judged, manager):
    client.force_login(manager.user)
    assert client.get(reverse("export", args=["kitchen"]), {"type": "passwords"}).status_code == 404


# --- Who, and how much ---


def test_an_empty_project_asks_for_prompts(client, manager):
    shown = page(client, manager)
    assert "There is nothing here yet" in shown and UPLOAD in shown


@pytest.mark.parametrize("who", ["annotator", "stranger"])
@pytest.mark.parametrize("name", ["data", "generate", "snapshot", "export", "upload"])
def test_annotators_see_none_of_it(client, who, name, request, manager, judged):
    person = request.getfixturevalue(who)
    client.force_login(getattr(person, "user", person))
    assert client.get(reverse(name, args=["kitchen"]), {"type": "rankings"}).status_code == 404
    assert client.post(reverse(name, args=["kitchen"])).status_code == 404


def test_a_get_stops_nothing(client, manager):
    client.force_login(manager.user)
    assert client.get(reverse("stop", args=["kitchen"])).status_code == 405


def test_its_queries_do_not_grow(client, manager, speaker, make_task, count_queries):
    client.force_login(manager.user)
    make_task("First?", answers=())
    Task.objects.update(ready=False)
    few = count_queries(client, DATA)
    for n in range(30):
        make_task(f"Question {n}?")
    for n in range(30):
        make_task(f"Waiting {n}?", answers=("One.",))
    Task.objects.filter(pk__gt=Task.objects.order_by("pk")[30].pk).update(ready=False)
    assert count_queries(client, DATA) == few <= 20
