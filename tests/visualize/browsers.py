"""Headless Chromium, and node, for tests of pages."""

import json
import re
import subprocess

from odam_d2.visualize.pages import TEMPLATES
from tests.wants import find_program, needs

CHROMIUM = find_program("chromium", "chromium-browser", "google-chrome")
needs_chromium = needs("Chromium", CHROMIUM is not None)
NODE = find_program("node", "nodejs")
needs_node = needs("node", NODE is not None)

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1200,800",
    "--virtual-time-budget=15000",  # pretended milliseconds: what is loaded and drawn later than that is not seen
    "--enable-logging=stderr",  # the page's console, too
)  # fmt: skip


def browse(page, tmp_path, *options, fragment=""):
    """Opens a page anew; its output and what its console said."""
    command = [CHROMIUM, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", *options, page.as_uri() + fragment]
    done = subprocess.run(command, capture_output=True, timeout=120)
    log = done.stderr.decode(errors="replace")
    assert done.returncode == 0, log
    return done.stdout.decode(), [line for line in log.splitlines() if "CONSOLE" in line]


def element(dom, identity):
    """What the DOM holds in the element of an id that holds none of its own kind."""
    return re.search(rf'<(\w+)[^>]*\bid="{identity}"[^>]*>(.*?)</\1>', dom, re.DOTALL).group(2)


def run_node(files, script, value):
    """What a script prints as JSON, run behind files of the page, with `value` as its input."""
    program = "\n".join((TEMPLATES / f"{name}.js").read_text(encoding="utf-8") for name in files) + script
    done = subprocess.run([NODE, "-e", program], input=json.dumps(value), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
