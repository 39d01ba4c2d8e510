"""Configuration of the documentation's build."""

from __future__ import annotations

from importlib.metadata import version as version_of

project = "pytest-hermetic"
author = "The pytest-hermetic contributors"
project_copyright = f"2026, {author}"
version = release = version_of(project)

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]
default_role = "code"  # docstrings mark code with one backquote
smartquotes = False
nitpick_ignore_regex = [
    # The build fetches no inventories: it has to work without a network.
    ("py:.*", r"(bool|float|int|str|None|(collections|pytest|typing)\..*)"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "none"
copybutton_exclude = ".linenos, .gp, .go"
myst_heading_anchors = 3

html_theme = "furo"
html_title = project
