"""Journeys: people in a real Chromium against the real server, gunicorn on a SQLite file, with its real settings."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connections
from django.db.utils import load_backend
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from config.environment import read_database

PATIENCE = 30_000  # milliseconds: journeys share two cores with other tests, and none of them measures time
expect.set_options(timeout=PATIENCE)

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "test-results"
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
REPORT_VIOLATIONS = """addEventListener("securitypolicyviolation",
    event => console.error(`CSP: ${event.violatedDirective} on ${event.target?.outerHTML?.slice(0, 200)}`))"""

# Playwright's sync API keeps an event loop in this thread, where Django would refuse to touch the database.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.journey)


@dataclass
class Server:
    url: str
    storage: Path
    environment: dict[str, str]  # for commands that work on the same database and storage

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(arguments)} failed:\n{done.stderr[-3000:]}"
        return done


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    storage = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "DEBUG")}
    environment |= {"STORAGE": str(storage), "HOST": "127.0.0.1", "PORT": str(port), "WEB_PROCESSES": "1"}
    server = Server(f"http://localhost:{port}", storage, environment)
    server.manage("migrate", "--verbosity=0")
    server.manage("collectstatic", "--noinput", "--verbosity=0")
    log = (storage / "server.log").open("w")
    gunicorn = [sys.executable, "-m", "gunicorn", "-c", "python:config.gunicorn", "--capture-output"]
    process = subprocess.Popen(gunicorn, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        _wait_for(server.url + "/login/", process, storage / "server.log")
        yield server
    finally:
        process.terminate()
        process.wait(timeout=20)
        log.close()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(150):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"The server did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(autouse=True)
def storage(server: Server) -> Path:
    """In place of the unit tests' fixture: what journeys make, they make with the server's settings."""
    return server.storage


@pytest.fixture
def db(server: Server, django_db_blocker: object) -> Iterator[None]:
    """The server's own database, so that the fixtures of people and things make what the browser then sees."""
    url = f"sqlite:///{server.storage / 'preferendum.sqlite3'}"
    config = connections.configure_settings({"default": read_database("JOURNEY_DATABASE_URL", url)})["default"]
    usual = connections["default"]
    ours = load_backend(config["ENGINE"]).DatabaseWrapper(config, "default")
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        connections["default"] = ours
        try:
            yield
        finally:
            call_command("flush", interactive=False, verbosity=0)
            ours.close()
            connections["default"] = usual


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None
    )
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=executable, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser: Browser, server: Server, db: None) -> Iterator[Callable[..., Page]]:
    """Pages of new profiles. At the end, one console error or CSP violation that was not expected fails the test.

    `page.expected_errors` holds parts of messages that the journey provokes: a lost seat is a 409, for example.
    """
    contexts: list[BrowserContext] = []
    troubles: list[tuple[Page, str]] = []

    def make(*, width: int = 1280, height: int = 860, **options: object) -> Page:
        viewport = {"width": width, "height": height}
        context = browser.new_context(base_url=server.url, viewport=viewport, locale="en", **options)
        contexts.append(context)
        context.add_init_script(REPORT_VIOLATIONS)
        context.set_default_timeout(PATIENCE)
        context.on("page", watch)
        return context.new_page()

    def watch(page: Page) -> None:
        page.expected_errors = []  # type: ignore[attr-defined]
        page.on("console", lambda message: message.type == "error" and troubles.append((page, message.text)))
        page.on("pageerror", lambda error: troubles.append((page, str(error))))

    yield make
    unexpected = [
        text
        for page, text in troubles
        if not any(part in text for part in page.expected_errors)  # type: ignore[attr-defined]
    ]
    for context in contexts:
        context.close()
    assert not unexpected, "errors in the browser's console:\n" + "\n".join(unexpected)


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    return new_page()


@pytest.fixture
def log_in(server: Server) -> Callable[..., None]:
    """Through the real login page; the fixtures' passwords are NAME-secret."""

    def log_in(page: Page, name: str, password: str = "") -> None:
        page.goto("/login/")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(password or f"{name}-secret")
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(lambda url: "/login/" not in url)

    return log_in


@pytest.fixture
def check_page() -> Callable[..., None]:
    """Take a picture into test-results/ and let axe look for what breaks WCAG 2.2 AA."""

    def check_page(page: Page, name: str, *, full_page: bool = True) -> None:
        RESULTS.mkdir(exist_ok=True)
        page.screenshot(path=RESULTS / f"{name}.png", full_page=full_page)
        page.evaluate(AXE.read_text())
        options = {"preload": False, "runOnly": {"type": "tag", "values": WCAG}}
        violations = page.evaluate("options => axe.run(document, options).then(r => r.violations)", options)
        told = [f"{found['id']}: {node['html'][:250]}" for found in violations for node in found["nodes"]]
        assert not told, f"{name} is not accessible:\n" + "\n".join(told)

    return check_page
