"""``python -m demo.screenshots FOLDER``: take pictures of the running stack's UI with Chromium.

Needs Chromium (Debian: apt-get install chromium) and a stack in which the demo has run. A Chromium
without a window is driven over its debugging protocol, logged in by Airflow's own token.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
from websockets.sync.client import ClientConnection, connect

from demo.show import ledger
from demo.show.run import DAG
from demo.stack import Stack

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_WIDTH, _HEIGHT = 1280, 800
_PATIENCE = 60.0
_LARGEST = 200_000


class Page:
    """One page of a Chromium, driven over its debugging protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    def ask(self, method: str, **parameters: Any) -> Any:
        """Send one command and return its answer; events that come meanwhile are left aside."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=_PATIENCE))
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error'].get('message')}")
                return answer["result"]

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    def open(self, url: str, ready: str) -> None:
        """Go to a page and wait until its text has ``ready`` in it."""
        self.ask("Page.navigate", url=url)
        self.wait(f"document.body && document.body.innerText.includes({json.dumps(ready)})", ready)
        # Drawings move to their places for a moment after their text is there.
        time.sleep(3)

    def wait(self, condition: str, what: str) -> None:
        """Wait until a JavaScript condition holds."""
        deadline = time.monotonic() + _PATIENCE
        while not self.value(f"Boolean({condition})"):
            if time.monotonic() > deadline:
                text = self.value("document.body.innerText") or ""
                raise TimeoutError(f"{what!r} did not appear. The page says: {text[:500]}")
            time.sleep(0.5)

    def resize(self, width: int, height: int) -> None:
        """Make the window so large."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)

    def press(self, label: str) -> None:
        """Press the button whose label begins so, once it is there."""
        wanted = json.dumps(label)
        found = (
            "[...document.querySelectorAll('button')].find(b => "
            f"(b.getAttribute('aria-label') || b.innerText).startsWith({wanted}))"
        )
        self._press(found, label)

    def press_node(self, group: str) -> None:
        """Open a group in the graph."""
        self._press(f"document.querySelector('[data-id={json.dumps(group)}] button')", group)

    def _press(self, element: str, what: str) -> None:
        self.wait(element, what)
        self.value(f"{element}.click()")
        time.sleep(3)

    def picture(self) -> bytes:
        """What is in the window, as PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])


@contextmanager
def chromium() -> Iterator[Page]:
    """A Chromium without a window, with a profile of its own that goes with it."""
    program = next((found for name in _PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        raise SystemExit("No Chromium was found. On Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "--no-first-run"]
        options += ["--lang=en-US", "--accept-lang=en-US"]
        options += ["--no-proxy-server", f"--window-size={_WIDTH},{_HEIGHT}", "about:blank"]
        browser = subprocess.Popen(
            [program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            with connect(_page_address(Path(profile)), max_size=None, proxy=None) as socket:
                yield Page(socket)
        finally:
            browser.terminate()
            browser.wait(10)


def _page_address(profile: Path) -> str:
    """Chromium writes the port that it chose into its profile."""
    file = profile / "DevToolsActivePort"
    deadline = time.monotonic() + _PATIENCE
    while not file.exists() or not file.read_text("ascii").strip():
        if time.monotonic() > deadline:
            raise TimeoutError("Chromium did not start")
        time.sleep(0.2)
    port, browser = file.read_text("ascii").split()
    with connect(f"ws://127.0.0.1:{port}{browser}", proxy=None) as socket:
        targets = Page(socket).ask("Target.getTargets")["targetInfos"]
    target = next(each["targetId"] for each in targets if each["type"] == "page")
    return f"ws://127.0.0.1:{port}/devtools/page/{target}"


@dataclass(frozen=True)
class Shot:
    """One picture: the file's name, the path on the server, and a text that tells it is there."""

    name: str
    path: str
    ready: str
    prepare: Callable[[Page], None] = lambda page: None
    height: int = _HEIGHT
    width: int = _WIDTH


def log_in(page: Page, stack: Stack) -> None:
    """Give the browser the cookie that Airflow's login page would."""
    host = urlsplit(stack.airflow.url).hostname
    cookie = {"name": "_token", "value": stack.airflow.token(), "domain": host, "path": "/"}
    page.ask("Network.setCookie", **cookie)


def shots(stack: Stack) -> Iterator[Shot]:
    """The pictures of a stack in which the demo has run."""
    done, failed = _newest(stack, "success"), _newest(stack, "failed")
    yield Shot("trigger-form", f"/dags/{DAG}", "Trigger", _open_form)
    if done:
        yield Shot("graph", f"/dags/{DAG}/runs/{done}", "reconcile", _open_graph, 640, 1900)
    if failed:
        yield Shot("failed-run", f"/dags/{DAG}/runs/{failed}", "reconcile", _open_graph, 640, 1900)
        for path in _failed_gates(stack, failed):
            yield Shot("failed-gate", f"/dags/{DAG}/runs/{failed}/tasks/{path}", "Logs", _fold, 560)
    with psycopg.connect(stack.dsn("commerce"), autocommit=True) as home:
        reports = list(ledger.reports(home).values())
    for number in reports[-1:]:
        name = "report" if len(reports) > 1 else "failed-report"
        yield Shot(name, f"/sinew/report/{DAG}/{number}", "Migration report", height=1100)
    yield Shot("migrations", "/plugin/migrations", "Migrations", lambda page: time.sleep(4))


def _newest(stack: Stack, state: str) -> str | None:
    path = f"/api/v2/dags/{DAG}/dagRuns?order_by=-run_after&limit=1&state={state}"
    runs = stack.airflow.api("GET", path)["dag_runs"]
    return quote(runs[0]["dag_run_id"]) if runs else None


def _failed_gates(stack: Stack, run_id: str) -> list[str]:
    path = f"/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances?state=failed&limit=100"
    tasks = stack.airflow.api("GET", path)["task_instances"]
    return [
        f"{task['task_id']}/mapped/{task['map_index']}"
        for task in tasks
        if task["task_id"].endswith(".check")
    ][:1]


def _open_form(page: Page) -> None:
    page.press("Trigger")
    page.wait("document.body.innerText.includes('Dry run')", "the trigger form")
    time.sleep(2)


def _open_graph(page: Page) -> None:
    """The first phase, with the steps of its first entity."""
    page.press("Show Graph")
    page.press("Collapse Details Panel")
    for group in ("pilot", "pilot.customers"):
        page.press_node(group)
    page.press("Fit View")


def _fold(page: Page) -> None:
    """The error as a person reads it: its lines wrapped, its traceback folded."""
    page.value("localStorage.setItem('log_wrap', 'true')")
    page.ask("Page.reload")
    page.wait("document.body.innerText.includes('gate failed')", "the log")
    time.sleep(3)
    error = (
        "[...document.querySelectorAll('summary')].find(s => s.innerText.includes('gate failed'))"
    )
    page.value(f"{error}?.click()")
    time.sleep(2)


def take(page: Page, url: str, shot: Shot, folder: Path) -> Path:
    """Take one picture."""
    page.resize(shot.width, shot.height)
    # What an earlier picture chose, Airflow would keep.
    page.value("localStorage.clear()")
    page.open(url + shot.path, shot.ready)
    shot.prepare(page)
    file = folder / f"{shot.name}.png"
    file.write_bytes(page.picture())
    return file


def main(arguments: list[str]) -> int:
    """Take all pictures, or those that are named; 1 when one is too large for a page."""
    parser = argparse.ArgumentParser(prog="python -m demo.screenshots", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="only these pictures")
    chosen = parser.parse_args(arguments)
    stack = Stack()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    sizes = []
    with chromium() as page:
        log_in(page, stack)
        for shot in shots(stack):
            if not chosen.names or shot.name in chosen.names:
                file = take(page, stack.airflow.url, shot, chosen.folder)
                sizes.append(file.stat().st_size)
                print(f"{file}: {sizes[-1]:,} bytes", flush=True)
    return 0 if all(size <= _LARGEST for size in sizes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
