"""How Sphinx builds the site: `make docs` writes it to docs/_build/html. Nothing is fetched from the network."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS / "_extensions"), str(DOCS.parent)]

import odam_d2  # noqa: E402  the paths above come first

project = "odam_d2"
author = "the authors of odam_d2"
copyright = "the authors of odam_d2, Apache-2.0"
version = release = odam_d2.__version__

extensions = [
    "myst_nb",  # Markdown pages, and notebooks as Markdown, which it runs
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",  # Google docstrings
    "generated_pages",  # commands and config keys, from the code
    "strict_pages",  # what must not pass silently
]
exclude_patterns = ["_build", "_templates", "reference/generated/*.inc.md"]
templates_path = ["_templates"]
# Broken references are warnings, and `make docs` turns warnings into errors.
nitpicky = True
# Pieces of a type that Sphinx cuts at a comma, and those of the checks of values in requests, which pydantic writes.
_PYDANTIC = (
    "PydanticUndefined|_PydanticGeneralMetadata|FieldInfo|NoneType|types.Annotated|t.Any|RootModelRootType|AllowInfNan|"
    r"Le|Ge|MinLen|MaxLen|[\d.]+"
)
nitpick_ignore_regex = [("py:class", r"[\w.]+\[.*"), ("py:class", _PYDANTIC)]
# Imported for types alone, so that its module isn't there when the site is built.
nitpick_ignore = [("py:class", "DatasetEvaluator")]

# --- Notebooks ------------------------------------------------------------------------------------------------------
nb_execution_mode = "cache"
nb_execution_cache_path = str(DOCS / "_build" / "notebooks")
nb_execution_timeout = 240
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "text/html", 0)]  # the still page of a widget, which needs a kernel
nb_ipywidgets_js = {}  # would come from a server of someone else's

# --- Markdown -------------------------------------------------------------------------------------------------------
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 4
suppress_warnings = ["config.cache"]  # the functions of the extensions are not pickled, and need not be

# --- Python reference -----------------------------------------------------------------------------------------------
autosummary_generate = True
autosummary_ignore_module_all = True
autodoc_default_options = {"members": True, "undoc-members": True, "show-inheritance": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

# --- HTML -----------------------------------------------------------------------------------------------------------
html_theme = "furo"
html_title = f"odam_d2 {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
