"""Sphinx configuration: `make docs` builds with warnings as errors and without any network."""

import os
import shutil
import sys
from importlib.metadata import version as installed
from pathlib import Path

_here = Path(__file__).parent
sys.path.insert(0, str(_here / "_ext"))

import command_line  # noqa: E402

project = "bayescascade"
author = "bayescascade developers"
copyright = "2026, bayescascade developers"
version = release = installed("bayescascade")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "offline_math",
]
# Links to other projects' pages need their inventories from the network, so they are made only when asked for.
if os.environ.get("DOCS_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "xarray": ("https://docs.xarray.dev/en/stable", None),
        "arviz": ("https://python.arviz.org/en/stable", None),
    }
exclude_patterns = ["**.ipynb_checkpoints", "_ext", "_templates"]
templates_path = ["_templates"]

html_theme = "furo"
html_title = "bayescascade"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["../llms.txt"]
# MathML, drawn by the browser
html_math_renderer = "mathml"
# prompts and printed results are not copied
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Sphinx reads only what lies below docs/, and notebooks live at the top of the repository. A fresh copy each
# time, so that a notebook that was renamed does not linger.
shutil.rmtree(_here / "notebooks", ignore_errors=True)
(_here / "notebooks").mkdir()
for _notebook in sorted((_here.parent / "notebooks").glob("*.ipynb")):
    shutil.copy2(_notebook, _here / "notebooks")
# the pages of functions are written from docstrings, and that of the commands from the commands
shutil.rmtree(_here / "reference" / "python", ignore_errors=True)
command_line.pages(_here / "reference")

# notebooks are shown with their committed outputs; `make notebooks` is what executes them
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

# docstrings put names in single backticks, as NumPy's do
default_role = "code"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = True
autosummary_generate_overwrite = True
# what the pictures show, which is their caption and their alternative text
autosummary_context = {
    "pictures": {
        "plot_comparison": "Difference in area to the first method, with its 95% interval, one row a method.",
        "plot_flow": "One bar a stage: the share of all queries that it answers.",
        "plot_frontier": "Error against cost: the frontier with its 90% band, single stages, the chosen point.",
        "plot_label_value": "What more labels are worth in money, up to what knowing everything is worth.",
        "plot_links": "One panel a pair of neighbouring stages: ranks of their confidences, and the copula.",
        "plot_margins": "One panel a stage: the fitted distribution of its confidences against the log.",
        "plot_promise": "The probability of keeping a limit on the error, as a curve over the limit.",
        "plot_reliability": "One panel a stage: the probability of being right against the confidence.",
        "plot_signal_quality": "AUROC and AUARC of each confidence and stage, with their intervals.",
        "plot_thresholds": "The threshold of each stage along the frontier, with 90% bands.",
    }
}
napoleon_google_docstring = False
napoleon_use_rtype = False
# as fields of their class: an attribute with the name of a dim would be a target of every mention of the dim
napoleon_use_ivar = True
