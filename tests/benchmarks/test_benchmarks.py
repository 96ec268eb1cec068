"""What a user waits for, and the memory it takes: `make bench` prints the table. No time is asserted."""

import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import bayescascade as bc
from bayescascade.inference.sampling import convergence
from bayescascade.model.copulas.family import FAMILIES

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


def refit(benchmark, log, rounds=3, **options):
    """Time fits after a first one that compiles, and note that one's time and how well the last one sampled."""
    options = {"draws": 500, "chains": 4, "random_seed": 2, "progressbar": False} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)  # R-hat is in the table
        start = time.perf_counter()
        bc.fit(log, **options)
        benchmark.extra_info["first fit, s"] = round(time.perf_counter() - start, 2)
        found = convergence(benchmark.pedantic(bc.fit, (log,), options, rounds=rounds))
    kept = ("rhat", "ess_bulk", "divergences")
    benchmark.extra_info.update({name: round(float(found[name]), 3) for name in kept})


def test_refit_five_stages(benchmark, log):
    """Wanted: 6 s for 285 queries, 4 chains of 500 draws."""
    refit(benchmark, log, rounds=5)


@pytest.mark.parametrize("n_queries", [100, 300, 1_000, 3_000, 10_000])
def test_refit_by_queries(benchmark, n_queries):
    refit(benchmark, five_stages(n_queries, 3), rounds=3 if n_queries < 3_000 else 1)


@pytest.mark.parametrize("n_stages", [2, 3, 4, 5, 6, 8, 10, 12])
def test_refit_by_stages(benchmark, n_stages):
    refit(benchmark, bc.simulate(285, n_stages=n_stages, random_seed=4), rounds=2)


@pytest.mark.parametrize("copula", [*FAMILIES, "mixed"])
def test_refit_by_family(benchmark, log, copula):
    refit(benchmark, log, copula=["gumbel", "frank", "clayton", "joe"] if copula == "mixed" else copula)


@pytest.mark.parametrize("margin", ["polya_tree", "bernstein"])
def test_refit_by_margin(benchmark, log, margin):
    refit(benchmark, log, margin=margin)


@pytest.mark.parametrize("calibration", ["logistic", "monotone"])
def test_refit_by_calibration(benchmark, log, calibration):
    refit(benchmark, log, calibration=calibration)


def test_update_with_five_queries(benchmark, fit):
    new = five_stages(5, 9).assign_coords(query=10_000 + np.arange(5))
    found = benchmark.pedantic(bc.fit, (new,), {"previous": fit, "random_seed": 2}, rounds=5)
    benchmark.extra_info.update({name: found.attrs[name] for name in ("update", "update_k")})


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


def test_tune_max_error_without_doubt(benchmark, fit):
    benchmark.pedantic(bc.tune, (fit,), {"max_error": 0.3, "prob": 0.9, "doubt": 0.0}, rounds=5)


def test_compare_everyone(benchmark, log):
    """All methods that need no prompts, five stages, a test log of 1,500 queries; the first fit compiles."""
    test = five_stages(1500, 2)
    benchmark.pedantic(bc.compare, (log, test), {"progressbar": False}, rounds=1)


def test_check(benchmark, fit):
    benchmark.pedantic(bc.check, (fit,), rounds=2)


FRESH = """
import bayescascade as bc
log = bc.simulate(285, n_stages=5, tau=[0.3, 0.45, 0.45, 0.55], top_atom=[0, 0, 0, 0.05, 0.2], random_seed=1)
fit = bc.fit(log, difficulty=False, random_seed=1, progressbar=False)
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
    kind = "logprob" if name.startswith(("mmlu", "medmcqa")) else "p_true"
    log = bc.read_log(DATA / f"{name}.train.parquet", confidence_kind=kind, cost="answer_cost")
    fit = benchmark.pedantic(bc.fit, (log,), {"random_seed": 1, "progressbar": False}, rounds=1)
    found = convergence(fit)
    benchmark.extra_info.update({k: found[k] for k in ("rhat", "divergences")})
    assert found["divergences"] == 0
    assert np.round(found["rhat"], 2) <= 1.01
