"""Sphinx configuration: `make docs` builds with warnings as errors and without any network."""

import shutil
from importlib.metadata import version as installed
from pathlib import Path

project = "bayescascade"
author = "bayescascade developers"
copyright = "2026, bayescascade developers"
version = release = installed("bayescascade")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["**.ipynb_checkpoints"]

html_theme = "furo"
html_title = "bayescascade"

# Sphinx reads only what lies below docs/, and notebooks live at the top of the repository. A fresh copy each
# time, so that a notebook that was renamed does not linger.
_here = Path(__file__).parent
shutil.rmtree(_here / "notebooks", ignore_errors=True)
(_here / "notebooks").mkdir()
for _notebook in sorted((_here.parent / "notebooks").glob("*.ipynb")):
    shutil.copy2(_notebook, _here / "notebooks")

# notebooks are shown with their committed outputs; `make notebooks` is what executes them
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

# docstrings put names in single backticks, as NumPy's do
default_role = "code"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
# as fields of their class: an attribute with the name of a dim would be a target of every mention of the dim
napoleon_use_ivar = True
