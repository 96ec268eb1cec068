"""What a user waits for, and the memory it takes: `make bench` prints the table. No time is asserted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bayescascade as bc

pytestmark = pytest.mark.benchmark

DATA = Path(__file__).parents[3] / "shared" / "data"
REAL = sorted(p.name.removesuffix(".train.parquet") for p in DATA.glob("*.train.parquet"))


def five_stages(n_queries, seed):
    return bc.simulate(
        n_queries, n_stages=5, tau=[0.3, 0.45, 0.45, 0.55], top_atom=[0, 0, 0, 0.05, 0.2], random_seed=seed
    )


@pytest.fixture(scope="module")
def log():
    return five_stages(285, 1)


@pytest.fixture(scope="module")
def fit(log):
    return bc.fit(log, random_seed=1, progressbar=False)


def test_fit_again(benchmark, fit, log):
    benchmark.pedantic(bc.fit, (log,), {"random_seed": 2, "progressbar": False}, rounds=3)


def test_fit_again_other_length(benchmark, fit):
    other = five_stages(411, 3)
    benchmark.pedantic(bc.fit, (other,), {"random_seed": 2, "progressbar": False}, rounds=3)


def test_frontier(benchmark, fit):
    benchmark.pedantic(bc.frontier, (fit,), {"n_points": 50, "ci_prob": 0.9}, rounds=5)


def test_tune_max_error(benchmark, fit):
    benchmark.pedantic(bc.tune, (fit,), {"max_error": 0.3, "prob": 0.9}, rounds=5)


def test_tune_max_cost(benchmark, fit):
    benchmark.pedantic(bc.tune, (fit,), {"max_cost": 0.01, "prob": 0.9}, rounds=5)


def test_check(benchmark, fit):
    benchmark.pedantic(bc.check, (fit,), rounds=2)


FRESH = """
import bayescascade as bc
log = bc.simulate(285, n_stages=5, tau=[0.3, 0.45, 0.45, 0.55], top_atom=[0, 0, 0, 0.05, 0.2], random_seed=1)
fit = bc.fit(log, random_seed=1, progressbar=False)
"""

MAIN_JOB = (
    FRESH
    + """
import json, resource, tempfile, pathlib
solution = bc.tune(fit, max_error=0.35, prob=0.9)
bc.score(log, solution.thresholds)
folder = pathlib.Path(tempfile.mkdtemp())
bc.save_fit(fit, folder / "fit.nc")
bc.report(bc.load_fit(folder / "fit.nc"), folder / "report.html", solution=solution, log=log)
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6))
"""
)


def run(code, cache):
    flags = {"PYTENSOR_FLAGS": f"base_compiledir={cache}"} if cache else {}
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={**os.environ, **flags}
    ).stdout


def test_fit_fresh_process_empty_cache(benchmark, tmp_path):
    benchmark.pedantic(run, (FRESH, tmp_path / "cache"), rounds=1)


def test_fit_fresh_process_filled_cache(benchmark, fit):
    benchmark.pedantic(run, (FRESH, None), rounds=2)


def test_import(benchmark):
    code = (
        "import numpy, xarray, time; t = time.perf_counter(); import bayescascade; print(time.perf_counter() - t)"
    )
    benchmark.pedantic(run, ("import numpy, xarray, bayescascade", None), rounds=3)
    benchmark.extra_info["beyond numpy and xarray, s"] = round(float(run(code, None)), 4)


def test_peak_memory_of_the_main_job(benchmark):
    gigabytes = benchmark.pedantic(lambda: float(json.loads(run(MAIN_JOB, None))), rounds=1)
    benchmark.extra_info["peak GB"] = round(gigabytes, 3)
    assert gigabytes < 1.5


@pytest.mark.parametrize("name", REAL or ["none"])
def test_convergence_on_real_logs(benchmark, name):
    if name == "none":
        pytest.skip("the real logs of ../shared/data are not on this machine")
    from bayescascade.inference import convergence

    kind = "logprob" if name.startswith(("mmlu", "medmcqa")) else "p_true"
    log = bc.read_log(DATA / f"{name}.train.parquet", confidence_kind=kind, cost="answer_cost")
    fit = benchmark.pedantic(bc.fit, (log,), {"random_seed": 1, "progressbar": False}, rounds=1)
    found = convergence(fit)
    benchmark.extra_info.update({k: found[k] for k in ("rhat", "divergences")})
    assert found["divergences"] == 0
    assert np.round(found["rhat"], 2) <= 1.01
