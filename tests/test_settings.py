"""Settings: no variable has to be set, defaults are secure, and a wrong value stops the start with one sentence."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from config.environment import read_database, read_secret_key

ROOT = Path(__file__).resolve().parent.parent


def manage(*arguments: str, storage: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=kept | {"STORAGE": str(storage)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_every_command_runs_with_no_variable_set(tmp_path):
    result = manage("check", storage=tmp_path)

    assert result.returncode == 0, result.stderr
    key = tmp_path / "secret_key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_text()) >= 64


def test_defaults_hide_errors_and_name_the_own_machine_only(tmp_path):
    result = manage(
        "shell", "-v0", "-c", "from django.conf import settings as s; print(s.DEBUG, s.ALLOWED_HOSTS)", storage=tmp_path
    )

    assert result.stdout.strip() == "False ['localhost', '127.0.0.1', '[::1]']"


def test_behind_https_django_finds_nothing_to_warn_of(tmp_path):
    result = manage("check", "--deploy", "--fail-level", "WARNING", storage=tmp_path, HTTPS="1")

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("DEBUG", "perhaps", "DEBUG"),
        ("HTTPS", "2", "HTTPS"),
        ("MAX_UPLOAD_MB", "lots", "MAX_UPLOAD_MB"),
        ("MAX_UPLOAD_MB", "0", "must be at least 1"),
        ("SMTP_PORT", "smtp", "SMTP_PORT"),
        ("SECRET_KEY", "hunter2", "32 characters"),
        ("STORAGE", "/dev/null/storage", "STORAGE"),
        ("TIME_ZONE", "Mars/Olympus", "TIME_ZONE"),
        ("CSRF_TRUSTED_ORIGINS", "example.org", "CSRF_TRUSTED_ORIGINS"),
        ("DATABASE_URL", "mysql://root@localhost/x", "sqlite:// or postgres://"),
        ("DATABASE_URL", "sqlite://", "file"),
        ("DATABASE_URL", "postgres://ada:p4ssw0rd@host:port/x", "DATABASE_URL"),
    ],
)
def test_a_wrong_value_stops_the_start_with_one_sentence(variable, value, says, tmp_path):
    result = manage("check", storage=tmp_path, **{variable: value})

    assert result.returncode == 1
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert "p4ssw0rd" not in result.stderr


def test_a_database_on_a_socket_is_named_by_host():
    config = read_database("NO_SUCH_VARIABLE", "postgres://ada@/judgements?host=/run/postgres")

    assert config["NAME"] == "judgements"
    assert config["OPTIONS"]["host"] == "/run/postgres"


@pytest.mark.django_db
def test_an_acknowledged_ranking_is_on_disk():
    """SQLite: WAL with synchronous=FULL (2); PostgreSQL: the default, on."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous" if connection.vendor == "sqlite" else "SHOW synchronous_commit")
        assert cursor.fetchone()[0] in (2, "on")


def test_the_secret_key_is_made_once_and_read_by_its_owner_only(tmp_path):
    made = read_secret_key(tmp_path)
    (tmp_path / "secret_key").chmod(0o644)  # a careless restore of a backup

    assert read_secret_key(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600


def test_processes_that_start_at_once_share_one_secret_key(tmp_path):
    code = "import sys, pathlib, config.environment as e; print(e.read_secret_key(pathlib.Path(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    keys = {process.communicate(timeout=60)[0].strip() for process in processes}

    assert len(keys) == 1
    assert len(keys.pop()) >= 64
