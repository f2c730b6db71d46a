"""An annotator, a manager and an engineer work in Chinese: no English is left over, and it fits a phone."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from annotation.assignment import next_task
from annotation.models import Project
from annotation.rankings import Answer, submit_ranking
from tests.journeys.conftest import Server
from training.models import Dataset, Metric, ModelVersion, Run

WORD = re.compile(r"[A-Za-z][\w'’.-]{2,}")
SPOKEN = """() => {
    const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    const said = [];
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const element = node.nodeType === Node.TEXT_NODE ? node.parentElement : node;
        if (element.closest("script, style, code, pre, kbd, time, .prose, .mono, [lang]:not(html)")) continue;
        if (node.nodeType === Node.TEXT_NODE) said.push(node.data);
        else for (const name of node.getAttributeNames())
            if (/^(aria-label|alt|title|placeholder|data-(?!metrics).*)$/.test(name))
                if (node.getAttribute(name).includes(" ")) said.push(node.getAttribute(name));
    }
    return said;
}"""
# Written alike in both languages: names of keys, formats, methods and, at the end, of people and things.
NAMES = re.findall(
    r"\S+",
    """Preferendum API Token Markdown JSON Lines CSV Parquet gzip Shift CPU DPO LoRA SFT SHA-256 Beta Top-p logit
    Krippendorff Fleiss Cohen Kendall Bradley-Terry alpha dropout lora full auto bf16 fp32 cpu mps cuda tiers candidates
    ada ben eli mia kitchen kitchen-1 kitchen-reward kitchen-dpo smollm2 model-0 model-1 model-2 model-3""",
)


def speaks_chinese(page: Page, name: str) -> None:
    left = [text.strip() for text in page.evaluate(SPOKEN) if any(word not in NAMES for word in WORD.findall(text))]
    assert page.locator("html").get_attribute("lang") == "zh-hans"
    assert not left, f"{name} ({page.url}) speaks English: {left}"


@pytest.fixture
def visit(check_page) -> Callable[..., None]:
    """See a page, wide and on a phone; axe looks at some."""

    def visit(page: Page, url: str, *, axe: bool = False) -> None:
        page.set_viewport_size({"width": 1280, "height": 860})
        assert page.goto(url).status == 200
        name = "zh-" + re.sub(r"[^a-z]+", "-", url.split("?")[0]).strip("-")
        speaks_chinese(page, name)
        if axe:
            check_page(page, name)
        page.set_viewport_size({"width": 320, "height": 700})
        page.wait_for_function("document.documentElement.scrollWidth <= 320", timeout=3000)

    return visit


@pytest.fixture
def in_chinese(new_page, log_in) -> Callable[..., Page]:
    def in_chinese(name: str) -> Page:
        page = new_page()
        log_in(page, name)
        page.locator("header summary", has_text="EN").click()
        page.get_by_role("button", name="简体中文").click()
        expect(page.locator("html")).to_have_attribute("lang", "zh-hans")
        return page

    return in_chinese


@pytest.fixture
def project(project: Project) -> Project:
    project.title = "厨房问题"
    project.save()
    return project


@pytest.fixture
def judged(make_task, annotator, other_annotator) -> None:
    """Six tasks that two people judged, and one more."""
    for number in range(6):
        make_task(f"鸡蛋能放多久？{number}", overlap=2)
    for membership in (annotator, other_annotator):
        while lease := next_task(membership):
            first, second, *others = lease.display_order
            submit_ranking(lease, Answer(tiers=[[first], [second, *others]], comment="第一个更好"), key=str(lease.pk))
    make_task("牛油果怎样保存？")


def test_an_annotator(in_chinese, annotator, judged, visit):
    page = in_chinese("ada")

    visit(page, "/p/kitchen/annotate/", axe=True)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#trouble")).to_contain_text("B 还没有名次")
    for key in "234":
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="全部完成")).to_be_visible()
    speaks_chinese(page, "all done")

    visit(page, "/p/kitchen/history/")
    visit(page, "/tokens/")


def test_a_manager(in_chinese, manager, judged, visit):
    page = in_chinese("mia")

    visit(page, "/p/kitchen/", axe=True)
    for section in ("quality", "people", "guideline", "settings", "tasks", "data", "data/upload", "preview"):
        visit(page, f"/p/kitchen/{section}/", axe=section == "quality")
    visit(page, "/p/new/")


def test_an_engineer(in_chinese, engineer, judged, runs, visit):
    page = in_chinese("eli")

    visit(page, "/admin/training/run/", axe=True)
    for method in ("generate", "reward", "dpo", "evaluate"):
        visit(page, f"/admin/training/run/add/?method={method}", axe=method == "dpo")
    for run in runs:
        visit(page, f"/admin/training/run/{run.pk}/change/", axe=run.state == "succeeded")
    for section in ("/admin/training/run/add/", "/admin/training/modelversion/", "/admin/training/dataset/"):
        visit(page, section)
    visit(page, f"/admin/training/modelversion/{runs[0].model.pk}/change/")
    visit(page, f"/admin/training/dataset/{runs[0].datasets.get().pk}/change/")
    visit(page, "/p/kitchen/data/")
    visit(page, "/p/kitchen/compare/")


@pytest.fixture
def runs(project, engineer, server: Server, settings) -> list[Run]:
    """A reward run that made a model, one under way and one that failed."""
    settings.STORAGE = server.storage
    now = timezone.now()
    splits = {"train": {"tasks": 5, "pairs": 20}, "validation": {"tasks": 1, "pairs": 4}}
    summary = {"tasks": 6, "rankings": 12, "pairs": 24, "ties": 3, "all_bad": 0, "agreement": 0.71, "splits": splits}
    dataset = Dataset.objects.create(
        name="kitchen-1", project=project, file="datasets/k.parquet", sha256="5e" * 32, summary=summary
    )
    base = ModelVersion.objects.create(name="smollm2", version=1, kind="base", folder="models/s", checksum="a1" * 32)
    held_out = {
        "pairs": 4, "prompts": 1, "accuracy": 0.64, "accuracy_ci": [0.5, 0.7], "length_accuracy": 0.56,
        "length_rule": "prefer the shorter", "against_length": "no difference shown",
    }  # fmt: skip
    states = [
        {"state": "succeeded", "ended_at": now, "outcome": {"seconds": 60, "summary": {"held_out": held_out}}},
        {"state": "running", "worker": "w", "slot": "here cpu", "heartbeat_at": now, "progressed_at": now},
        {"state": "failed", "ended_at": now, "error": "内存不足。"},
    ]
    config = {"model": "smollm2@1", "epochs": 2}
    runs = []
    for fields in states:
        run = Run.objects.create(
            name="kitchen-reward", method="reward", project=project, created_by=engineer.user, attempts=1, step=12,
            total_steps=60, started_at=now - timedelta(minutes=3), config=config, **fields,
        )  # fmt: skip
        run.datasets.set([dataset])
        run.parents.set([base])
        Metric.objects.bulk_create(
            Metric(run=run, step=12, name=name, value=0.5) for name in ("loss/train", "rewards/accuracies", "entropy")
        )
        runs.append(run)
    ModelVersion.objects.create(
        name="kitchen-reward", version=1, kind="reward", folder="models/r", checksum="b2" * 32, run=runs[0]
    )
    return runs
