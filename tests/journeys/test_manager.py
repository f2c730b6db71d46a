"""A manager sets a project up, invites, imports, lets a model answer, and reads the agreement."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from annotation.assignment import next_task
from annotation.models import Project, Ranking
from annotation.people import invite
from annotation.projects import publish_guideline
from annotation.rankings import Answer, submit_ranking

PROMPTS = [
    {"prompt": "How long do eggs keep?", "candidates": ["Three to five weeks in the fridge.", "A day."]},
    {"prompt": "Say hello in one short sentence."},
    {"prompt": "Name one colour."},
    {"question": "No prompt here"},
]
MODEL = Path(__file__).resolve().parents[2] / ".setup" / "models" / "smollm2-135m-instruct"
QUESTIONS = [
    "How long do eggs keep in the fridge, and how can I tell that one has gone bad?",
    "Rewrite this more politely: send me the report today.",
    "What is the difference between a list and a tuple in Python?",
    "My neighbour plays the drums at night. What can I do?",
    "怎样保存切开的牛油果？",
    "Explain compound interest to a twelve-year-old.",
    "كيف أحفظ الخبز طازجًا؟",
    "Is it safe to take ibuprofen with wine?",
    "Write a birthday poem for my father. He keeps bees and he hates poems.",
    "Why is the sky blue?",
    "How do I ask for a rise?",
    "Draft an out-of-office note for two weeks in July.",
    "What should I pack for a week in Iceland in March, with hand luggage only?",
]
ANSWERS = (
    "About three to five weeks in the fridge. Put one into a glass of water: a fresh egg lies flat, an old one "
    "stands up, a bad one floats.\n\nIf it smells, throw it away.",
    "They keep for a long time.",
    "It depends on many factors, such as the hen, the fridge and the date on the box. " * 4,
    "",
)


@pytest.fixture
def busy_project(project, manager, annotator, other_annotator, make_member, make_task) -> Project:
    """Most tasks judged by two or three people, some open, one without all its answers; a comment; someone at work."""
    publish_guideline(project, "# How to judge\n\nRead **every** answer to its end.", by=manager.user, after=0)
    for number, question in enumerate(QUESTIONS):
        make_task(question, ANSWERS, overlap=3 if number < 9 else 1, position=number)
    project.tasks.filter(position=12).update(ready=False)
    project.tasks.get(position=12).candidates.first().delete()
    for taste, person in enumerate([annotator, other_annotator, make_member("cleo")]):
        for number in range(9):
            lease = next_task(person)
            a, b, c, d = sorted(lease.display_order)
            tiers = [[a], [b, c], [d]] if (number + taste) % 3 else [[b], [a], [c], [d]]
            comment = "C says the same four times." if (number, taste) == (4, 1) else ""
            submit_ranking(lease, Answer(tiers=tiers, comment=comment, seconds=40 + number), key=f"{lease.pk}")
    next_task(other_annotator)
    invite(project, "annotator", by=manager.user)
    return project


def pages_of(project: Project) -> dict[str, str]:
    task = project.tasks.get(position=0)
    return {
        "new": "/p/new/",
        "overview": "/p/kitchen/",
        "tasks": "/p/kitchen/tasks/",
        "task": f"/p/kitchen/tasks/{task.pk}/",
        "people": "/p/kitchen/people/",
        "guideline": "/p/kitchen/guideline/",
        "settings": "/p/kitchen/settings/",
        "quality": "/p/kitchen/quality/",
        "data": "/p/kitchen/data/",
        "upload": "/p/kitchen/data/upload/",
        "snapshot": "/p/kitchen/data/snapshot/",
    }


@pytest.mark.parametrize("look", ["wide", "narrow", "dark", "zh"])
def test_pages_are_sound_in_every_look(look, server, busy_project, manager, new_page, log_in, check_page):
    page: Page = new_page(width=320, height=700) if look == "narrow" else new_page()
    log_in(page, "mia")
    if look in ("dark", "zh"):
        cookie = {"dark": ("theme", "dark"), "zh": ("django_language", "zh-hans")}[look]
        page.context.add_cookies([{"name": cookie[0], "value": cookie[1], "url": server.url}])
    for name, address in pages_of(busy_project).items():
        page.goto(address)
        check_page(page, f"manager-{name}-{look}")
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= page.viewport_size["width"], f"{name} scrolls sideways: {width}"


def test_a_manager_sets_up_invites_imports_generates_and_reads_the_agreement(
    server, stranger, new_page, log_in, check_page, tmp_path
):
    """From nothing to the first measured agreement, all in the browser; only the worker is started in a shell."""
    if not MODEL.is_dir():
        pytest.skip("the model is not set up: make setup")
    server.manage("register_model", "smollm2", str(MODEL))
    page: Page = new_page()
    log_in(page, "sam")

    # A project
    page.goto("/p/new/")
    page.get_by_label("Title").fill("Kitchen advice")
    page.get_by_label("Compare two answers").check()
    expect(page.get_by_label("Answers per prompt")).to_be_hidden()
    page.get_by_label("Rank several answers").check()
    page.get_by_label("Answers per prompt").fill("2")
    page.get_by_role("button", name="Create project").click()
    expect(page).to_have_url(server.url + "/p/kitchen-advice/")
    expect(page.get_by_text("Kitchen advice is set up.")).to_be_visible()
    check_page(page, "manager-1-checklist")

    # Prompts, one line of them bad
    page.get_by_role("link", name="Prompts", exact=True).click()
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in PROMPTS))
    page.expected_errors = ["422"]  # type: ignore[attr-defined]
    page.get_by_label("File", exact=True).set_input_files(file)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("1 line is bad. Nothing was stored.")).to_be_visible()
    expect(page.get_by_text("prompts.jsonl, line 4")).to_be_visible()
    check_page(page, "manager-2-bad-line")
    page.get_by_label("File", exact=True).set_input_files(file)
    page.get_by_label("Store the good lines").check()
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("Stored: 3 prompts, 2 answers.")).to_be_visible()
    check_page(page, "manager-3-stored")

    # Answers, by a real model
    page.get_by_role("link", name="To the data").click()
    expect(page.locator("#plan")).to_contain_text("for 2 prompts that lack answers, about")
    before = page.locator("#plan").text_content()
    page.get_by_label("Answers per prompt").fill("9")
    page.get_by_label("Answers per prompt").blur()
    expect(page.locator("#plan")).not_to_have_text(before or "")
    page.get_by_label("Answers per prompt").fill("2")
    check_page(page, "manager-4-plan")
    page.get_by_role("button", name="Generate answers").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    check_page(page, "manager-5-queued")
    worker = [sys.executable, "manage.py", "run_worker", "--once"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(worker, env=server.environment, **quiet):
        # The page follows by itself, and reads itself anew when all is written.
        expect(page.get_by_text("Every prompt has its answers.")).to_be_visible(timeout=240_000)
    page.get_by_role("link", name="See them").click()
    expect(page.get_by_role("cell", name="Open", exact=True)).to_have_count(3)

    # Everything twice
    page.get_by_role("link", name="Settings").click()
    page.get_by_label("Calibration share").fill("0")
    page.get_by_label("People per task").fill("2")
    expect(page.get_by_text("This adds 1 judgement.")).to_be_visible()  # one of them calibrated, with 3 people
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved. This adds")).to_be_visible()

    # People
    for name in ("zoe", "max"):
        page.get_by_role("link", name="People").click()
        page.get_by_role("button", name="Make a link").click()
        link = page.get_by_role("textbox", name="Link").input_value()
        if name == "zoe":
            check_page(page, "manager-6-link")
        guest: Page = new_page()
        guest.goto(link)
        if name == "zoe":
            check_page(guest, "manager-7-invited")
        guest.get_by_label("Username").fill(name)
        guest.get_by_label("Password", exact=True).fill("correct horse battery")
        guest.get_by_label("The same password again").fill("correct horse battery")
        guest.get_by_role("button", name="Join").click()
        for shown in ("0 today", "1 today", "2 today"):
            expect(guest.get_by_text(shown, exact=True)).to_be_visible()
            for key in ("1", "2", "Enter"):
                guest.keyboard.press(key)
        expect(guest.get_by_role("heading", name="All done")).to_be_visible()
    assert Ranking.objects.counted().count() == 6

    # The agreement
    page.goto("/p/kitchen-advice/")
    expect(page.get_by_text("All 3 tasks are judged.")).to_be_visible()
    page.get_by_role("link", name="See the agreement").click()
    expect(page.get_by_text("3 shared pairs are too few to trust it")).to_be_visible()
    for summary in page.locator("details.folded > summary").all():
        summary.click()
    check_page(page, "manager-8-agreement")
    page.get_by_role("link", name="See the 3 tasks behind it").click()
    expect(page.get_by_role("cell", name="Finished")).to_have_count(3)


def test_without_overlap_one_button_sets_calibration_up(annotator, manager, make_task, page, log_in, check_page):
    for number in range(8):
        make_task(f"Question {number}?", draw=number / 8)
    lease = next_task(annotator)
    submit_ranking(lease, Answer(tiers=[lease.display_order]), key="k")
    log_in(page, "mia")
    page.goto("/p/kitchen/quality/")
    expect(page.locator(".page-head")).to_contain_text("Nobody's work overlaps, so agreement cannot be measured.")
    check_page(page, "manager-no-overlap")
    page.get_by_role("button", name="Let 3 people judge 15 %").click()
    expect(page.get_by_text("This adds 4 judgements.")).to_be_visible()


def test_the_guideline_is_previewed_and_published(project, manager, page, log_in, check_page):
    log_in(page, "mia")
    page.goto("/p/kitchen/guideline/")
    page.get_by_label("Guideline").fill("## Better\n\nBe **kind**.")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#preview")).to_contain_text("Be kind.")  # in place of the template
    expect(page.locator("#preview strong")).to_have_text("kind")
    page.get_by_role("button", name="Publish version 1").click()
    expect(page.get_by_text("Version 1 is published.")).to_be_visible()
    page.get_by_label("What changed?").fill("Kinder.")
    page.get_by_label("Guideline").fill("Be kinder.")
    page.get_by_role("button", name="Publish version 2").click()
    expect(page.get_by_role("row", name="v2")).to_contain_text("Kinder.")


def test_a_snapshot_is_looked_at_and_frozen(busy_project, engineer, page, log_in, check_page):
    log_in(page, "eli")
    page.goto("/p/kitchen/data/")
    page.get_by_role("link", name="Freeze a snapshot").click()
    expect(page.get_by_text("27 rankings make 67 pairs")).to_be_visible()
    page.get_by_label("Name").fill("first week")
    page.get_by_role("button", name="Freeze").click()
    expect(page.get_by_role("row", name="first week")).to_contain_text("78 %")
    expect(page.get_by_role("link", name="Train with DPO first week")).to_be_visible()
    check_page(page, "manager-frozen")


def test_a_person_is_removed_and_their_work_stays(busy_project, page, log_in, check_page):
    log_in(page, "mia")
    page.goto("/p/kitchen/people/")
    page.get_by_role("link", name="Remove ben").click()
    expect(page.get_by_text("Their 9 judgements stay and count.")).to_be_visible()
    check_page(page, "manager-remove")
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("row", name="ben")).to_contain_text("left")


def test_a_spent_link_says_so(project, manager, page, check_page):
    page.expected_errors = ["410"]  # type: ignore[attr-defined]
    page.goto("/link/never-was/")
    expect(page.get_by_role("heading", name="This link opens nothing any more")).to_be_visible()
    check_page(page, "manager-link-spent")
