"""Build the sdist and the wheel, and try them in clean environments of each Python that the package names.

`make release` runs it; `make release-light`, which CI runs, tries the plain install alone, which brings NumPy and
nothing else. An interpreter that this machine lacks is named as skipped, never passed over in silence.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIGHTLY = "--light" in sys.argv[1:]
OUT = ROOT / "build" / ("release-light" if LIGHTLY else "release")
# of packages that others install, so that nothing of this checkout is in the way
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
LIGHT = """
import importlib.metadata, importlib.resources, sys
import bayescascade as bc
assert "site-packages" in bc.__file__, bc.__file__
assert importlib.resources.files(bc).joinpath("py.typed").is_file()
assert importlib.metadata.version("bayescascade") == bc.__version__
there = {found.metadata["Name"].lower() for found in importlib.metadata.distributions()}
assert there <= {"bayescascade", "numpy", "pip", "setuptools"}, there
policy = bc.Policy(["small", "large"], [0.8, float("-inf")], "probability")
policy.save("policy.json")
assert bc.Policy.load("policy.json").decide("small", 0.9) == "accept"
assert policy.decide("small", 0.7) == "defer"
try:
    bc.fit
except ImportError as error:
    assert "bayescascade[fit]" in str(error), error
else:
    raise AssertionError("fit came without its packages")
"""
FULL = """
import bayescascade as bc
assert "site-packages" in bc.__file__, bc.__file__
for name in bc.__all__:
    getattr(bc, name)
policy = bc.Policy(["small", "medium", "large"], [0.8, 0.8, float("-inf")], "probability")
scored = bc.score(bc.load_example(), policy)
assert 0.0 < float(scored["error"]) < 1.0
"""


def main() -> None:
    """Build, then try both on every version, or the plain wheel alone; the demo runs on the first."""
    shutil.rmtree(OUT, ignore_errors=True)
    run(sys.executable, "-m", "build", "--installer", "pip", "--outdir", OUT / "dist", ROOT)
    (wheel,), (sdist,) = OUT.glob("dist/*.whl"), OUT.glob("dist/*.tar.gz")
    tried, skipped = [], []
    for version in versions():
        interpreter = find(version)
        if interpreter is None:
            skipped.append(version)
            continue
        start = time.monotonic()
        installs = [(str(wheel), LIGHT)] if LIGHTLY else [(str(sdist), LIGHT), (f"{wheel}[fit]", FULL)]
        smoke(version, interpreter, installs, demo=not tried and not LIGHTLY)
        tried.append(version)
        what = "the plain wheel installs and runs" if LIGHTLY else "sdist and wheel install and run"
        print(f"Python {version}: {what} ({time.monotonic() - start:.0f} s)", flush=True)
    for version in skipped:
        print(f"Python {version}: SKIPPED, this machine has no such interpreter with the venv module")
    if not tried:
        sys.exit("No version was tried.")


def versions() -> list[str]:
    """Those that the package's classifiers name."""
    specs = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = (text.rpartition(" :: ")[2] for text in specs["project"]["classifiers"] if "Python :: 3." in text)
    return sorted(named, key=lambda version: int(version.partition(".")[2]))


def find(version: str) -> str | None:
    """An interpreter of this version; asked by running it, since a shim on the path may not work."""
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    pyenv = [path / "bin" / "python3" for path in sorted(home.glob(f"versions/{version}.*"))]
    ask = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for candidate in (f"python{version}", sys.executable, *map(str, pyenv)):
        if shutil.which(candidate):
            said = subprocess.run([candidate, "-c", ask], capture_output=True, text=True, env=ENVIRONMENT)
            if said.stdout.strip() == version:
                return candidate
    return None


def smoke(version: str, interpreter: str, installs: list[tuple[str, str]], demo: bool) -> None:
    """Install in a clean environment, one after the other, and run what has to run then."""
    folder = OUT / version
    python = folder / "venv" / "bin" / "python"
    run(interpreter, "-m", "venv", folder / "venv")
    for package, code in installs:
        install = (python, "-m", "pip", "--disable-pip-version-check", "install", "-qq", "--force-reinstall")
        run(*install, "-c", ROOT / "constraints.txt", package)
        run(python, "-m", "pip", "--disable-pip-version-check", "check")
        run(python, "-c", code, cwd=folder)
    command = folder / "venv" / "bin" / "bayescascade"
    if not LIGHTLY:
        run(command, "--version", cwd=folder)
    if demo:
        run(command, "demo", "--output", folder / "demo", cwd=folder)
        missing = {"fit.nc", "log.csv", "policy.json", "report.html"} - {
            p.name for p in (folder / "demo").iterdir()
        }
        if missing:
            sys.exit(f"The demo did not write {', '.join(sorted(missing))}.")
    shutil.rmtree(folder)  # most of a gigabyte


def run(*command: object, cwd: Path = ROOT) -> None:
    """Run a command; where it fails, show what it printed and leave."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))[:300]}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
