"""The PyMC model: its likelihood against plain loops, its gradients, its dims, and logs with holes in them."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from helpers.logs import LOGS, make_log
from helpers.reference_likelihood import plain_labels, plain_leaf_weights, plain_masses, plain_signals
from pytensor.compile.mode import get_mode

from bayescascade.errors import CascadeError
from bayescascade.inference.pointwise import label_rows, log_likelihood_of, signal_rows
from bayescascade.logs.example import load_example
from bayescascade.model.build import build_model
from bayescascade.model.copulas.family import get_family
from bayescascade.model.copulas.namespace import NUMPY
from bayescascade.model.design import build_design
from bayescascade.model.margins.models import get_margin_model
from bayescascade.model.options import check_options
from bayescascade.model.simulate import simulate

# the interpreter: it shows the same numbers, and compiling with numba would take half a minute
MODE = {"mode": "FAST_COMPILE"}
# PyTensor gathers sums into one, and its interpreter adds up 32 terms at most
GRADIENT_MODE = {"mode": get_mode("FAST_COMPILE").excluding("local_add_canonizer")}
# every family, rotation, margin and calibration is in one of them at least, and tasks in two
MODELS = {
    "defaults": {},
    "bernstein": {"copula": ("clayton_180", "frank"), "margin": "bernstein", "calibration": "monotone"},
    "independence": {"copula": ("joe", "independence")},
    "rotated": {"copula": ("gaussian", "gumbel_180"), "margin": "bernstein"},
    "tasks": {"copula": ("gumbel", "joe_180"), "tasks": True},
    "tasks, bernstein": {
        "copula": ("clayton", "gumbel"),
        "margin": "bernstein",
        "calibration": "monotone",
        "tasks": True,
    },
}


def design_of(log, **options):
    names = {"copula": "gumbel", "margin": "polya_tree", "calibration": "logistic"} | options
    return build_design(log, check_options(*names.values(), log.sizes["stage"] - 1))


def values_of(model, rng, n):
    """Values of a model's free variables, n draws of each, from ranges where nothing is lost to rounding."""
    ranges = {
        "margin_split": (0.2, 0.8),
        "tau_share": (0.35, 0.65),  # of -1 to 1, or of 0 to 1
    }
    out = {}
    for variable in model.free_RVs:
        name = variable.name
        dims = tuple(model.named_vars_to_dims.get(name, ()))
        shape = (1, n, *(len(model.coords[dim]) for dim in dims))
        low, high = ranges.get(name, (0.3, 0.9) if name.endswith("_sd") else (-0.6, 0.6))
        out[name] = (("chain", "draw", *dims), rng.uniform(low, high, shape))
    posterior = xr.Dataset(out)
    coords = {dim: list(model.coords[dim]) for dim in posterior.dims if dim not in ("chain", "draw")}
    return posterior.assign_coords(coords | {"chain": [0], "draw": np.arange(n)})


def with_tau(posterior, families):
    """Add what the model computes from its free variables: tau, the slopes, and the offsets of tasks."""
    if "atom_departure" in posterior:
        offset = posterior["stage_atom_offset"] + 0.5 * posterior["atom_departure"]
        posterior = posterior.assign(atom_offset=offset.transpose("chain", "draw", "task", "stage", "atom"))
    low = xr.DataArray([get_family(name).tau_range[0] for name in families], dims="link")
    share = posterior["tau_share"] if "tau_share" in posterior else 1 / (1 + np.exp(-posterior["tau_logit"]))
    tau = (low + (1 - low) * share).transpose("chain", "draw", ..., "link")
    return posterior.assign(tau=tau, slope=np.exp(posterior["log_slope"]))


def by_column(posterior, draw):
    """Values of one draw, with the axes of task and stage (or link) joined."""
    out = {}
    for name, value in posterior.isel(chain=0, draw=draw).items():
        value = value.transpose("task", ...) if "task" in value.dims else value.expand_dims("task")
        if name != "tau":
            value = value.values.reshape(-1, *value.shape[2:]) if value.ndim > 1 else value.values
        out[name] = np.asarray(value)
    return out


def masses_of(name, margins, values):
    return [plain_masses(name, margin, values["margin_split"][c]) for c, margin in enumerate(margins)]


def per_query(rows, query, n_queries):
    return np.bincount(query, rows, minlength=n_queries)


@pytest.mark.parametrize("pattern", LOGS)
@pytest.mark.parametrize("copula", ["gumbel", ("joe_180", "frank"), ("clayton", "gaussian")])
def test_likelihood_of_signals_is_that_of_plain_loops(pattern, copula):
    log = make_log(pattern)
    design = design_of(log, copula=copula)
    rng = np.random.default_rng(9)
    split, tau = rng.uniform(0.2, 0.8, (3, 7)), np.array([0.35, 0.6])
    model = get_margin_model("polya_tree")
    mass = np.array([plain_leaf_weights(margin, split[j]) for j, margin in enumerate(design.margins)])
    rows = signal_rows(tau[None], mass[None], design)[0]
    expected = plain_signals(
        log,
        design.margins,
        masses_of(model.name, design.margins, {"margin_split": split}),
        tau[None],
        names_of(copula),
    )
    np.testing.assert_allclose(per_query(rows, design.row_query, 60), expected, rtol=1e-6, atol=1e-8)


def names_of(copula):
    return (copula,) * 2 if isinstance(copula, str) else copula


@pytest.mark.parametrize("name", MODELS)
def test_log_likelihood_of_the_model_is_that_of_plain_loops(name):
    options = dict(MODELS[name])
    tasks = options.pop("tasks", False)
    log = make_log("partial", n=72 if tasks else 60, tasks=tasks)
    design, model = design_of(log, **options), build_model(log, difficulty=False, **options)
    posterior = values_of(model, np.random.default_rng(2), 3)
    tree = xr.DataTree.from_dict({"posterior": posterior})
    with model:
        pm.compute_log_likelihood(tree, progressbar=False, compile_kwargs=MODE)
    posterior = with_tau(posterior, design.options.copula)
    seen = tree["log_likelihood"].to_dataset()
    for draw in range(3):
        values = by_column(posterior, draw)
        mass = masses_of(design.options.margin, design.margins, values)
        tau = values["tau"]
        for part, query, expected in (
            ("signal", design.row_query, plain_signals(log, design.margins, mass, tau, design.options.copula)),
            ("correct", design.label_query, plain_labels(log, design.scalings, values)),
        ):
            got = per_query(seen[part].values[0, draw], query, log.sizes["query"])
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-8, err_msg=part)


def plain_held_out(design):
    """Log of a row's share of its group among the other queries over its share among all (row,)."""
    out = []
    for column, segment in zip(design.row_column, design.row_segment, strict=True):
        margin = design.margins[column]
        group = get_margin_model(design.options.margin).groups(margin)
        count, same = margin.count[segment], group == group[segment]
        total = margin.count[same].sum()
        alone = same.sum() == 1
        out.append(0.0 if alone else np.log(max(count - 1, 0.5) / max(total - 1, 1.0)) - np.log(count / total))
    return np.array(out)


@pytest.mark.parametrize("name", MODELS)
def test_pointwise_is_that_of_plain_loops(name):
    options = dict(MODELS[name])
    tasks = options.pop("tasks", False)
    log = make_log("partial", n=72 if tasks else 60, tasks=tasks)
    design, model = design_of(log, **options), build_model(log, difficulty=False, **options)
    rng = np.random.default_rng(3)
    posterior = with_tau(values_of(model, rng, 2), design.options.copula)
    out = log_likelihood_of(posterior, design, log["query"].values)
    shares = np.zeros(log.sizes["query"])
    np.add.at(shares, design.row_query, plain_held_out(design))
    assert out["signal"].dims == out["correct"].dims == ("chain", "draw", "query")
    for draw in range(2):
        values = by_column(posterior, draw)
        mass = masses_of(design.options.margin, design.margins, values)
        signals = plain_signals(log, design.margins, mass, values["tau"], design.options.copula)
        np.testing.assert_allclose(out["signal"].values[0, draw], signals + shares, rtol=1e-6, atol=1e-8)
        labels = plain_labels(log, design.scalings, values)
        np.testing.assert_allclose(out["correct"].values[0, draw], labels, rtol=1e-9, atol=1e-9)


# --- the PyMC model ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def partial_log():
    return make_log("partial")


@pytest.fixture(scope="module")
def model(partial_log):
    return build_model(partial_log, difficulty=False)


def test_dims_and_coords(model, partial_log):
    assert model.coords["stage"] == ("a", "b", "c")
    assert model.coords["link"] == ("a > b", "b > c")
    assert model.coords["atom"] == ("bottom", "top", *(f"inner {i}" for i in range(1, 7)))
    dims = model.named_vars_to_dims
    assert {name: tuple(dims[name]) for name in ("tau", "margin_split", "intercept", "slope", "cost")} == {
        "tau": ("link",),
        "margin_split": ("stage", "split"),
        "intercept": ("stage",),
        "slope": ("stage",),
        "cost": ("stage",),
    }
    assert tuple(dims["atom_offset"]) == ("stage", "atom")
    assert sorted(rv.name for rv in model.observed_RVs) == ["correct", "signal"]
    assert {rv.name for rv in model.free_RVs} == {
        *("margin_split", "tau_share", "intercept_mean", "intercept_sd", "log_slope_mean", "log_slope_sd"),
        *("intercept", "log_slope", "atom_offset", "cost_t"),
    }
    # every number of the log is data, so that one compiled model serves every log
    assert {v.name for v in model.data_vars} == set(design_of(partial_log).arrays)


@pytest.mark.parametrize("name", ["defaults", "tasks", "tasks, bernstein"])
def test_initial_point_is_finite_and_its_gradient_is_a_finite_difference(name):
    options = dict(MODELS[name])
    tasks = options.pop("tasks", False)
    model = build_model(make_log("partial", n=72 if tasks else 60, tasks=tasks), difficulty=False, **options)
    point = model.initial_point()
    logp, dlogp = model.compile_logp(**GRADIENT_MODE), model.compile_dlogp(**GRADIENT_MODE)
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
    posterior = values_of(model, np.random.default_rng(2), 3)
    tree = xr.DataTree.from_dict({"posterior": posterior})
    with model:
        pm.compute_log_likelihood(tree, progressbar=False, compile_kwargs=MODE)
    design, posterior = design_of(partial_log), with_tau(posterior, ("gumbel", "gumbel"))
    margin = get_margin_model("polya_tree")
    split = posterior["margin_split"].values[0]
    mass = margin.mass(split, margin.arrays(design.margins), NUMPY)
    rows = signal_rows(posterior["tau"].values[0], mass, design)
    np.testing.assert_allclose(rows, tree["log_likelihood"]["signal"].values[0], rtol=1e-9, atol=1e-10)
    flat = posterior.stack(sample=("chain", "draw")).transpose("sample", ...)
    rows = label_rows(flat, design)
    np.testing.assert_allclose(rows, tree["log_likelihood"]["correct"].values[0], rtol=1e-9, atol=1e-10)


def test_signal_rows_cannot_be_drawn_one_by_one(model):
    with pytest.raises(NotImplementedError, match="cannot be drawn one by one"):
        pm.draw(model["signal"], **MODE)


# --- logs with holes ---------------------------------------------------------------------------------------------


def test_rows_are_what_was_run_and_links_are_where_both_were(partial_log):
    design = design_of(partial_log)
    confidence = partial_log["confidence"].values
    assert len(design.row_query) == np.isfinite(confidence).sum()
    both = np.isfinite(confidence[:, :-1]) & np.isfinite(confidence[:, 1:])
    cases = [design.arrays[f"{case}_gumbel"] for case in ("free", "strip")]
    cases.append(design.arrays["corner_gumbel"][:, design.arrays["corner_of_gumbel"]])
    linked = sum(case.shape[1] for case in cases)
    assert linked == both.sum()
    assert len(design.arrays["row_unlinked"]) == len(design.row_query) - linked
    free, strip, corner = cases
    link = np.concatenate([free[2], strip[3], corner[4]])
    np.testing.assert_array_equal(np.bincount(link, minlength=2), both.sum(axis=0))
    assert design.row_follows.sum() == both.sum()


def test_links_of_two_families_are_told_apart(partial_log):
    design = design_of(partial_log, copula=("frank", "joe_180"))
    confidence = partial_log["confidence"].values
    both = (np.isfinite(confidence[:, :-1]) & np.isfinite(confidence[:, 1:])).sum(axis=0)
    for link, name in enumerate(("frank", "joe")):
        corners = design.arrays[f"corner_of_{name}"]
        rows = [design.arrays[f"{case}_{name}"] for case in ("free", "strip")]
        assert sum(case.shape[1] for case in rows) + len(corners) == both[link]
        for case, of_link in ((rows[0], 2), (rows[1], 3), (design.arrays[f"corner_{name}"], 4)):
            assert (case[of_link] == link).all()
        assert (design.arrays[f"point_place_{name}"][1] == link).all()  # the second family is turned
    assert design.arrays["tau_low"].tolist() == [-1.0, 0.0]


def test_unlabelled_rows_leave_the_labels_only(partial_log):
    design, correct = design_of(partial_log), partial_log["correct"].values
    assert len(design.label_query) == np.isfinite(correct).sum()
    np.testing.assert_array_equal(design.arrays["label_correct"].sum(), np.nansum(correct))
    filled = partial_log["correct"].fillna(1.0).where(np.isfinite(partial_log["confidence"]))
    labelled = design_of(partial_log.assign(correct=filled))
    names = ("free_gumbel", "strip_gumbel", "corner_gumbel", "corner_of_gumbel")
    for name in ("row_signal", "row_cell", "row_log_shape", "point_place_gumbel", "cost_known", *names):
        np.testing.assert_array_equal(design.arrays[name], labelled.arrays[name])


def test_a_row_that_is_not_run_leaves_the_others_alone():
    log = load_example()
    without = log.copy(deep=True)
    for name in ("confidence", "correct", "cost"):
        without[name][7, 2] = np.nan
    whole, partial = design_of(log), design_of(without)
    keep = (whole.row_query != 7) | (whole.row_column != 2)
    assert len(partial.row_query) == len(whole.row_query) - 1
    np.testing.assert_array_equal(np.sort(whole.arrays["row_signal"][keep]), np.sort(partial.arrays["row_signal"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"copula": "clay"}, "copula='clay' is not a known family"),
        ({"copula": ("gumbel", "clay")}, "copula='clay' is not a known family"),
        ({"copula": ("gumbel",)}, "copula has 1 families, but the log has 2 links"),
        ({"margin": "beta"}, "margin='beta' is not known; choose one of 'polya_tree', 'bernstein'"),
        ({"calibration": "isotonic"}, "calibration='isotonic' is not known; choose one of 'logistic', 'monotone'"),
    ],
)
def test_unknown_options_are_named(options, message):
    with pytest.raises(CascadeError, match=message):
        build_model(simulate(20, random_seed=1), **options)


def test_more_shares_of_votes_than_can_be_kept_apart_are_refused():
    log = simulate(400, random_seed=1).assign_attrs(confidence_kind="votes")
    message = r"stage 'small' have \d{3} distinct values, .* at most 128; .*confidence_kind='probability'"
    with pytest.raises(CascadeError, match=message):
        build_design(
            log.assign(confidence=log["confidence"].round(6)), check_options(None, "polya_tree", "logistic", 2)
        )
    few = log.assign(confidence=(20 * log["confidence"]).round() / 20)
    assert build_design(few, check_options(None, "polya_tree", "logistic", 2)).kind == "votes"
