"""Chromium without a window, driven through its DevTools pipe: what benchmarks of pages share."""

import json
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-precise-memory-info",
    "--js-flags=--expose-gc", "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """A browser of its own with one page; use it as a context.

    Args:
        width: of the window in pixels.
        height: of the window.

    Raises:
        ValueError: if no Chromium is installed.
    """

    def __init__(self, width: int = 1280, height: int = 720):
        program = next((path for path in map(shutil.which, PROGRAMS) if path), None)
        if program is None:
            raise ValueError(f"Chromium must be installed to measure pages; got none of {list(PROGRAMS)}: install it")
        self._profile = tempfile.mkdtemp()
        (read, self._to), (self._from, write) = os.pipe(), os.pipe()

        def give_pipes() -> None:  # in the child: it reads from 3 and writes to 4
            kept = [os.dup2(one, place) for one, place in ((read, 10), (write, 11))]
            for one, place in zip(kept, (3, 4), strict=True):
                os.dup2(one, place)

        command = [program, *_OPTIONS, f"--user-data-dir={self._profile}", f"--window-size={width},{height}"]
        self._process = subprocess.Popen(
            command, close_fds=False, preexec_fn=give_pipes, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(read)
        os.close(write)
        self._number, self._left = 0, b""
        self.errors: list[str] = []
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Performance"):
            self.ask(f"{domain}.enable")

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

    def open(self, path: Path, fragment: str = "", before: str = "") -> None:
        """Opens a file; `before` is a script that runs ahead of the page's own."""
        if before:
            self.ask("Page.addScriptToEvaluateOnNewDocument", {"source": before})
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

    def heap_mb(self) -> float:
        """Megabytes of JavaScript's heap, once garbage is collected."""
        self.run("globalThis.gc && gc()")
        metrics = {one["name"]: one["value"] for one in self.ask("Performance.getMetrics")["metrics"]}
        return metrics["JSHeapUsedSize"] / 1e6

    def process_mb(self) -> float:
        """Megabytes of the page's own process: what it alone keeps in memory."""
        renderers = [one for one in psutil.Process(self._process.pid).children(recursive=True)
                     if "--type=renderer" in " ".join(one.cmdline())]  # fmt: skip
        return max(one.memory_full_info().uss for one in renderers) / 1e6

    def _ask(self, method: str, values: dict[str, Any] | None = None, session: str | None = None) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": values or {}}
        if session:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._next())
            if answer.get("method") == "Runtime.exceptionThrown":
                details = answer["params"]["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description", details["text"]))
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _next(self) -> bytes:
        while b"\0" not in self._left:
            block = os.read(self._from, 2**16)
            if not block:
                raise RuntimeError("Chromium has ended before it answered")
            self._left += block
        message, _, self._left = self._left.partition(b"\0")
        return message
