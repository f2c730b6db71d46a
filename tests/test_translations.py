"""The catalog is complete: every text of the interface has a translation in which nothing is lost."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po
from django.utils import translation

from training.configs import METHODS

ROOT = Path(__file__).resolve().parent.parent
CATALOG = Path("locale/zh_Hans/LC_MESSAGES/django.po")
PLACEHOLDER = re.compile(r"%\(\w+\)[rsd]|%%s|\{\w+\}")


def read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file)


def sources(message: Message) -> list[str]:
    return [message.id] if isinstance(message.id, str) else list(message.id)


def translations(message: Message) -> list[str]:
    return [message.string] if isinstance(message.string, str) else list(message.string)


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    return [message for message in read(ROOT / CATALOG) if message.id]


def test_every_text_is_translated(messages):
    assert not [message.id for message in messages if message.fuzzy or not all(translations(message))]


def test_placeholders_survive(messages):
    def found(text: str) -> set[str]:
        return set(PLACEHOLDER.findall(text))

    lost = [m.id for m in messages if any(found(text) != found(sources(m)[-1]) for text in translations(m))]
    assert not lost
    assert not [message.id for message in messages if list(message.check())]


def test_punctuation_is_chinese(messages):
    half_width = re.compile(r"[\u4e00-\u9fff][,;:!?]|[,;:!?] ?[\u4e00-\u9fff]")
    assert not [text for message in messages for text in translations(message) if half_width.search(text)]


def test_settings_of_recipes_can_be_translated(messages):
    known = {text for message in messages for text in sources(message)}
    shown = {text for config in METHODS.values() for text in (config.title, config.purpose)}
    for config in METHODS.values():
        shown |= {text for field in config.model_fields.values() for text in (field.title, field.description)}
    assert shown <= known


@pytest.mark.skipif(not shutil.which("xgettext"), reason="GNU gettext is not installed: texts cannot be extracted")
def test_no_text_is_missing_from_the_catalog(tmp_path):
    """As `make messages`, in a copy: what it would change is what somebody forgot."""
    for folder in ("annotation", "config", "locale", "templates", "training"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "demo_data"))
    shutil.copy(ROOT / "manage.py", tmp_path)

    command = [sys.executable, "manage.py", "makemessages", "--all", "--no-obsolete", "--add-location=file"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    kept, extracted = ({str(message.id) for message in read(root / CATALOG)} for root in (ROOT, tmp_path))
    assert extracted == kept, "run `make messages` and translate what is new"


@pytest.mark.django_db
def test_a_page_in_chinese(client):
    with translation.override("en"):  # and back again: the next test speaks English
        page = client.get("/login/", headers={"Accept-Language": "zh-CN,zh;q=0.9"}).content.decode()

    assert 'lang="zh-hans"' in page
    assert "忘记密码？" in page
