"""Sphinx settings: ``sphinx-build -W docs build/docs``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import cxtrace

project = "cxtrace"
author = "The cxtrace developers"
copyright = author
release = cxtrace.__version__
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "cx_reference",
]
exclude_patterns = ["_build", "_ext", "_run_page.py"]
language = "en_GB"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_theme_options = {"top_of_page_buttons": []}
html_title = "cxtrace"
html_static_path = ["_static"]
html_css_files = ["cx.css"]
html_show_sphinx = False
html_show_copyright = False
copybutton_prompt_text = "$ "
pygments_style = "friendly"
