"""What must not pass silently: undocumented public names, dead references, and anything that a page would fetch.

References in docstrings are looked up as Python would: in the class, in its module and those of its bases with what
they import, and by their full names. So ``odam_d2.explain.build_explainer`` leads to the page of the module that
defines it, and a name of another package, which has no page here, is plain text. What Python doesn't find stays a
warning.
"""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

from sphinx.errors import ExtensionError
from sphinx.util import logging

_LOGGER = logging.getLogger(__name__)
_DOCUMENTED = {"module", "class", "exception", "function", "method", "property"}
_NOTHING = object()
# What a browser loads by itself. A link that a reader may click is no such thing.
_FETCHED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"'](?:https?:)?//[^\"']+|<link\b[^>]*>", re.IGNORECASE
)
_REMOTE = re.compile(r"\bhref=[\"'](?:https?:)?//")


def check_docstring(app, what, name, obj, options, lines) -> None:
    """Warns of a public name of the package without a docstring.

    A property's docstring gets an empty comment in front: napoleon takes what is before its first colon for a type.
    """
    del app, options
    if what == "property":
        lines[:0] = ["..", ""]
    owner = (
        name
        if what == "module"
        else getattr(obj, "__module__", None) or getattr(getattr(obj, "fget", None), "__module__", "")
    )
    ours = str(owner).startswith("odam_d2") and not name.rpartition(".")[2].startswith("_")
    if ours and what in _DOCUMENTED and not any(line.strip(" .") for line in lines):
        _LOGGER.warning("%s has no docstring", name, type="strict_pages", subtype="docstring")


def set_commands_apart(app, what, name, obj, options, lines) -> None:
    """Sets the indented examples of a command's module as code: they are written for ``--help``, without ``::``."""
    del app, obj, options
    if what == "module" and name.startswith("odam_d2.cli"):
        starts = [k for k, line in enumerate(lines) if line.startswith("    ") and k and not lines[k - 1].strip()]
        for k in reversed(starts):
            lines[k:k] = ["::", ""]


def skip_bare_attributes(app, what, name, obj, skip, options):
    """Leaves out attributes: their class's docstring describes them. Methods and properties stay."""
    del app, name, options
    bare = what == "class" and not callable(obj) and not isinstance(obj, property | classmethod | staticmethod)
    return True if bare and not skip and not hasattr(obj, "func") else None


def find_home(app, env, node, contnode):
    """Resolves a Python reference that Sphinx doesn't find; see above."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].lstrip("~.")
    parts = [node.get("py:module"), node.get("py:class")]
    owner = _look_up(".".join(parts)) if all(parts) else None
    bases = [base.__module__ for base in getattr(owner and owner[0], "__mro__", ())]  # docstrings are inherited
    scopes = [".".join(filter(None, parts)), parts[0] or "", *bases]
    for path in [f"{scope}.{target}" for scope in scopes if scope] + [target, f"builtins.{target}"]:
        found = _look_up(path)
        if found is not None:
            break
    else:
        return None
    home = found[1]
    if not home.startswith("odam_d2"):
        return contnode
    domain = env.get_domain("py")
    # An object has its own place; data have that of their class or module.
    while home:
        for kind in ("obj", "mod"):
            link = domain.resolve_xref(env, node["refdoc"], app.builder, kind, home, node, contnode)
            if link is not None:
                return link
        home = home.rpartition(".")[0]
    return None


def _look_up(path: str) -> tuple[object, str] | None:
    """What a dotted path names, and the full name of the place where it is defined; None if it names nothing."""
    names = path.split(".")
    for length in range(len(names), 0, -1):
        try:
            found: object = importlib.import_module(".".join(names[:length]))
        except (ImportError, ValueError):
            continue
        home = ".".join(names[:length])
        for name in names[length:]:
            inner = getattr(found, name, _NOTHING)
            if inner is _NOTHING:
                if isinstance(found, type) and _describes(found, name):
                    return found, f"{home}.{name}"
                return None
            home = f"{home}.{name}"
            defined = getattr(inner, "__module__", None)
            if isinstance(inner, ModuleType):
                home = inner.__name__
            elif isinstance(defined, str) and hasattr(inner, "__qualname__") and not isinstance(inner, property):
                home = f"{defined}.{inner.__qualname__}"
            elif isinstance(found, ModuleType):
                home = f"{_defining_module(found, name)}.{name}"
            found = inner
        return found, home
    return None


def _describes(kind: type, attribute: str) -> bool:
    """Whether a class's docstring or annotations name an attribute that only instances have."""
    own = any(attribute in getattr(base, "__annotations__", {}) for base in kind.__mro__)
    text = "\n".join(base.__doc__ or "" for base in kind.__mro__ if base is not object)
    return own or re.search(rf"^\s*{re.escape(attribute)}\b[^:\n]*:", text, re.MULTILINE) is not None


def _defining_module(module: ModuleType, name: str) -> str:
    """The module of the package that a piece of data was imported from, as far as that can be told."""
    value = getattr(module, name)
    for other in sorted(
        (m for n, m in sys.modules.items() if n.startswith("odam_d2.")), key=lambda m: -len(m.__name__)
    ):
        if getattr(other, name, _NOTHING) is value and not hasattr(other, "__path__"):
            source = Path(other.__file__ or "")
            if source.is_file() and re.search(rf"^{re.escape(name)}\b.*=", source.read_text("utf-8"), re.MULTILINE):
                return other.__name__
    return module.__name__


def forbid_fetching(app, error) -> None:
    """Fails the build if a page would load anything from a server."""
    if error is not None or app.builder.format != "html":
        return
    found = []
    for page in Path(app.outdir).rglob("*.html"):
        for match in _FETCHED.finditer(page.read_text(encoding="utf-8")):
            if not match[0].lower().startswith("<link") or _REMOTE.search(match[0]):
                found.append(f"{page.name}: {match[0][:120]}")
    if found:
        raise ExtensionError("pages must not load anything from a server; got:\n" + "\n".join(found))


def setup(app) -> dict:
    """Registers the extension with Sphinx."""
    app.connect("autodoc-process-docstring", check_docstring, priority=100)  # before napoleon
    app.connect("autodoc-process-docstring", set_commands_apart, priority=50)
    app.connect("autodoc-skip-member", skip_bare_attributes)
    app.connect("missing-reference", find_home)
    app.connect("build-finished", forbid_fetching)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
