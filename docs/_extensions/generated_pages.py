"""Pages that are written from the code at build time: the commands' options and the keys of ``cfg.ODAM``."""

import contextlib
import importlib
import inspect
import io
import os
import re
from pathlib import Path
from unittest import mock

from detectron2.config import CfgNode, get_cfg

from odam_d2.config import add_odam_config
from odam_d2_cli import COMMANDS

_KEY = re.compile(r"cfg\.(ODAM(?:\.[A-Z_]+)*) = (.*)")


def help_of(command) -> str:
    """What a command's ``--help`` prints, 100 characters wide."""
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
        mock.patch.dict(os.environ, {"COLUMNS": "100", "NO_COLOR": "1"}),
    ):
        command(["--help"])
    return printed.getvalue()


def config_keys() -> list[tuple[str, str | None, str]]:
    """(key, default or None for a node, meaning) of everything below ``cfg.ODAM``, in the order of the source.

    The meaning is the comment above the line that sets the key, in :func:`odam_d2.config.add_odam_config`.
    """
    cfg = get_cfg()
    add_odam_config(cfg)
    found: list[tuple[str, str | None, str]] = []
    comment: list[str] = []
    for line in map(str.strip, inspect.getsource(add_odam_config).splitlines()):
        if line.startswith("#"):
            comment.append(line.lstrip("# "))
            continue
        if match := _KEY.match(line):
            value = cfg
            for part in match[1].split("."):
                value = value[part]
            found.append((match[1], None if isinstance(value, CfgNode) else repr(value), " ".join(comment)))
        comment = []
    return found


def config_page() -> str:
    """Markdown: a section for each node, a table of its keys in each."""
    lines: list[str] = []
    keys = config_keys()
    nodes = [key for key, default, _ in keys if default is None]
    meanings = {key: meaning for key, _, meaning in keys}
    for node in nodes:
        lines += [f"## {node}", "", meanings[node], ""]
        own = [row for row in keys if row[1] is not None and row[0].rpartition(".")[0] == node]
        if own:
            lines += ["| key | default | meaning |", "|---|---|---|"]
            lines += [f"| `{key}` | `{default}` | {meaning} |" for key, default, meaning in own] + [""]
    return "\n".join(lines)


def command_page() -> str:
    """Markdown: a section for each command, with its help."""
    lines: list[str] = []
    for name, (module, what) in COMMANDS.items():
        command = importlib.import_module(module).main
        lines += [f"## odam {name}", "", f"{what[0].upper()}{what[1:]}.", ""]
        lines += ["```text", help_of(command).rstrip(), "```", ""]
    return "\n".join(lines)


def write_pages(app) -> None:
    """Writes both, if they have changed: an unchanged file is not read again."""
    folder = Path(app.srcdir) / "reference" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("config.inc.md", config_page()), ("commands.inc.md", command_page())):
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app) -> dict:
    """Registers the extension with Sphinx."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
