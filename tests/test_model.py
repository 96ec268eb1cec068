"""The PyMC model: its likelihood against plain loops, its gradients, its dims, and logs with holes in them."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from hand_made import make_signals

from bayescascade import build_model, load_example, simulate
from bayescascade.copulas import NUMPY, get_family
from bayescascade.design import build_design
from bayescascade.errors import CascadeError
from bayescascade.inference import pointwise
from bayescascade.margins import log_leaf_weights
from bayescascade.model import signal_logp
from bayescascade.signals import to_confidence, to_signal

# the interpreter: it shows the same numbers, and compiling with numba would take half a minute
MODE = {"mode": "FAST_COMPILE"}
LOGS = ("no atoms", "top atom", "both atoms", "discrete", "partial", "one of each")


def make_log(pattern, n=60, seed=3):
    """A log of three stages; 'one of each' has a continuous, a mixed and a discrete stage."""
    rng = np.random.default_rng(seed)
    name = {"partial": "both atoms", "one of each": "no atoms"}.get(pattern, pattern)
    signal, kind = make_signals(3, name, n, rng)
    confidence = to_confidence(signal, kind)
    if pattern == "one of each":
        confidence[:, 1] = np.minimum(confidence[:, 1], 0.4)
        confidence[:, 2] = np.round(confidence[:, 2] / 2)
    correct = (rng.uniform(size=confidence.shape) < 0.6).astype(float)
    cost = rng.uniform(0.5, 1.5, confidence.shape) * [1.0, 4.0, 16.0]
    if pattern == "partial":
        for array in (confidence, correct, cost):
            array[10:30, 2] = np.nan
            array[20:30, 1] = np.nan
            array[30:33, 1] = np.nan  # a hole between two stages that were run
            array[40:42, 0] = np.nan
        correct[45:] = np.nan
    dims = ("query", "stage")
    return xr.Dataset(
        {"confidence": (dims, confidence), "correct": (dims, correct), "cost": (dims, cost)},
        coords={"query": np.arange(n), "stage": ["a", "b", "c"]},
        attrs={"confidence_kind": kind},
    )


def parameters(rng, n=()):
    return {
        "margin_split": rng.uniform(0.2, 0.8, (*n, 3, 7)),
        "tau": rng.uniform(0.1, 0.7, (*n, 2)),
        "intercept": rng.normal(0.5, 0.5, (*n, 3)),
        "log_slope": rng.normal(0.2, 0.3, (*n, 3)),
        "atom_offset": rng.normal(0, 0.5, (*n, 3, 2)),
    }


# --- the likelihood again, in plain loops, with nothing of the package but where the segments lie ---------------


def plain_leaf_weights(margin, split):
    weights = []
    for leaf in range(8):
        weight, node = 1.0, 0
        for level in (4, 2, 1):
            right = bool(leaf & level)
            if margin.split_used[node]:
                weight *= 1 - split[node] if right else split[node]
            node = 2 * node + 1 + right
        weights.append(weight if leaf in margin.leaf else 0.0)
    assert sum(weights) == pytest.approx(1.0)
    return weights


def plain_place(margin, split, x):
    """F just below x, F at x, log of the density or the mass at x, and whether x is an atom."""
    weight = plain_leaf_weights(margin, split)
    total = 0.0
    for low, high, leaf, count in zip(margin.low, margin.high, margin.leaf, margin.count, strict=True):
        mass = weight[leaf] * count / sum(margin.count[margin.leaf == leaf])
        if low == high == x:
            return total, total + mass, np.log(mass), True
        # a value on the edge of two intervals belongs to the upper one; one that is an atom was caught above
        if low <= x < high and x not in margin.low[margin.low == margin.high]:
            at = total + mass * (x - low) / (high - low)
            return at, at, np.log(mass / (high - low)), False
        total += mass
    raise AssertionError(f"{x} lies in no segment")


def plain_pair(before, here, tau):
    """Log of p(here | before) over p(here): from statsmodels' C and c, and pyvinecopulib's h-functions."""
    import pyvinecopulib as pv
    from statsmodels.distributions.copula.api import GumbelCopula

    copula = GumbelCopula(theta=1 / (1 - tau))
    vine = pv.Bicop(pv.families.gumbel, parameters=np.array([[1 / (1 - tau)]]))

    def c(u, v):
        if min(u, v) <= 0:
            return 0.0
        return min(u, v) if max(u, v) > 1 - 1e-12 else float(copula.cdf([u, v]))

    def h(u, v):  # P(U <= u | V = v)
        return 0.0 if u <= 0 else 1.0 if u > 1 - 1e-12 else float(vine.hfunc2(np.array([[u, v]]))[0])

    (u_low, u_high, u_mass, u_atom), (v_low, v_high, v_mass, v_atom) = before, here
    if u_atom and v_atom:
        mass = c(u_high, v_high) - c(u_low, v_high) - c(u_high, v_low) + c(u_low, v_low)
        return np.log(mass) - u_mass - v_mass
    if u_atom:
        return np.log(h(u_high, v_high) - h(u_low, v_high)) - u_mass
    if v_atom:
        return np.log(h(v_high, u_high) - h(v_low, u_high)) - v_mass
    return np.log(float(copula.pdf([u_high, v_high])))


def plain_loglik(log, margins, split, tau):
    """Log-likelihood of the signals of each query."""
    signal = to_signal(log["confidence"].values, log.attrs["confidence_kind"])
    out = np.zeros(len(signal))
    for i, row in enumerate(signal):
        for j, x in enumerate(row):
            if np.isnan(x):
                continue
            here = plain_place(margins[j], split[j], x)
            out[i] += here[2]
            if j > 0 and np.isfinite(row[j - 1]):
                out[i] += plain_pair(plain_place(margins[j - 1], split[j - 1], row[j - 1]), here, tau[j - 1])
    return out


def plain_labels(log, scalings, values):
    """Log-likelihood of the labels of each query."""
    signal = to_signal(log["confidence"].values, log.attrs["confidence_kind"])
    out = np.zeros(len(signal))
    for i, j in zip(*np.nonzero(np.isfinite(log["correct"].values)), strict=True):
        s, x = scalings[j], signal[i, j]
        z = min(max((x - s.centre) / s.scale, s.floor), s.ceiling)
        logit = values["intercept"][j] + np.exp(values["log_slope"][j]) * z
        logit += values["atom_offset"][j, 0] * (x == s.bottom) + values["atom_offset"][j, 1] * (x == s.top)
        chance = 1 / (1 + np.exp(-logit))
        out[i] += np.log(chance if log["correct"].values[i, j] == 1 else 1 - chance)
    return out


@pytest.mark.parametrize("pattern", LOGS)
def test_likelihood_is_that_of_plain_loops(pattern):
    log = make_log(pattern)
    design = build_design(log)
    values = parameters(np.random.default_rng(9))
    split, tau = values["margin_split"], values["tau"]
    weight = log_leaf_weights(split, design.margins)
    rows = signal_logp(weight, tau, design.arrays, get_family("gumbel"), NUMPY)
    per_query = np.bincount(design.row_query, rows, minlength=log.sizes["query"])
    np.testing.assert_allclose(per_query, plain_loglik(log, design.margins, split, tau), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("pattern", ["one of each", "partial"])
def test_pointwise_is_that_of_plain_loops(pattern):
    log = make_log(pattern)
    design = build_design(log)
    values = parameters(np.random.default_rng(9))
    out = pointwise(as_posterior(values, 1, 1), design, log, "gumbel").isel(chain=0, draw=0)
    expected = plain_loglik(log, design.margins, values["margin_split"], values["tau"])
    np.testing.assert_allclose(out["signal"], expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(out["correct"], plain_labels(log, design.scalings, values), atol=1e-9)


def as_posterior(values, chains, draws):
    dims = {"margin_split": ("stage", "split"), "tau": ("link",), "atom_offset": ("stage", "end")}
    values = values | {"slope": np.exp(values["log_slope"])}
    table = {}
    for name, x in values.items():
        own = dims.get(name, ("stage",))
        table[name] = (("chain", "draw", *own), x.reshape(chains, draws, *x.shape[-len(own) :]))
    return xr.Dataset(table, coords={"chain": np.arange(chains), "draw": np.arange(draws)})


# --- the PyMC model ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def partial_log():
    return make_log("partial")


@pytest.fixture(scope="module")
def model(partial_log):
    return build_model(partial_log)


def test_dims_and_coords(model, partial_log):
    assert model.coords["stage"] == ("a", "b", "c")
    assert model.coords["link"] == ("a > b", "b > c")
    assert model.coords["end"] == ("bottom", "top")
    dims = model.named_vars_to_dims
    assert {name: tuple(dims[name]) for name in ("tau", "margin_split", "intercept", "slope", "cost")} == {
        "tau": ("link",),
        "margin_split": ("stage", "split"),
        "intercept": ("stage",),
        "slope": ("stage",),
        "cost": ("stage",),
    }
    assert tuple(dims["atom_offset"]) == ("stage", "end")
    assert sorted(rv.name for rv in model.observed_RVs) == ["correct", "signal"]
    assert {rv.name for rv in model.free_RVs} == {
        *("margin_split", "tau", "intercept_mean", "intercept_sd", "log_slope_mean", "log_slope_sd"),
        *("intercept", "log_slope", "atom_offset", "cost_t"),
    }
    # every number of the log is data, so that one compiled model serves every log
    assert {v.name for v in model.data_vars} == set(build_design(partial_log).arrays)


def test_initial_point_is_finite_and_its_gradient_is_a_finite_difference(model):
    point = model.initial_point()
    logp, dlogp = model.compile_logp(**MODE), model.compile_dlogp(**MODE)
    start = pm.blocking.DictToArrayBijection.map(point)
    gradient = dlogp(point)
    assert np.isfinite(logp(point))
    assert np.isfinite(gradient).all()

    rng = np.random.default_rng(5)
    x = start.data + rng.normal(0, 0.3, len(start.data))

    def at(vector):
        return pm.blocking.DictToArrayBijection.rmap(pm.blocking.RaveledVars(vector, start.point_map_info))

    gradient = dlogp(at(x))
    for _ in range(12):
        direction = rng.normal(size=len(x))
        difference = (logp(at(x + 1e-5 * direction)) - logp(at(x - 1e-5 * direction))) / 2e-5
        assert gradient @ direction == pytest.approx(difference, rel=1e-5, abs=1e-4)


def test_log_likelihood_of_the_model_is_the_pointwise_one(model, partial_log):
    rng = np.random.default_rng(2)
    values = parameters(rng, (3,))
    design = build_design(partial_log)
    posterior = as_posterior(values, 1, 3)
    rest = {
        "intercept_mean": np.zeros((1, 3)),
        "intercept_sd": np.ones((1, 3)),
        "log_slope_mean": np.zeros((1, 3)),
        "log_slope_sd": np.ones((1, 3)),
        "cost_t": np.zeros((1, 3, 3)),
    }
    tree = xr.DataTree.from_dict(
        {"posterior": posterior.assign({k: (("chain", "draw", "x")[: v.ndim], v) for k, v in rest.items()})}
    )
    with model:
        pm.compute_log_likelihood(tree, progressbar=False, compile_kwargs=MODE)
    ours = pointwise(posterior, design, partial_log, "gumbel")
    for name, query in (("signal", design.row_query), ("correct", design.label_query)):
        rows = tree["log_likelihood"][name].values[0]
        per_query = np.stack([np.bincount(query, row, minlength=partial_log.sizes["query"]) for row in rows])
        np.testing.assert_allclose(ours[name].values[0], per_query, rtol=1e-9, atol=1e-10)


def test_signal_rows_cannot_be_drawn_one_by_one(model):
    with pytest.raises(NotImplementedError, match="cannot be drawn one by one"):
        pm.draw(model["signal"], **MODE)


# --- logs with holes ---------------------------------------------------------------------------------------------


def test_rows_are_what_was_run_and_links_are_where_both_were(partial_log):
    design = build_design(partial_log)
    confidence = partial_log["confidence"].values
    assert len(design.row_query) == np.isfinite(confidence).sum()
    both = np.isfinite(confidence[:, :-1]) & np.isfinite(confidence[:, 1:])
    linked = sum(design.arrays[name].shape[1] for name in ("both_free", "one_atom", "both_atoms"))
    assert linked == both.sum()
    assert len(design.arrays["row_unlinked"]) == len(design.row_query) - linked
    link = np.concatenate([design.arrays[name][2] for name in ("both_free", "one_atom", "both_atoms")])
    np.testing.assert_array_equal(np.bincount(link, minlength=2), both.sum(axis=0))


def test_unlabelled_rows_leave_the_labels_only(partial_log):
    design, correct = build_design(partial_log), partial_log["correct"].values
    assert len(design.label_query) == np.isfinite(correct).sum()
    np.testing.assert_array_equal(design.arrays["label_correct"].sum(), np.nansum(correct))
    filled = partial_log["correct"].fillna(1.0).where(np.isfinite(partial_log["confidence"]))
    labelled = build_design(partial_log.assign(correct=filled))
    for name in ("row_signal", "row_leaf", "row_place", "both_free", "one_atom", "both_atoms", "cost_known"):
        np.testing.assert_array_equal(design.arrays[name], labelled.arrays[name])


def test_a_row_that_is_not_run_leaves_the_others_alone():
    log = load_example()
    without = log.copy(deep=True)
    for name in ("confidence", "correct", "cost"):
        without[name][7, 2] = np.nan
    whole, partial = build_design(log), build_design(without)
    keep = (whole.row_query != 7) | (whole.row_stage != 2)
    assert len(partial.row_query) == len(whole.row_query) - 1
    np.testing.assert_array_equal(np.sort(whole.arrays["row_signal"][keep]), np.sort(partial.arrays["row_signal"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"copula": "clay"}, "copula='clay' is not a known family"),
        ({"margin": "beta"}, "margin='beta' is not known; choose one of 'polya_tree'"),
        ({"calibration": "isotonic"}, "calibration='isotonic' is not known; choose one of 'logistic'"),
    ],
)
def test_unknown_options_are_named(options, message):
    with pytest.raises(CascadeError, match=message):
        build_model(simulate(20, random_seed=1), **options)
