"""The people and things that tests speak of. With --postgres the same tests run on a real PostgreSQL."""

import sys
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import translation

from annotation.models import Candidate, Lease, Membership, Project, Prompt, Role, Task


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--postgres", action="store_true", help="run on an embedded PostgreSQL instead of SQLite")


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Django has read its database by now, so --postgres starts the server and then the same tests again on it."""
    if not config.option.postgres:
        return None
    from tests.postgres import run_on_postgres

    arguments = [argument for argument in config.invocation_params.args if argument != "--postgres"]
    return run_on_postgres([sys.executable, "-m", "pytest", *map(str, arguments)])


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix, tmp_path_factory):
    """SQLite in a file, as in earnest: in memory, neither threads nor child processes could share it."""
    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")


class NoTorch:
    """An import hook: what the web does, it does without torch and its kin."""

    family = frozenset({"torch", "transformers", "trl", "datasets", "peft", "accelerate"})

    def find_spec(self, name: str, *_more: object) -> None:
        if name.partition(".")[0] in self.family:
            raise AssertionError(f"{name} is imported outside training/recipes (a recipe's test is marked `recipe`)")


@pytest.fixture(autouse=True)
def no_torch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not any(request.node.get_closest_marker(name) for name in ("recipe", "gpu", "journey")):
        monkeypatch.setattr(sys, "meta_path", [NoTorch(), *sys.meta_path])


@pytest.fixture(autouse=True)
def storage(settings, tmp_path_factory):
    """Nothing that a test writes lands in the checkout's storage folder."""
    settings.STORAGE = tmp_path_factory.mktemp("storage")
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}  # pages without collectstatic
    settings.STORAGES = settings.STORAGES | {"staticfiles": plain}
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # Argon2 takes 0.1 s a login
    return settings.STORAGE


@pytest.fixture(autouse=True)
def english():
    """A request in another language leaves that language behind in its thread."""
    translation.activate("en")


@pytest.fixture
def project(db) -> Project:
    return Project.objects.create(slug="kitchen", title="Kitchen questions", calibration_share=0)


@pytest.fixture
def make_member(project) -> Callable[..., Membership]:
    def make(name: str, role: str = Role.ANNOTATOR, *, project: Project = project) -> Membership:
        user = User.objects.filter(username=name).first() or User.objects.create_user(name, password=f"{name}-secret")
        return Membership.objects.create(project=project, user=user, role=role)

    return make


@pytest.fixture
def annotator(make_member) -> Membership:
    return make_member("ada")


@pytest.fixture
def other_annotator(make_member) -> Membership:
    return make_member("ben")


@pytest.fixture
def manager(make_member) -> Membership:
    return make_member("mia", Role.MANAGER)


@pytest.fixture
def engineer(make_member) -> Membership:
    return make_member("eli", Role.ENGINEER)


@pytest.fixture
def stranger(db) -> User:
    return User.objects.create_user("sam", password="sam-secret")


@pytest.fixture
def make_task(project) -> Callable[..., Task]:
    def make(
        question: str = "How long do eggs keep?",
        answers: tuple[str, ...] = ("Five weeks.", "Long.", "Ask the hen.", "Eggs."),
        *,
        overlap: int = 1,
        project: Project = project,
        **fields: object,
    ) -> Task:
        messages = [{"role": "user", "content": question}]
        digest = Prompt.hash_messages(messages)
        prompt, _ = Prompt.objects.get_or_create(
            project=project,
            content_hash=digest,
            defaults={"messages": messages, "split": Prompt.split_of(digest), "language": "en"},
        )
        task = Task.objects.create(project=project, prompt=prompt, overlap=overlap, ready=True, **fields)
        Candidate.objects.bulk_create(
            Candidate(task=task, text=text, model_name=f"model-{n}") for n, text in enumerate(answers)
        )
        return task

    return make


@pytest.fixture
def task(make_task) -> Task:
    return make_task()


@pytest.fixture
def lease(task, annotator) -> Lease:
    from annotation.assignment import next_task

    lease = next_task(annotator)
    assert lease is not None
    return lease


@pytest.fixture
def count_queries() -> Callable[..., int]:
    """How many queries a page takes: a list must not take more for more rows."""

    def count(client: Client, url: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url).status_code == 200
        return len(queries)

    return count
