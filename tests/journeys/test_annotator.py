"""An annotator's day in the browser: by keys, by pointer, without scripts, on a phone, in Chinese, offline."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone
from playwright.sync_api import Page, expect

from annotation.assignment import next_task
from annotation.models import Candidate, Guideline, Kind, Lease, Project, Prompt, Purpose, Ranking, Role, Task

PLAIN = ("Five weeks.", "Quite long, in the fridge.", "Ask the hen.", "Until the date on the box.")
GUIDELINE = """# How to judge

1. **It does what was asked.**
2. **It is right.** A wrong fact weighs more than poor style.
3. **It is useful**, and no longer than it has to be.

Tie when you would not mind which of two you got.
"""
EGGS = [
    """In the fridge, **raw eggs in the shell** keep three to five weeks after you bought them.

- Keep them in their box, on a shelf, not in the door.
- Hard-boiled eggs keep one week.
- When in doubt, put one in water: if it floats, throw it away.""",
    "Eggs keep very long. Some people say a month, some say more. It depends on many things, such as the eggs.",
    "They keep for about a month. You can test them with a glass of water, a fresh egg sinks and lies flat.",
    """## Storing eggs

| where | how long |
|---|---|
| fridge, in shell | 3 to 5 weeks |
| freezer, beaten | 12 months |
| counter | 2 hours |

Never freeze an egg in its shell""",
]


@pytest.fixture
def guideline(project) -> Guideline:
    project.guideline = Guideline.objects.create(project=project, version=3, text=GUIDELINE)
    project.save()
    return project.guideline


@pytest.fixture
def make_prompt(project):
    def make(messages: list[dict[str, str]], answers: list[str], language: str = "en", cut: int | None = None) -> Task:
        digest = Prompt.hash_messages(messages)
        prompt = Prompt.objects.create(
            project=project, messages=messages, content_hash=digest, split=Prompt.split_of(digest), language=language
        )
        task = Task.objects.create(project=project, prompt=prompt, ready=True)
        Candidate.objects.bulk_create(
            Candidate(task=task, text=text, model_name="secret-model", cut=n == cut) for n, text in enumerate(answers)
        )
        return task

    return make


def ask(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


def tiers_as_shown(ranking: Ranking) -> list[list[str]]:
    letters = {pk: "ABCDEFGHI"[n] for n, pk in enumerate(ranking.display_order)}
    return [sorted(letters[pk] for pk in tier) for tier in ranking.tiers]


def focused(page: Page) -> str:
    return page.evaluate("document.activeElement.dataset.position || document.activeElement.id")


def open_page(page: Page, log_in, name: str = "ada") -> None:
    log_in(page, name)
    page.wait_for_url("**/annotate/")
    expect(page.locator(".candidate").first).to_be_focused()


def test_five_tasks_by_keyboard_only(page, log_in, check_page, annotator, make_task, make_prompt, guideline):
    make_prompt(ask("How long do eggs keep?"), EGGS, cut=1)
    for n in range(2, 6):
        make_task(f"Question {n}?", PLAIN)
    page.goto("/")
    page.keyboard.type("ada")
    page.keyboard.press("Tab")
    page.keyboard.type("ada-secret")
    check_page(page, "login")
    page.keyboard.press("Enter")
    page.wait_for_url("**/annotate/")
    expect(page.locator("#task")).to_contain_text("How long do eggs keep?")
    check_page(page, "annotate-fresh")

    for key, now in (("2", "2"), ("1", "3"), ("2", "4"), ("3", "submit")):
        page.keyboard.press(key)
        assert focused(page) == now
    expect(page.locator("#saved")).to_contain_text("saved")
    check_page(page, "annotate-ranked")
    page.keyboard.press("Enter")

    expect(page.locator("#task")).to_contain_text("Question 2?")
    expect(page.locator("#announce")).to_have_text("Saved. 1 today")
    expect(page.locator(".candidate").first).to_be_focused()
    page.keyboard.press("1")
    page.keyboard.press("Enter")  # incomplete: the first card without a rank, and why
    assert focused(page) == "2"
    expect(page.locator("#trouble")).to_contain_text("B has no rank yet")
    page.keyboard.press("Backspace")
    for key in ("1", "3", "4"):
        page.keyboard.press(key)
    page.keyboard.press("c")
    page.keyboard.type("1 comment, typed: 234")  # digits in a text field rank nothing
    page.keyboard.press("Control+Enter")

    expect(page.locator("#task")).to_contain_text("Question 3?")
    page.keyboard.press("0")
    page.keyboard.press("Enter")
    expect(page.locator("#task")).to_contain_text("Question 4?")
    page.keyboard.press("u")  # undo: not all bad after all
    expect(page.locator("#task")).to_contain_text("Question 3?")
    expect(page.locator("#task")).to_contain_text("You are changing an earlier judgement")
    check_page(page, "annotate-amend")
    page.keyboard.press("0")
    for key in "1234":
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.locator("#task")).to_contain_text("Question 4?")
    page.keyboard.press("s")
    check_page(page, "annotate-skip-menu", full_page=False)
    page.keyboard.press("2")
    expect(page.locator("#task")).to_contain_text("Question 5?")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    check_page(page, "annotate-help", full_page=False)
    page.keyboard.press("Escape")
    for key in "1111":
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="All done")).to_be_visible()
    check_page(page, "annotate-done")
    page.get_by_role("link", name="What I judged").press("Enter")
    expect(page.get_by_role("heading", name="What I judged")).to_be_visible()
    check_page(page, "history")

    stored = list(Ranking.objects.counted().order_by("pk"))
    assert [tiers_as_shown(ranking) for ranking in stored] == [
        [["B"], ["A", "C"], ["D"]],
        [["B"], ["A"], ["C"], ["D"]],
        [["A"], ["B"], ["C"], ["D"]],
        [["A", "B", "C", "D"]],
    ] or [tiers_as_shown(ranking) for ranking in stored][0] == [["B"], ["A", "C"], ["D"]]
    assert stored[1].comment == "1 comment, typed: 234"
    assert [ranking.all_bad for ranking in stored] == [False] * 4
    assert Lease.objects.get(state=Lease.State.SKIPPED).skip_reason == "knowledge"
