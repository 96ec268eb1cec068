"""What importing a module, or running some code, brings into memory."""

import json
import subprocess
import sys

HEAVY = ["pymc", "pytensor", "arviz", "nutpie", "numba", "matplotlib", "jinja2", "typer", "rich"]


def loaded_by(code):
    """Modules in memory after some code has run in a fresh interpreter."""
    code += "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))
