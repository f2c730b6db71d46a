"""Typed readers of the environment. A wrong value stops the start with one sentence."""

import contextlib
import os
import secrets
import tempfile
import zoneinfo
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from environs import Env, EnvError

_env = Env()


def read(kind: str, name: str, default: Any) -> Any:
    """Read NAME as KIND (a reader of environs: bool, int, str, list ...)."""
    try:
        return getattr(_env, kind)(name, default)
    except (EnvError, ValueError) as error:
        raise ImproperlyConfigured(
            f"The environment variable {name} is set to {os.environ.get(name)!r}, which is not a valid value: {error}"
        ) from error


def read_bool(name: str, default: bool) -> bool:
    return bool(read("bool", name, default))


def read_int(name: str, default: int, *, least: int = 0) -> int:
    value = int(read("int", name, default))
    if value < least:
        raise ImproperlyConfigured(f"The environment variable {name} is {value}; it must be at least {least}.")
    return value


def read_list(name: str, default: list[str]) -> list[str]:
    return list(read("list", name, default))


def read_time_zone(name: str, default: str) -> str:
    zone = str(read("str", name, default))
    if zone not in zoneinfo.available_timezones():
        raise ImproperlyConfigured(f"{name} is {zone!r}, which is no time zone; write one such as Europe/Berlin.")
    return zone


def read_origins(name: str) -> list[str]:
    origins = read_list(name, [])
    for origin in origins:
        if not origin.startswith(("https://", "http://")):
            raise ImproperlyConfigured(f"{name} holds {origin!r}; write it with its scheme: https://{origin}.")
    return origins


def read_folder(name: str, default: Path) -> Path:
    """A folder that exists (made when missing) and can be written to."""
    folder = Path(str(read("str", name, str(default)))).expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"The folder {folder} named by {name} cannot be made: {error.strerror}.") from error
    if not os.access(folder, os.W_OK):
        raise ImproperlyConfigured(f"The folder {folder} named by {name} is not writable.")
    return folder


def read_database(name: str, default: str) -> dict[str, Any]:
    """A database URL: sqlite:///file, postgres://user@host/name, postgres://user@/name?host=/socket/folder."""
    try:
        config: dict[str, Any] = dict(dj_database_url.parse(str(read("str", name, default))))
    except ValueError:  # its value may hold a password, so it is not repeated here
        config = {"ENGINE": None}
    if config["ENGINE"] == "django.db.backends.sqlite3":
        if config["NAME"] == ":memory:":
            raise ImproperlyConfigured(f"{name} names no file; write sqlite:///path/to/file.sqlite3.")
        # WAL with FULL: an acknowledged ranking is on disk. IMMEDIATE: writers queue instead of failing halfway.
        config["OPTIONS"] = {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
        }
    elif config["ENGINE"] == "django.db.backends.postgresql":
        config["CONN_HEALTH_CHECKS"] = True
        # As long as SQLite waits: who waits longer for a row is told to send again, instead of holding a thread.
        config["OPTIONS"] = {"options": "-c lock_timeout=30s"} | config.get("OPTIONS", {})
    else:
        raise ImproperlyConfigured(f"{name} is no database address that begins with sqlite:// or postgres://.")
    config["CONN_MAX_AGE"] = 600
    return config


def read_secret_key(storage: Path) -> str:
    """SECRET_KEY, or one made once into a file of the storage folder that only its owner reads."""
    if key := str(read("str", "SECRET_KEY", "")):
        if len(key) < 32:
            raise ImproperlyConfigured("SECRET_KEY is shorter than 32 characters; use a long random value.")
        return key
    file = storage / "secret_key"
    if not file.exists():
        # Written aside and then linked: of two processes that start at once one wins, and neither reads half a key.
        with tempfile.NamedTemporaryFile("w", dir=storage, prefix=".secret_key") as new:  # 0600 from the start
            new.write(secrets.token_urlsafe(64))
            new.flush()
            with contextlib.suppress(FileExistsError):
                os.link(new.name, file)
    file.chmod(0o600)  # a restored backup may have opened it
    key = file.read_text().strip()
    if len(key) < 32:
        raise ImproperlyConfigured(f"The file {file} holds no key; delete it, and a new one is made.")
    return key
