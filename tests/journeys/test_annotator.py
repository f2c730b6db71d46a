"""An annotator's day in the browser: by keys, by pointer, without scripts, on a phone, in Chinese, offline."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone
from playwright.sync_api import Page, expect

from annotation.assignment import next_task
from annotation.models import Candidate, Guideline, Kind, Lease, Project, Prompt, Purpose, Ranking, Role, Task
from tests.journeys.conftest import RESULTS

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
        [["A", "B"], ["C"], ["D"]],
        [["A"], ["B"], ["C"], ["D"]],
        [["A", "B", "C", "D"]],
    ]
    assert stored[1].comment == "1 comment, typed: 234"
    assert [ranking.all_bad for ranking in stored] == [False] * 4
    assert Lease.objects.get(state=Lease.State.SKIPPED).skip_reason == "knowledge"


def test_five_tasks_by_pointer_without_dragging(page, log_in, check_page, annotator, make_task):
    for n in range(1, 6):
        make_task(f"Question {n}?", PLAIN)
    open_page(page, log_in)
    send = page.get_by_role("button", name="Submit")

    def card(letter: str):
        return page.locator(".candidate").nth("ABCD".index(letter))

    def rank(letter: str, rank: int) -> None:
        card(letter).locator(".ranks label").nth(rank - 1).click()

    def shelf() -> list[str]:
        return page.locator(".shelf .tiers li").all_inner_texts()

    before = [card(letter).bounding_box() for letter in "ABCD"]
    for letter, given in (("A", 4), ("B", 2), ("C", 2), ("D", 1)):
        rank(letter, given)
    assert [card(letter).bounding_box() for letter in "ABCD"] == before  # nothing moves under the pointer
    assert [row.split("\n") for row in shelf()] == [["1", "D"], ["2", "B", "C"], ["3", "A"]]
    send.click()
    expect(page.locator("#task")).to_contain_text("Question 2?")

    for letter in "CABD":  # each goes to the foot of the order
        page.get_by_role("button", name=f"Move {letter} down").click()
    page.get_by_role("button", name="Move D up").click()  # past B
    page.get_by_role("button", name="Move D up").click()  # past A
    assert [row.split("\n")[1] for row in shelf()] == ["C", "D", "A", "B"]
    send.click()
    expect(page.locator("#task")).to_contain_text("Question 3?")

    rank("A", 1)
    rank("B", 1)
    rank("B", 1)  # the same rank again takes it back
    send.click()
    expect(page.locator("#trouble")).to_contain_text("B has no rank yet")
    check_page(page, "annotate-incomplete")
    rank("B", 2)
    rank("C", 3)
    rank("D", 3)
    page.get_by_role("button", name="Comment").click()
    page.get_by_role("textbox", name="Comment").fill("By pointer.")
    check_page(page, "annotate-comment")
    send.click()
    expect(page.locator("#task")).to_contain_text("Question 4?")

    page.locator("summary", has_text="Skip").click()
    page.get_by_role("button", name="Broken task").click()
    expect(page.locator("#task")).to_contain_text("Question 5?")

    page.get_by_text("All bad").click()
    send.click()
    expect(page.get_by_role("heading", name="All done")).to_be_visible()

    stored = list(Ranking.objects.counted().order_by("pk"))
    assert [tiers_as_shown(ranking) for ranking in stored[:3]] == [
        [["D"], ["B", "C"], ["A"]],
        [["C"], ["D"], ["A"], ["B"]],
        [["A"], ["B"], ["C", "D"]],
    ]
    assert stored[3].all_bad and stored[2].comment == "By pointer."


def test_two_answers_by_arrow_keys(page, log_in, check_page, annotator, project, make_task):
    Project.objects.update(kind=Kind.PAIRWISE, answers_per_task=2)
    for n in range(1, 5):
        make_task(f"Question {n}?", PLAIN[:2])
    open_page(page, log_in)
    check_page(page, "pairwise")

    for n, key in enumerate(("ArrowLeft", "ArrowDown", "ArrowRight"), 2):
        page.keyboard.press(key)
        expect(page.locator("#task")).to_contain_text(f"Question {n}?")
    page.keyboard.press("c")
    page.keyboard.type("Neither.")
    page.keyboard.press("Control+Enter")  # there is no verdict to send yet: out of the field, to the first answer
    assert focused(page) == "1"
    page.get_by_role("button", name="Both bad").click()
    expect(page.get_by_role("heading", name="All done")).to_be_visible()

    stored = list(Ranking.objects.counted().order_by("pk"))
    assert [tiers_as_shown(ranking) for ranking in stored[:3]] == [[["A"], ["B"]], [["A", "B"]], [["B"], ["A"]]]
    assert stored[3].all_bad and stored[3].comment == "Neither."

    page.keyboard.press("u")  # also where no task is left; the page shows what was said
    expect(page.get_by_role("button", name="Both bad", pressed=True)).to_be_visible()
    check_page(page, "pairwise-amend")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="All done")).to_be_visible()
    page.get_by_role("link", name="Undo").click()
    expect(page.get_by_role("button", name="B is better", pressed=True)).to_be_visible()


def test_without_scripts(new_page, log_in, check_page, annotator, make_prompt, make_task, guideline):
    make_prompt(ask("How long do eggs keep?"), EGGS)
    make_task("Question 2?", PLAIN)
    page = new_page(java_script_enabled=False)
    page.expected_errors = ["422"]
    log_in(page, "ada")
    for n, rank in enumerate((1, 2, 2, 3), 1):
        page.locator(f"[name=rank_{n}][value='{rank}']").check(force=True)
    page.screenshot(path=RESULTS / "no-scripts.png", full_page=True)
    page.get_by_role("button", name="Submit").click()

    expect(page.locator("#task")).to_contain_text("Question 2?")
    expect(page.locator("#messages")).to_contain_text("Saved.")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#problem")).to_contain_text("No answer has a rank yet")
    page.locator("summary", has_text="Skip").click()
    page.get_by_role("button", name="Other").click()
    expect(page.get_by_role("heading", name="All done")).to_be_visible()
    page.get_by_role("link", name="What I judged").click()
    page.get_by_role("link", name="Change").click()
    expect(page.locator("#task")).to_contain_text("You are changing an earlier judgement")
    page.locator("[name=rank_1][value='4']").check(force=True)
    page.get_by_role("button", name="Save the change").click()

    assert tiers_as_shown(Ranking.objects.counted().get()) == [["B", "C"], ["D"], ["A"]]


LONG = "\n\n".join(f"**Step {n}.** " + "Then wait until the water boils and stir it slowly. " * 6 for n in range(1, 25))
CODE = """Use a dictionary:

```python
def count(words: list[str]) -> dict[str, int]:
    \"\"\"How often each word comes.\"\"\"
    counts: dict[str, int] = {}
    for word in words:  # a very long comment that reaches beyond the width of the card, to see that the code scrolls
        counts[word] = counts.get(word, 0) + 1
    return counts
```

It runs in `O(n)`. See [the docs](https://docs.python.org)."""


def test_long_answers_code_and_earlier_turns(page, log_in, check_page, annotator, make_prompt):
    conversation = [
        {"role": "system", "content": "You are a patient teacher."},
        {"role": "user", "content": "What is a dictionary in Python?"},
        {"role": "assistant", "content": "A mapping from keys to values."},
        {"role": "user", "content": "How do I count words with one?\nPlease show code."},
    ]
    wide = "A link without a space: https://example.org/" + "a" * 300
    make_prompt(conversation, [LONG, CODE, wide, ""])
    open_page(page, log_in)
    check_page(page, "long-cut")
    heights = {round(box.bounding_box()["height"]) for box in page.locator(".answer").all()}
    long = page.locator(".candidate", has_text="Step 24.")
    assert len(heights) <= 2  # one for each row of cards
    assert long.bounding_box()["height"] < 700

    long.focus()
    page.keyboard.press("Space")
    assert long.bounding_box()["height"] > 1500
    check_page(page, "long-open")
    page.keyboard.press("Space")
    page.keyboard.press("r")
    expect(page.locator(".candidate pre.raw", has_text="```python")).to_be_visible()
    page.keyboard.press("r")
    page.locator("summary", has_text="3 messages before").click()
    check_page(page, "earlier-turns")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


ZH = [
    "**可以放三到五周。** 把鸡蛋放在冰箱里，保持在原来的盒子中，不要放在冰箱门上。"
    "\n\n- 煮熟的鸡蛋可以放一周\n- 如果鸡蛋浮在水面上，就不要吃了",
    "很久。",
    "鸡蛋在冰箱中大约可以保存一个月。可以用一杯水来检查：新鲜的鸡蛋会沉到底部。",
    "我不知道，请问母鸡。",
]
AR = [
    "يمكن حفظ البيض في الثلاجة من **ثلاثة إلى خمسة أسابيع**.\n\n- البيض المسلوق: أسبوع",
    "طويلا.",
    "Eggs: خمسة أسابيع",
]


def test_chinese_and_right_to_left(page, log_in, check_page, annotator, make_prompt):
    make_prompt(ask("鸡蛋在冰箱里能放多久？"), ZH, language="zh")
    make_prompt(ask("كم يوما يمكن حفظ البيض؟"), AR, language="ar")
    open_page(page, log_in)
    expect(page.locator(".candidate footer", has_text="characters")).to_have_count(4)
    check_page(page, "chinese")
    for key in "1234":
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.locator("#task")).to_contain_text("كم")
    check_page(page, "right-to-left")
    direction = page.locator(".candidate .prose p", has_text="ثلاثة").evaluate("p => getComputedStyle(p).direction")
    assert direction == "rtl"


def test_dark_and_narrow(new_page, log_in, check_page, annotator, make_prompt, make_task, guideline):
    make_prompt(ask("How long do eggs keep?"), EGGS, cut=1)
    make_task("Nine answers?", tuple(f"Answer number {n}, of nine." for n in range(1, 10)))
    page = new_page(color_scheme="dark")
    open_page(page, log_in)
    for key in "21":
        page.keyboard.press(key)
    check_page(page, "dark")
    page.locator("summary", has_text="ada").click()
    page.get_by_role("button", name="Light").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(246, 245, 242)"
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(246, 245, 242)"

    phone = new_page(width=320, height=640, has_touch=True)
    open_page(phone, log_in)
    check_page(phone, "narrow-fresh")
    phone.locator(".candidate").nth(0).locator(".ranks label").nth(3).tap()  # the draft said 2
    phone.locator(".candidate").nth(1).locator(".ranks label").nth(0).tap()  # and here 1: taken back
    phone.locator(".candidate").nth(1).locator(".ranks label").nth(1).tap()
    check_page(phone, "narrow-window", full_page=False)
    assert phone.evaluate("document.documentElement.scrollWidth") == 320
    small = phone.evaluate(
        """[...document.querySelectorAll("a, button, summary, .ranks label, .toggle")].filter(e => {
            const box = e.getBoundingClientRect();
            return box.width && !e.closest(".prose, .visually-hidden") && (box.width < 24 || box.height < 24);
        }).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert not small
    for n in (2, 3):
        phone.locator(".candidate").nth(n).locator(".ranks label").nth(n).tap()
    phone.get_by_role("button", name="Submit").tap()
    expect(phone.locator("#task")).to_contain_text("Nine answers?")
    check_page(phone, "narrow-nine")
    phone.goto("/p/kitchen/history/")
    check_page(phone, "narrow-history")

    wide = new_page(width=1680, height=1000)
    open_page(wide, log_in)
    check_page(wide, "wide-nine")


def test_double_click_stores_once(page, log_in, annotator, make_task):
    make_task("Question 1?", PLAIN)
    make_task("Question 2?", PLAIN)
    open_page(page, log_in)
    for key in "1234":
        page.keyboard.press(key)

    page.get_by_role("button", name="Submit").dblclick()

    expect(page.locator("#task")).to_contain_text("Question 2?")
    page.wait_for_load_state("networkidle")
    expect(page.locator("#task")).to_contain_text("Question 2?")
    assert Ranking.objects.count() == 1


def test_a_draft_survives_the_closed_tab(new_page, log_in, annotator, make_task):
    make_task("Question 1?", PLAIN)
    page = new_page()
    open_page(page, log_in)
    page.keyboard.press("3")
    page.keyboard.press("1")
    page.close()  # before the second in which drafts are saved has passed

    again = page.context.new_page()
    again.goto("/p/kitchen/annotate/")
    expect(again.locator("[name=rank_1][value='3']")).to_be_checked()
    expect(again.locator("[name=rank_2][value='1']")).to_be_checked()

    elsewhere = new_page()  # another browser: what the server has
    again.get_by_role("button", name="Comment").click()
    again.get_by_role("textbox", name="Comment").fill("half done")
    expect(again.locator("#saved")).to_contain_text("saved")
    log_in(elsewhere, "ada")
    expect(elsewhere.get_by_role("textbox", name="Comment")).to_have_value("half done")
    expect(elsewhere.locator("[name=rank_1][value='3']")).to_be_checked()


def test_a_lost_seat(page, log_in, check_page, annotator, other_annotator, make_task):
    make_task("Question 1?", PLAIN)
    open_page(page, log_in)
    page.expected_errors = ["409"]
    Lease.objects.update(expires_at=timezone.now() - timedelta(minutes=1))
    assert next_task(other_annotator) is not None

    page.keyboard.press("1")
    expect(page.locator("#trouble")).to_contain_text("it went to somebody else")
    check_page(page, "seat-lost-while-working")
    for key in "234":
        page.keyboard.press(key)
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="This task went to somebody else")).to_be_visible()
    expect(page.get_by_role("link", name="Next task")).to_be_focused()
    check_page(page, "seat-lost")
    assert Ranking.objects.get().purpose == Purpose.SURPLUS
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Others are at the last tasks")).to_be_visible()


def test_an_expired_session_loses_nothing(page, log_in, check_page, annotator, make_task):
    make_task("Question 1?", PLAIN)
    make_task("Question 2?", PLAIN)
    open_page(page, log_in)
    Session.objects.all().delete()
    for key in "2143":
        page.keyboard.press(key)
    expect(page.locator("#trouble")).to_contain_text("You were logged out")
    check_page(page, "logged-out")
    page.keyboard.press("Enter")

    page.wait_for_url("**/login/**")
    expect(page.get_by_text("What you had ranked is kept")).to_be_visible()
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill("ada-secret")
    page.keyboard.press("Enter")
    expect(page.locator("#task")).to_contain_text("Question 1?")
    expect(page.locator(".ranks input:checked")).to_have_count(4)
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#task")).to_contain_text("Question 2?")
    assert tiers_as_shown(Ranking.objects.get()) == [["B"], ["A"], ["D"], ["C"]]


def test_offline(page, log_in, check_page, annotator, make_task):
    make_task("Question 1?", PLAIN)
    make_task("Question 2?", PLAIN)
    open_page(page, log_in)
    page.expected_errors = ["ERR_INTERNET_DISCONNECTED", "htmx:"]
    page.context.set_offline(True)
    for key in "1234":
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.locator("#trouble")).to_contain_text("No connection")
    check_page(page, "offline")
    assert not Ranking.objects.exists()

    page.context.set_offline(False)
    expect(page.locator("#trouble")).to_be_hidden()
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#task")).to_contain_text("Question 2?")
    assert Ranking.objects.count() == 1


def test_preview_stores_nothing(page, log_in, check_page, make_member, make_prompt, guideline):
    make_member("mia", Role.MANAGER)
    make_prompt(ask("How long do eggs keep?"), EGGS)
    log_in(page, "mia")
    page.goto("/p/kitchen/preview/")
    check_page(page, "preview")
    for key in "1234":
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.locator("#messages")).to_contain_text("nothing was stored")
    assert not Ranking.objects.exists() and not Lease.objects.exists()


@pytest.mark.parametrize("name", ["paused", "empty", "waiting"])
def test_empty_states(page, log_in, check_page, annotator, make_task, name):
    if name != "empty":
        make_task()
    if name == "paused":
        Project.objects.update(state="paused")
    Task.objects.update(ready=False)
    log_in(page, "ada")
    check_page(page, f"state-{name}")


def test_error_pages(page, log_in, check_page, annotator):
    page.expected_errors = ["404", "429", "403"]
    log_in(page, "ada")
    page.goto("/p/no-such-project/annotate/")
    expect(page.get_by_role("heading", name="This page does not exist")).to_be_visible()
    check_page(page, "404")
    page.context.clear_cookies()
    page.goto("/login/")
    for _ in range(8):
        page.get_by_label("Username").fill("ada")
        page.get_by_label("Password").fill("wrong")
        page.keyboard.press("Enter")
        page.wait_for_load_state("networkidle")
    expect(page.get_by_role("heading", name="Too many tries")).to_be_visible()
    check_page(page, "locked")
