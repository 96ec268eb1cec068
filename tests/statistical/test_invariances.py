"""What must not change an answer: order, names, units, machines; and what a fit does where it may change.

Fits here have the default structure, which other tests compile anyway. Where only rounding differs, NUTS may take
another path, so draws are compared by what they say: means, in units of their Monte Carlo error.
"""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import arviz as az
import numpy as np
import pytest
import xarray as xr
from helpers.fits import stored_fit

import bayescascade as bc
from bayescascade.signals.kinds import to_signal

pytestmark = [pytest.mark.slow, pytest.mark.long]

ROOT = Path(__file__).parents[2]
HOW = {"draws": 250, "tune": 200, "chains": 2, "random_seed": 1, "progressbar": False}
NAMES = ["tau", "intercept", "slope", "cost"]
GOAL = {"max_error": 0.3, "prob": 0.8}


@pytest.fixture(scope="module")
def log():
    return bc.load_example().isel(query=slice(150))


@pytest.fixture(scope="module")
def base(log):
    return fitted(log)


@pytest.fixture(scope="module")
def scores(log):
    """The log with its confidences as scores, whose scale is the raw one."""
    signal = to_signal(log["confidence"].values, "probability")
    return log.assign(confidence=(log["confidence"].dims, signal)).assign_attrs(confidence_kind="score")


@pytest.fixture(scope="module")
def scored(scores):
    return fitted(scores)


def fitted(log, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)  # so few draws do not satisfy R-hat
        return stored_fit(log, **HOW | {"difficulty": False} | options)


def apart(one, other, name):
    """The largest distance of two posterior means, in units of the Monte Carlo error of their difference."""
    values = [fit["posterior"][name] for fit in (one, other)]
    mcse = np.hypot(*(az.mcse(value.to_dataset())[name].values for value in values))
    gap = np.abs(values[0].mean(("chain", "draw")).values - values[1].mean(("chain", "draw")).values)
    return float(np.max(gap / np.maximum(mcse, 1e-12)))


def same_draws(one, other, names=NAMES, factor=None):
    for name in names:
        expected = one["posterior"][name].values * (factor or {}).get(name, 1.0)
        np.testing.assert_allclose(other["posterior"][name].values, expected, rtol=1e-9, err_msg=name)


def same_posterior(one, other, names=NAMES):
    far = {name: apart(one, other, name) for name in names}
    assert max(far.values()) < 4.5, far  # of some ten means


def log_density(log):
    model = bc.build_model(log, difficulty=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(model.compile_logp()(model.initial_point(random_seed=1)))


# ---- the log


def test_order_of_rows(log, base):
    shuffled = log.isel(query=np.random.default_rng(1).permutation(log.sizes["query"]))
    assert log_density(shuffled) == pytest.approx(log_density(log), rel=1e-12)
    same_posterior(base, fitted(shuffled))


def test_names_of_stages(log, base):
    names = ["zeta", "Ålesund", "a b,c"]  # in no order
    renamed = fitted(log.assign_coords(stage=names))
    same_draws(base, renamed)
    one, other = bc.tune(base, **GOAL), bc.tune(renamed, **GOAL)
    assert one.thresholds.values.tolist() == other.thresholds.values.tolist()
    assert other.thresholds["stage"].values.tolist() == names


@pytest.mark.parametrize("factor", [1024.0, 1e-3 / 3.0])
def test_cost_times_a_constant(log, base, factor):
    dearer = fitted(log.assign(cost=log["cost"] * factor))
    exact = factor == 1024.0  # only then does nothing round
    if exact:
        same_draws(base, dearer, factor={"cost": factor})
    else:
        same_posterior(base, dearer, ["tau", "intercept", "slope"])
        cost = dearer["posterior"]["cost"] / factor
        np.testing.assert_allclose(cost.mean(), base["posterior"]["cost"].mean(), rtol=0.02)
    one = bc.tune(base, error_price=0.01)
    other = bc.tune(bc.reprice(base, factor=factor), error_price=0.01 * factor)  # the same draws
    assert one.thresholds.values.tolist() == other.thresholds.values.tolist()


def test_a_log_twice_is_narrower_in_the_same_place(log, base):
    again = log.assign_coords(query=[f"again {name}" for name in log["query"].values])
    one = log.assign_coords(query=[str(name) for name in log["query"].values])
    twice = fitted(xr.concat([one, again], "query"))
    for name in ("tau", "intercept", "cost"):
        first, second = (fit["posterior"][name] for fit in (base, twice))
        sds = [draws.std(("chain", "draw")) for draws in (first, second)]
        ratio = float((sds[1] / sds[0]).mean())
        assert 0.55 < ratio < 0.95, (name, ratio)  # 0.71, less where the prior counts, and by the noise of an sd
        moved = np.abs(second.mean(("chain", "draw")) - first.mean(("chain", "draw"))) / sds[0]
        assert float(moved.max()) < 1.0, (name, moved.values)


# ---- a scale of confidences


def test_another_unit_of_scores(scores, scored):
    """A score times 2**3 plus 0 is the same score; thresholds move with it."""
    other = fitted(scores.assign(confidence=scores["confidence"] * 8.0))
    same_draws(scored, other, ["tau", "cost"])
    thresholds = [bc.tune(fit, **GOAL).thresholds.values for fit in (scored, other)]
    np.testing.assert_allclose(thresholds[1], thresholds[0] * 8.0, rtol=1e-9)


def test_a_monotone_transform_of_scores(scores, scored):
    """Margins and links go by ranks, so they stay; P(correct) is a curve of the score, which bends with it."""
    bent = fitted(scores.assign(confidence=np.sinh(scores["confidence"])))
    same_posterior(scored, bent, ["tau", "cost"])
    outcomes = [bc.evaluate(fit, bc.tune(fit, **GOAL).thresholds)["error"].mean() for fit in (scored, bent)]
    assert abs(float(outcomes[0] - outcomes[1])) < 0.05


# ---- machines

SAMPLE = """
import hashlib, json, sys, warnings
warnings.simplefilter("ignore")
import bayescascade as bc
log = bc.load_example().isel(query=slice(150))
fit = bc.fit(log, difficulty=False, draws=50, tune=100, chains=2, random_seed=7, progressbar=False)
names = ["tau", "intercept", "slope", "cost", "margin_split"]
values = b"".join(fit["posterior"][name].values.tobytes() for name in names)
tau = fit["posterior"]["tau"].mean(("chain", "draw"))
print(json.dumps([hashlib.sha256(values).hexdigest(), tau.values.tolist()]))
"""
DECIDE = """
import json, sys, warnings
warnings.simplefilter("ignore")
import bayescascade as bc
fit = bc.load_fit(sys.argv[1])
solution = bc.tune(fit, max_error=0.3, prob=0.8)
means = [float(solution.error.mean()), float(solution.cost.mean())]
played = bc.score(bc.load_example(), solution)
print(json.dumps([solution.thresholds.values.tolist()[:-1] + means, played["answered"].values.tolist()]))
"""


def in_a_process(code, *arguments, one_core=False, **environment):
    """What some code prints in a fresh interpreter, on one core if wanted, or with another kernel of OpenBLAS."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    core = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    if one_core and core is None:
        pytest.skip("a process cannot be kept to one core here")
    pin = f"import os; os.sched_setaffinity(0, {{{core}}})\n" if one_core else ""
    command = [sys.executable, "-c", pin + code, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def drawn():
    return in_a_process(SAMPLE)


def test_a_seed_gives_the_same_draws_in_another_process(drawn):
    assert in_a_process(SAMPLE) == drawn


def test_a_seed_gives_the_same_draws_on_one_core(drawn):
    assert in_a_process(SAMPLE, one_core=True) == drawn


def kernels():
    """Kernels of OpenBLAS that this processor runs, from the plainest on."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("flags", 1)[1].split("\n", 1)[0].split()
    except (OSError, IndexError):
        return []
    needs = {"Nehalem": "sse4_2", "Haswell": "avx2", "Zen": "avx2", "SkylakeX": "avx512f"}
    return [name for name, flag in needs.items() if flag in flags]


@pytest.fixture(scope="module")
def saved(base, tmp_path_factory):
    path = tmp_path_factory.mktemp("kernels") / "fit.nc"
    bc.save_fit(base, path)
    return path


@pytest.mark.parametrize("kernel", kernels())
def test_decisions_do_not_hang_on_the_kernel(kernel, saved, base):
    solution = bc.tune(base, **GOAL)
    expected = [*solution.thresholds.values[:-1], float(solution.error.mean()), float(solution.cost.mean())]
    numbers, answered = in_a_process(DECIDE, saved, OPENBLAS_CORETYPE=kernel)
    np.testing.assert_allclose(numbers, expected, rtol=1e-9)  # their last bits may differ
    played = bc.score(bc.load_example(), solution)
    assert answered == played["answered"].values.tolist()


def test_another_kernel_samples_the_same_posterior(drawn):
    plain = next(iter(kernels()), None)
    if plain is None:
        pytest.skip("no other kernel of OpenBLAS is known for this processor")
    _, tau = in_a_process(SAMPLE, OPENBLAS_CORETYPE=plain)
    np.testing.assert_allclose(tau, drawn[1], atol=0.1)  # some draws: sd 0.05, so 5 errors of 100 of them
