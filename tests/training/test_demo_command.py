"""`manage.py demo` as a process: it comes up, prints the logins, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
PREPARED = ROOT / ".setup" / "models" / "smollm2-135m-instruct"
pytestmark = [
    pytest.mark.recipe,
    pytest.mark.skipif(not PREPARED.exists(), reason="the model is not prepared: make setup"),
]


class RunningDemo:
    def __init__(self, storage: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "PORT")}
        self.output = storage / "output.txt"
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "demo"],
            cwd=ROOT,
            env={**environment, "STORAGE": str(storage)},
            stdout=self.output.open("wb"),
            stderr=subprocess.STDOUT,
        )

    def wait_until_up(self) -> str:
        """The address that it prints."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if found := re.search(r"http://127\.0\.0\.1:\d+/", self.output.read_text()):
                return found[0]
            assert self.process.poll() is None, self.output.read_text()
            time.sleep(0.2)
        raise TimeoutError(self.output.read_text())

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def demo(tmp_path):
    running = RunningDemo(tmp_path)
    yield running
    if running.process.poll() is None:
        running.process.terminate()
        running.process.wait(60)


def test_it_comes_up_and_ctrl_c_stops_everything(demo, tmp_path):
    address = demo.wait_until_up()
    with urllib.request.urlopen(address + "login/", timeout=10) as response:
        assert response.status == 200
    for name in ("annotator", "annotator2", "manager", "engineer"):
        assert re.search(rf"{name} +(\w{{4}}-?){{3}} ", demo.output.read_text())

    second = subprocess.run(
        [sys.executable, "manage.py", "demo"],
        cwd=ROOT,
        env={**os.environ, "STORAGE": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert second.returncode == 1
    assert "running" in second.stderr

    children = demo.children()
    assert children
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(60) == 0
    assert not psutil.wait_procs(children, timeout=10)[1]
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=2)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_killed_outright_it_takes_its_children_along(demo):
    demo.wait_until_up()
    children = demo.children()
    demo.process.kill()
    demo.process.wait()
    assert not psutil.wait_procs(children, timeout=40)[1]
