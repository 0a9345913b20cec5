"""What all pages are made of: one frame (``templates/base.html``), and images and data that travel inside the page.

A page is a single file. It fetches nothing from anywhere, and its content security policy says so to the browser.
"""

import base64
import io
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from ..utils.words import file_address, visible

# In JSON of ASCII: an escaped backslash, a pair of surrogates, and as group 1 a half without the other.
_ESCAPES = re.compile(r"\\(?:\\|ud[89ab]..\\ud[c-f]..|(ud[89a-f]..))")
TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, folder: Path = TEMPLATES, **values: Any) -> str:
    """Renders a page.

    Args:
        template: name of a template.
        folder: where it lies; it may include those of :data:`TEMPLATES`.
        values: what the template shows; texts are escaped.

    Returns:
        The HTML.
    """
    return _environment(folder).get_template(template).render(**values)


@lru_cache(maxsize=2)
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters["address"] = file_address
    # Style sheets and scripts go in as they are: an include would take their braces for jinja's.
    environment.globals["source"] = lambda name: Markup((TEMPLATES / name).read_text(encoding="utf-8"))
    return environment


def script_json(value: Any) -> Markup:
    """JSON for a script element: no text in it can end the element or start a comment.

    Halves of surrogate pairs, which a browser may stumble over, are shown as :func:`~odam_d2.utils.words.visible` does.

    Raises:
        ValueError: if it holds NaN or an infinity, which JSON doesn't know.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII: other characters become \\u escapes
    text = _ESCAPES.sub(_whole_escape, text)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _whole_escape(found: re.Match) -> str:
    """The escape as it is, but for half of a pair."""
    return found[0] if found[1] is None else json.dumps(visible(json.loads(f'"{found[0]}"')))[1:-1]


def base64_text(data: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(data).decode("ascii")


def jpeg_uri(image: np.ndarray, side: int, quality: int) -> str:
    """A (h, w, 3) uint8 RGB image as a JPEG data URI, its longer side at most `side` pixels."""
    small = Image.fromarray(image)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64_text(buffer.getvalue())}"
