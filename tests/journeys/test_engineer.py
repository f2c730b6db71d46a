"""An engineer freezes a snapshot, launches a reward run, sees its curve move, cancels, clones and compares."""

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Page, expect

from annotation.models import Prompt
from tests.journeys.conftest import ROOT, Server
from training.models import Dataset, Evaluation, Metric, ModelVersion, Run, Worker
from training.rundir import RunFolder

TOKENIZER = ROOT / ".setup" / "models" / "smollm2-135m-instruct"
SUMMARY = {
    "tasks": 312,
    "rankings": 640,
    "pairs": 1489,
    "ties": 133,
    "all_bad": 9,
    "agreement": 0.71,
    "splits": {
        "train": {"tasks": 251, "pairs": 1204},
        "validation": {"tasks": 30, "pairs": 140},
        "test": {"tasks": 31, "pairs": 145},
    },
}
CONFIG = {"model": "smollm2-135m-instruct@1", "device": "cpu", "epochs": 2, "learning_rate": 0.0001, "seed": 42}
ANSWERS = [
    (
        "How long do eggs keep in the fridge?",
        "About **five weeks** from the day they were packed.\n\n- keep them in their box\n- put one in water: a fresh "
        "egg sinks, an old one floats",
        "Eggs are a good food. Eggs keep for a time. It depends on the eggs and on the time that the eggs are kept.",
    ),
    (
        "怎样保存切开的牛油果？",
        "在切面上涂一点柠檬汁，用保鲜膜贴紧，放进冰箱，一两天内吃完。",
        "<script>alert(1)</script> ![x](https://example.org/x.png) 牛油果。",
    ),
]
LOG = """10:02:11 Train a reward model: {"seed":42,"device":"cpu","threads":2}
10:02:19 1204 pairs to learn from, 140 held out, of 1344.
10:04:40 Checkpoint at step 20 of 120.
10:07:02 Checkpoint at step 40 of 120."""


def curve(run: Run, steps: int) -> None:
    metrics = []
    for step in range(1, steps + 1):
        wave = 0.05 * math.sin(step * 1.7) + 0.03 * math.sin(step * 4.1)
        loss, share = 0.42 + 0.28 * math.exp(-step / 25), 0.7 - 0.2 * math.exp(-step / 30)
        values = {"loss/train": loss + wave, "rewards/accuracies": share - wave, "score/mean": wave / 10}
        if step % 10 == 0:
            values |= {"loss/heldout": loss + 0.02, "heldout/rewards/accuracies": share - 0.03}
        metrics += [Metric(run=run, step=step, name=name, value=value) for name, value in values.items()]
    Metric.objects.bulk_create(metrics)
    run.folder.mkdir(parents=True)
    (run.folder / "log.txt").write_text(LOG)


def compare_policies(project, engineer, base, judge, dataset) -> None:
    """A policy and a finished comparison of it with its base."""
    common = {"config": CONFIG, "project": project, "created_by": engineer.user, "state": "succeeded", "attempts": 1}
    trained = Run.objects.create(name="kitchen-dpo", method="dpo", **common)
    trained.parents.set([base])
    trained.datasets.set([dataset])
    policy = ModelVersion.objects.create(
        name="kitchen-dpo", version=1, kind="policy", folder="runs/8/model", checksum="c3" * 32, run=trained
    )
    run = Run.objects.create(name=f"{policy} / {base}", method="evaluate", **common)
    result = {
        "kind": "win_rate", "prompts": 16, "answers": 16, "wins": 9, "ties": 1, "losses": 6, "win_rate": 0.594,
        "win_rate_ci": [0.355, 0.801], "length_controlled": 0.561, "verdict": "no difference shown",
        "mean_tokens": {str(policy): 122.4, str(base): 141.9}, "cut": {str(policy): 1, str(base): 3},
        "prompts_left_out": 24, "judge_saw_prompts_of": "none of these prompts",
        "judge_trained_on": [{"method": "reward", "model": str(base), "pairs": 1204, "tasks": 251}],
    }  # fmt: skip
    Evaluation.objects.create(run=run, model=policy, baseline=base, judge=judge, result=result)
    rows = []
    for number, (question, good, poor) in enumerate(ANSWERS):
        messages = [{"role": "user", "content": question}]
        digest = Prompt.hash_messages(messages)
        prompt = Prompt.objects.create(
            project=project, messages=messages, content_hash=digest, split=Prompt.split_of(digest)
        )
        for model, text, score in ((policy, good, 1.31 - number), (base, poor, 0.42)):
            rows.append(
                {"prompt_id": prompt.pk, "model": str(model), "text": text, "score": score, "tokens": 40, "cut": False}
            )
    RunFolder(run.folder).write_part(rows)


@pytest.fixture
def stock(project, engineer, settings, server) -> dict[str, Run]:
    """Datasets, models, and a run in every state."""
    settings.STORAGE = server.storage
    shutil.rmtree(server.storage / "runs", ignore_errors=True)  # of the journey before: numbers begin anew
    now = timezone.now()
    dataset = Dataset.objects.create(
        name="kitchen-1", project=project, file="datasets/k.parquet", sha256="5e" * 32, summary=SUMMARY,
        created_by=engineer.user,
    )  # fmt: skip
    base = ModelVersion.objects.create(
        name="smollm2-135m-instruct", version=1, kind="base", folder="models/smollm2", checksum="a1" * 32,
        source="HuggingFaceTB/SmolLM2-135M-Instruct", stage="promoted",
    )  # fmt: skip
    common = {"config": CONFIG, "project": project, "created_by": engineer.user}
    held = {"state": "running", "worker": "w", "attempts": 1, "heartbeat_at": now, "device": "cpu"}
    runs = {
        "succeeded": Run(
            name="kitchen-reward", method="reward", state="succeeded", step=120, total_steps=120, attempts=1,
            started_at=now - timedelta(hours=3), ended_at=now - timedelta(hours=2, minutes=41),
            outcome={"seconds": 1132, "peak_memory_mb": 2410, "summary": {"pairs": 1204, "steps": 120, "held_out": {
                "pairs": 140, "prompts": 30, "accuracy": 0.643, "accuracy_ci": [0.551, 0.731],
                "length_accuracy": 0.564, "length_rule": "prefer the shorter", "against_length": "no difference shown",
            }}},
        ),
        "failed": Run(
            name="kitchen-dpo", method="dpo", state="failed", step=3, total_steps=120, attempts=1,
            started_at=now - timedelta(hours=2), ended_at=now - timedelta(hours=1, minutes=59),
            error="The device has too little memory. Take a smaller batch size or shorter texts.",
        ),
        "running": Run(
            name="kitchen-reward", method="reward", step=47, total_steps=120, phase="training", slot="here cpu",
            started_at=now - timedelta(minutes=6), progressed_at=now, **held,
        ),
        "stalled": Run(
            name="kitchen-dpo", method="dpo", step=8, total_steps=120, slot="here cuda:0",
            started_at=now - timedelta(hours=2), progressed_at=now - timedelta(minutes=97), **held,
        ),
        "cancelled": Run(name="kitchen-dpo", method="dpo", state="cancelled", started_at=now, ended_at=now),
        "queued": Run(name="kitchen-dpo", method="dpo", state="queued"),
        "second": Run(name="kitchen-reward", method="reward", state="queued"),
    }  # fmt: skip
    for run in runs.values():
        for field, value in common.items():
            setattr(run, field, value)
        run.save()
        run.datasets.set([dataset])
        run.parents.set([base])
    runs["generating"] = Run.objects.create(
        name="Answers of smollm2-135m-instruct@1", method="generate", slot="here cuda:1", step=24, total_steps=160,
        phase="answering", started_at=now - timedelta(minutes=3), progressed_at=now, project=project,
        config={"model": str(base), "per_prompt": 4, "temperatures": [0.7, 1.0]}, **held,
    )  # fmt: skip
    texts = ["Put them in a **cool, dry** place.\n\n```python\nprint('eggs')\n```", "I am not sure what you mean."]
    RunFolder(runs["generating"].folder).write_part(
        [{"task_id": 1, "prompt_id": 7, "model": str(base), "text": text, "tokens": 9, "cut": False} for text in texts]
    )
    curve(runs["succeeded"], 120)
    curve(runs["running"], 47)
    reward = ModelVersion.objects.create(
        name="kitchen-reward", version=1, kind="reward", folder="runs/1/model", checksum="b2" * 32,
        run=runs["succeeded"],
    )  # fmt: skip
    compare_policies(project, engineer, base, reward, dataset)
    runs["evaluated"] = Run.objects.get(method="evaluate")
    Worker.objects.create(name="w", device="cpu", seen_at=now + timedelta(hours=1))
    return runs


def pages_of(stock: dict[str, Run]) -> dict[str, str]:
    dataset, model = Dataset.objects.get(), ModelVersion.objects.get(kind="reward")
    pages = {
        "runs": "/admin/training/run/",
        "choose": "/admin/training/run/add/",
        "launch": f"/admin/training/run/add/?method=reward&dataset={dataset.pk}",
        "models": "/admin/training/modelversion/",
        "model": f"/admin/training/modelversion/{model.pk}/change/",
        "compare": "/p/kitchen/compare/?a=kitchen-dpo@1&b=smollm2-135m-instruct@1",
        "datasets": "/admin/training/dataset/",
        "dataset": f"/admin/training/dataset/{dataset.pk}/change/",
    }
    for name in ("succeeded", "failed", "running", "stalled", "queued", "generating", "evaluated"):
        pages[f"run-{name}"] = f"/admin/training/run/{stock[name].pk}/change/"
    return pages


@pytest.mark.parametrize("look", ["wide", "320", "dark", "zh"])
def test_every_page_in_every_look(new_page, log_in, check_page, server, stock, look):
    page = new_page(width=320 if look == "320" else 1280)
    log_in(page, "eli")
    if look == "dark":
        page.context.add_cookies([{"name": "theme", "value": "dark", "url": server.url}])
    if look == "zh":
        page.context.add_cookies([{"name": "django_language", "value": "zh-hans", "url": server.url}])
    for name, address in pages_of(stock).items():
        response = page.goto(address)
        assert response and response.ok, (name, response)
        if page.locator(".chart").count():
            expect(page.locator(".chart canvas, .chart .waiting").first).to_be_visible()
        check_page(page, f"engineer-{name}-{look}")
        width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert width <= 0, f"{name} is {width} px too wide"


def test_a_superusers_pages_look_the_same(page, log_in, check_page, engineer):
    User.objects.create_superuser("root", password="root-secret")
    log_in(page, "root")
    for name, address in {
        "users": "/admin/auth/user/",
        "user": f"/admin/auth/user/{engineer.user.pk}/change/",
        "projects": "/admin/annotation/project/",
        "project": f"/admin/annotation/project/{engineer.project.pk}/change/",
        "attempts": "/admin/axes/accessattempt/",
    }.items():
        response = page.goto(address)
        assert response and response.ok, name
        check_page(page, f"superuser-{name}")


# The journey, with a worker that really trains


@pytest.fixture
def base(server: Server, project, tmp_path) -> str:
    """A tiny random model, registered as anyone would."""
    if not TOKENIZER.exists():
        pytest.skip("The tokenizer of SmolLM2 is not prepared here: run make setup.")
    made = [sys.executable, str(Path(__file__).with_name("tiny_model.py")), str(TOKENIZER), str(tmp_path / "tiny")]
    subprocess.run(made, check=True, capture_output=True)
    server.manage("register_model", "tiny", str(tmp_path / "tiny"))
    return "tiny@1"


@pytest.fixture
def judged(server: Server, project, tmp_path) -> None:
    """Forty questions, each with three answers in order; the better answer is the longer one."""
    lines = []
    for number in range(40):
        answers = [f"Answer {number}: " + "keep it cool and dry, " * length for length in (3, 2, 1)]
        tiers = [[0], [1], [2]]
        prompt = f"How do I keep food number {number}?"
        lines.append(json.dumps({"prompt": prompt, "candidates": answers, "annotator": "a1", "tiers": tiers}))
    file = tmp_path / "rankings.jsonl"
    file.write_text("\n".join(lines))
    server.manage("import_rankings", "kitchen", str(file))


@pytest.fixture
def start_worker(server: Server) -> Iterator[Callable[[], None]]:
    workers: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        command = [sys.executable, str(ROOT / "manage.py"), "run_worker"]
        log = (server.storage / "worker.log").open("ab")
        workers.append(subprocess.Popen(command, cwd=ROOT, env=server.environment, stdout=log, stderr=log))

    yield start
    for worker in workers:
        worker.terminate()
        worker.wait(timeout=40)


def fill(page: Page, **values: str) -> None:
    for name, value in values.items():
        page.locator(f"#id_{name}").fill(value)


def test_from_rankings_to_a_compared_policy(page, log_in, check_page, engineer, base, judged, start_worker):
    log_in(page, "eli")
    page.expected_errors.append("422")  # the mistake below

    # Freeze what people judged, and go on to a reward model
    page.goto("/p/kitchen/data/")
    page.get_by_role("link", name="Freeze a snapshot").first.click()
    page.get_by_role("button", name="Freeze").click()
    page.get_by_role("link", name="Train a reward model").first.click()

    # Launch: the button knows the pairs, a mistake is told beside its field
    expect(page.get_by_role("button", name=re.compile(r"Train on \d+ pairs"))).to_be_visible()
    fill(page, max_pairs="12")
    page.locator("#id_max_pairs").press("Tab")
    expect(page.get_by_role("button", name="Train on 12 pairs")).to_be_visible()
    fill(page, max_pairs="")
    page.get_by_text("All settings").click()
    fill(page, batch_size="0", epochs="100", max_length="128", eval_every="4", learning_rate="0.001")
    page.get_by_role("button", name=re.compile("Train on")).click()
    expect(page.get_by_role("alert")).to_contain_text("Batch size")
    check_page(page, "engineer-journey-1-mistake")
    fill(page, batch_size="4", gradient_accumulation="1")
    page.get_by_role("button", name=re.compile("Train on")).click()

    # Without a worker it says what to do; with one it starts, on the same page, without a reload
    expect(page.get_by_text("No worker is running. Start one:")).to_be_visible()
    page.evaluate("window.notReloaded = true")
    page.get_by_text("All other metrics").click()
    page.get_by_role("button", name="Cancel").focus()
    check_page(page, "engineer-journey-2-queued")
    start_worker()
    expect(page.get_by_text(re.compile(r"Running, step \d+ of"))).to_be_visible(timeout=90_000)

    # The curve moves
    canvas = page.locator(".chart canvas").first
    expect(canvas).to_be_visible(timeout=30_000)
    early = canvas.evaluate("canvas => canvas.toDataURL()")
    expect(page.locator("#values-loss")).to_contain_text("loss/heldout", timeout=30_000)
    page.wait_for_function("early => document.querySelector('.chart canvas').toDataURL() !== early", arg=early)
    assert page.evaluate("window.notReloaded")
    expect(page.get_by_text("optim/learning_rate")).to_be_visible()  # the fold is still open
    check_page(page, "engineer-journey-3-running")

    # Cancel
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text(re.compile(r"Cancelled at step \d+ of"))).to_be_visible(timeout=60_000)
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    check_page(page, "engineer-journey-4-cancelled")

    # Clone with fewer epochs: a reward model comes of it
    page.get_by_role("link", name="Clone").click()
    expect(page.locator("#id_max_length")).to_have_value("128")
    fill(page, epochs="1")
    page.get_by_role("button", name=re.compile("Train on")).click()
    expect(page.get_by_text("made the model kitchen-reward@1")).to_be_visible(timeout=120_000)
    expect(page.get_by_text(re.compile("kitchen-reward@1 orders"))).to_be_visible()
    check_page(page, "engineer-journey-5-succeeded")

    # A policy by DPO
    page.goto("/admin/training/run/add/?method=dpo")
    page.get_by_text("All settings").click()
    fill(page, max_length="128", max_pairs="8")
    page.locator("#id_max_pairs").press("Tab")
    page.get_by_role("button", name="Train on 8 pairs").click()
    expect(page.get_by_text("made the model kitchen-dpo@1")).to_be_visible(timeout=120_000)

    # Side by side with the model that it came from, judged by the reward model
    page.get_by_role("link", name="Compare with tiny@1").click()
    fill(page, max_new_tokens="12")
    page.get_by_role("button", name="Compare kitchen-dpo@1 with tiny@1").click()
    page.get_by_role("link", name="Watch it").click()
    expect(page.get_by_text(re.compile("kitchen-reward@1 (finds|shows)"))).to_be_visible(timeout=120_000)
    page.goto("/p/kitchen/compare/?a=kitchen-dpo@1&b=tiny@1")
    expect(page.get_by_role("heading", name="Side by side")).to_be_visible()
    assert page.locator("article .answer").count() >= 2
    check_page(page, "engineer-journey-6-compared")
