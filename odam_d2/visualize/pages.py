"""What all pages are made of: one frame (``templates/base.html``), and images and data that travel inside the page.

A page is a single file. It fetches nothing from anywhere, and its content security policy says so to the browser.
"""

import base64
import io
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from ..utils.words import file_address, visible

TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, **values: Any) -> str:
    """Renders a page.

    Args:
        template: name of a template that extends ``base.html``.
        values: what the template shows; texts are escaped.

    Returns:
        The HTML.
    """
    return _environment().get_template(template).render(**values)


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
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

    Raises:
        ValueError: if it holds NaN or an infinity, which JSON doesn't know.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII: other characters become \\u escapes
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


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
