"""Where the time of a fit goes, part by part: in a new process with nothing compiled, with what is kept, and again.

Run from the project's root: ``python -m studies.fit_time.run``. Writes ``docs/evidence/fit_time.md``. The log is simulated. Each case
runs in a process of its own, with a folder of compiled code of its own. Seconds are of the processor, so that other work on
the machine counts little.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

from studies.common.command import ROOT, parse

# what each part is: functions, by the modules that call them; time of a part within another one is not the other's
PARTS = {
    "lay out the log": ["inference.fit:build_design"],
    "build the model, rewrite, compile or load": ["inference.sampling:compiled_with"],
    "sample": ["inference.sampling:sample"],
    "margins": ["inference.sampling:draw_margins"],
    "pointwise log-likelihood": ["inference.sampling:log_likelihood_of"],
    "posterior predictive and predictions": [
        "inference.predictive:posterior_predictive",
        "inference.predictive:predictions",
    ],
    "draws from the prior": ["inference.predictive:prior"],
    "convergence": ["inference.fit:warn_unconverged"],
}
WAYS = {
    "nothing compiled": (),
    "PyTensor's cache": ("numba",),
}
AGAIN = "again, same process"


def child(options: dict[str, Any]) -> None:
    """Fit, check, save, open and tune in this process, twice; print seconds by part as JSON."""
    spent: dict[str, float] = {}
    within = [0.0]

    def timed(part: str, function: Any) -> Any:
        @wraps(function)
        def run(*args: Any, **more: Any) -> Any:
            start = time.process_time()
            within.append(0.0)
            try:
                return function(*args, **more)
            finally:
                took = time.process_time() - start
                spent[part] = spent.get(part, 0.0) + took - within.pop()
                within[-1] += took

        return run

    start = time.process_time()
    import warnings

    import nutpie  # noqa: F401  # what a fit loads, so that it is counted here
    import pymc  # noqa: F401

    import bayescascade as bc

    for part, places in PARTS.items():
        for place in places:
            module, name = place.split(":")
            found = import_module(f"bayescascade.{module}")
            setattr(found, name, timed(part, getattr(found, name)))
    importing = time.process_time() - start
    warnings.simplefilter("ignore")
    log = bc.simulate(300, n_stages=3, top_atom=0.2, loading=0.5, discrimination=0.7, random_seed=1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fit.nc"
        for first in (True, False):
            spent.clear()
            if first:
                spent["import"] = importing
            start = time.process_time()
            fit = bc.fit(log, random_seed=1, progressbar=False, **options)
            known = sum(spent[part] for part in PARTS)
            spent["the rest of the fit"] = time.process_time() - start - known
            timed("checks", bc.check)(fit)
            timed("save", bc.save_fit)(fit, path)
            opened = timed("open", bc.load_fit)(path)
            timed("tune", bc.tune)(opened, max_error=0.3)
            print(json.dumps(spent), flush=True)


def measure(place: Path, options: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Seconds by part of each case."""
    found: dict[str, dict[str, float]] = {}
    for way, kept in WAYS.items():
        for folder in place.iterdir():  # what an earlier case has compiled, but for what this one keeps
            if folder.name not in kept:
                shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
        command = [sys.executable, "-m", "studies.fit_time.run", "--child", json.dumps(options)]
        flags = {"PYTENSOR_FLAGS": f"base_compiledir={place}", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | flags, capture_output=True, text=True, check=True
        )
        print(way, done.stdout, flush=True)
        found[way], again = map(json.loads, done.stdout.splitlines()[-2:])
    return found | {AGAIN: again}


def page(found: dict[str, dict[str, float]]) -> str:
    parts = ["import", *PARTS, "the rest of the fit", "checks", "save", "open", "tune"]
    rows = [
        f"| {part} | {' | '.join(f'{case.get(part, 0.0):.2f}' for case in found.values())} |" for part in parts
    ]
    rows.append(f"| all | {' | '.join(f'{sum(case.values()):.1f}' for case in found.values())} |")
    return f"""# Where the time of a fit goes

`python -m studies.fit_time.run`: 300 labelled queries of three stages, simulated, with the default model and 4 x 1000 draws. Processor seconds of each part, in a
process that is new: with nothing compiled before, and with what PyTensor keeps of earlier processes. The last column is a second fit in the same process.

| part | {" | ".join(found)} |
|{"---|" * (1 + len(found))}
{chr(10).join(rows)}

PyTensor keeps single operations. The two functions around them, which the sampler calls, it compiles in each process anew. Code is written for each variable that
a model shares with its data, too: with forty arrays that took as long as the rest, so a compiled model has them in two vectors. Keeping the machine code on disk was tried:
a new process loaded it in 1 s of a processor. Numba writes such code as a pickle, and nothing here reads pickles, so it is left.

Opening a fit and tuning it loads neither PyMC nor PyTensor, which a test holds.
"""


def main(argv: Sequence[str] | None = None) -> None:
    asked = list(sys.argv[1:] if argv is None else argv)
    if asked[:1] == ["--child"]:
        child(json.loads(asked[1]))
        return
    run = parse("fit_time", __doc__, asked)
    options = {"draws": 20, "tune": 20, "difficulty": False} if run.quick else {}
    with tempfile.TemporaryDirectory() as folder:
        run.write(page(measure(Path(folder), options)))


if __name__ == "__main__":
    main()
