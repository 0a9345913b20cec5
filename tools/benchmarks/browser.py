"""Chromium without a window, driven through its DevTools pipe: what benchmarks and tests of pages share."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-precise-memory-info",
    "--js-flags=--expose-gc", "--remote-debugging-pipe",
)  # fmt: skip
# Chromium reads from 3 and writes to 4; the pipes may have either number already.
_PUT_PIPES = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in sys.argv[1:3]]
for pipe, place in zip(pipes, (3, 4)):
    os.dup2(pipe, place)
    os.close(pipe)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """A browser of its own with one page; use it as a context.

    Args:
        width: of what the page is seen in, in pixels.
        height: likewise.

    Attributes:
        said: what the console said since the page was opened, errors of scripts among it.

    Raises:
        ValueError: if no Chromium is installed.
    """

    def __init__(self, width: int = 1280, height: int = 720):
        program = next((path for path in map(shutil.which, PROGRAMS) if path), None)
        if program is None:
            raise ValueError(f"Chromium must be installed to measure pages; got none of {list(PROGRAMS)}: install it")
        self._profile = tempfile.mkdtemp()
        (read, self._to), (self._from, write) = os.pipe(), os.pipe()
        command = [program, *_OPTIONS, f"--user-data-dir={self._profile}"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PUT_PIPES, str(read), str(write), *command],
            pass_fds=(read, write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        self._number, self._left = 0, b""
        self._ahead: list[str] = []
        self.said: list[str] = []
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Performance", "Log"):
            self.ask(f"{domain}.enable")
        self.show_in(width, height)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, RuntimeError):
            self._ask("Browser.close")
        self._process.wait(timeout=30)
        os.close(self._to)
        os.close(self._from)
        shutil.rmtree(self._profile, ignore_errors=True)

    def ask(self, method: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
        """Asks the page's session; see the DevTools protocol."""
        return self._ask(method, values, self._session)

    def show_in(self, width: int, height: int, dark: bool = False) -> None:
        """Shows the page in another size, in its light or dark colours."""
        self.ask("Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})  # fmt: skip
        self.ask("Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})  # fmt: skip

    def open(self, path: Path, fragment: str = "", before: str = "") -> None:
        """Opens a file anew; `before` is a script that runs ahead of the page's own."""
        for one in self._ahead:
            self.ask("Page.removeScriptToEvaluateOnNewDocument", {"identifier": one})
        # Otherwise a link to another place in the same page would open nothing.
        self.ask("Page.navigate", {"url": "about:blank"})
        values = {"source": before}
        self._ahead = [self.ask("Page.addScriptToEvaluateOnNewDocument", values)["identifier"]] if before else []
        self.said = []
        self.ask("Page.navigate", {"url": path.resolve().as_uri() + fragment})

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for.

        Raises:
            RuntimeError: if the script fails.
        """
        found = self.ask(
            "Runtime.evaluate", {"expression": script, "awaitPromise": True, "returnByValue": True, "userGesture": True}
        )
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"].get("exception", {}).get("description", "a script failed"))
        return found["result"].get("value")

    def _run_if_there(self, expression: str) -> Any:
        """The value of an expression; None while one page gives way to another."""
        try:
            return self.run(expression)
        except RuntimeError as error:
            if "navigated" not in str(error):
                raise
            return None

    def wait_for(self, expression: str, seconds: float = 60.0) -> Any:
        """The value of an expression once it is true.

        Raises:
            ValueError: if it isn't in time.
        """
        end = time.monotonic() + seconds
        while not (value := self._run_if_there(expression)):
            if time.monotonic() > end:
                raise ValueError(f"the page must come to {expression} within {seconds:g} s; it didn't: look at it")
            time.sleep(0.01)
        return value

    def screenshot(self) -> bytes:
        """What the window shows, as PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot")["data"])

    def heap_mb(self) -> float:
        """Megabytes of JavaScript's heap, once garbage is collected."""
        self.run("globalThis.gc && gc()")
        metrics = {one["name"]: one["value"] for one in self.ask("Performance.getMetrics")["metrics"]}
        return metrics["JSHeapUsedSize"] / 1e6

    def process_mb(self) -> float:
        """Megabytes of the page's own process: what it alone keeps in memory."""
        processes = self._ask("SystemInfo.getProcessInfo")["processInfo"]
        numbers = [one["id"] for one in processes if one["type"] == "renderer"]
        return max(_private_kilobytes(number) for number in numbers) / 1e3

    def _ask(self, method: str, values: dict[str, Any] | None = None, session: str | None = None) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": values or {}}
        if session:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._next())
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._hear(answer.get("method"), answer.get("params", {}))

    def _hear(self, event: str | None, about: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.said.append(details.get("exception", {}).get("description", details["text"]))
        elif event == "Runtime.consoleAPICalled":
            self.said.append(" ".join(str(one.get("value", one.get("description"))) for one in about["args"]))
        elif event == "Log.entryAdded":
            self.said.append(about["entry"]["text"])

    def _next(self) -> bytes:
        while b"\0" not in self._left:
            block = os.read(self._from, 2**16)
            if not block:
                raise RuntimeError("Chromium has ended before it answered")
            self._left += block
        message, _, self._left = self._left.partition(b"\0")
        return message


def _private_kilobytes(process: int) -> int:
    """What a process alone keeps in memory, as Linux counts it."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))
