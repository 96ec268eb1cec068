"""What importing a module, or running some code, brings into memory."""

import json
import subprocess
import sys
from importlib.util import find_spec

HEAVY = ["pymc", "pytensor", "arviz", "nutpie", "numba", "matplotlib", "typer", "rich"]
# where Dask is installed xarray loads it, and it loads Jinja
HEAVY += [] if find_spec("dask") else ["jinja2"]


def loaded_by(code):
    """Modules in memory after some code has run in a fresh interpreter."""
    code += "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))
