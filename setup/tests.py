"""Run all checks and tests, two groups at a time, and end with one line that counts them.

    python setup/tests.py [--all] [GROUP ...]

Web tests and recipes have processes of their own: web tests run where torch cannot be imported.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "test-results"


@dataclass
class Group:
    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    alone: bool = False  # it measures time
    code: int = 0
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)

    def run(self) -> "Group":
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="preferendum-") as storage:
            result = subprocess.run(
                self.command,
                cwd=ROOT,
                env={**os.environ, "STORAGE": storage, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.seconds = time.monotonic() - started
        is_pytest = "pytest" in self.command
        self.code = 0 if is_pytest and result.returncode == 5 else result.returncode  # 5: the group has no test
        if is_pytest:
            last = result.stdout.rstrip().rpartition("\n")[2]
            found = re.findall(r"(\d+) (passed|failed|skipped|error)", last)
            self.counts = {word: int(number) for number, word in found}
            self.counts["failed"] = self.counts.get("failed", 0) + self.counts.pop("error", 0)
            if self.code and not self.counts["failed"]:
                self.counts["failed"] = 1  # it ended before it could count
        else:
            self.counts = {"failed" if self.code else "passed": 1}
        (LOGS / f"{self.name}.log").write_text(result.stdout)
        print(f"\n===== {self.name}: {'FAILED' if self.code else 'ok'} in {self.seconds:.0f} s =====", flush=True)
        print(result.stdout.rstrip(), flush=True)
        return self


def groups(everything: bool) -> list[Group]:
    """Longest first, so that both lanes end together; the style check is so short that it goes before all."""
    python = sys.executable
    quick = "" if everything else " and not slow"
    # What computes without pause gives way to what waits for a page, and to the recipes that a journey waits for.
    polite = ["nice", "-n", "15"]

    def tests(name: str, marks: str, *options: str, **environment: str) -> Group:
        command = [python, "-m", "pytest", "-q", "--durations=8", "--durations-min=1", *options]
        command = [*(polite if name == "recipes" else []), *command]
        return Group(name, [*command, "-m", f"not gpu and {marks}{quick}"], environment)

    found = [
        Group("style", ["sh", "-c", f'"{python}" -m ruff check . && "{python}" -m ruff format --check .']),
        tests("journeys", "journey"),
        tests("recipes", "recipe and not journey", OMP_NUM_THREADS="1"),
        tests("unit", "not journey and not recipe"),
        tests(
            "postgres",
            "not journey and not recipe and not postgres",
            "--postgres",
            "tests/annotation",
            "tests/training",
            "tests/test_busy.py",
            "tests/test_settings.py",
            "tests/test_url_roles.py",
        ),
        Group("types", [python, "-m", "mypy", "."]),
        Group("loop", [python, "manage.py", "demo", "--headless", "--small"]),
    ]
    if everything:
        found.append(Group("benchmark", [python, "benchmarks/annotate.py"], alone=True))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="the slow tests and the benchmarks as well")
    parser.add_argument("names", nargs="*", metavar="GROUP", help="only these groups")
    options = parser.parse_args()
    LOGS.mkdir(exist_ok=True)
    started = time.monotonic()
    chosen = [group for group in groups(options.all) if not options.names or group.name in options.names]
    print(f"Running {', '.join(group.name for group in chosen)}; each prints when it ends", flush=True)
    with ThreadPoolExecutor(max_workers=2) as lanes:
        done = list(lanes.map(Group.run, [group for group in chosen if not group.alone]))
    done += [group.run() for group in chosen if group.alone]

    print(f"\n{'group':<12}{'seconds':>8}{'passed':>8}{'failed':>8}{'skipped':>9}")
    total = {"passed": 0, "failed": 0, "skipped": 0}
    for group in done:
        counts = {word: group.counts.get(word, 0) for word in total}
        print(f"{group.name:<12}{group.seconds:>8.0f}" + "{passed:>8}{failed:>8}{skipped:>9}".format(**counts))
        total = {word: total[word] + counts[word] for word in total}
    print(f"{'all':<12}{time.monotonic() - started:>8.0f}\n")
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**total))
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
