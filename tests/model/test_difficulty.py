"""Queries with a difficulty: their likelihood against plain integrals, closed forms, and the Markov model."""

import warnings

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import xarray as xr
from helpers.logs import LOGS, make_log
from helpers.reference_likelihood import (
    plain_chance,
    plain_masses,
    plain_pair,
    plain_place,
    plain_ranks,
    task_numbers,
)
from pymc.blocking import DictToArrayBijection
from pytensor.compile.mode import Mode
from scipy import special, stats

import bayescascade as bc
from bayescascade.errors import CascadeError
from bayescascade.inference import pointwise
from bayescascade.inference.pointwise import log_likelihood_of
from bayescascade.model import factor, query_rows
from bayescascade.model.build import build_model, model_of_design
from bayescascade.model.copulas.family import get_family
from bayescascade.model.design import build_design
from bayescascade.model.factor import EASE, LOG_WEIGHT, conditional_rank, rank_of_conditional, trapezoid
from bayescascade.model.options import check_options
from bayescascade.model.simulate import simulate
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.replicate import replicate_draw
from bayescascade.signals.kinds import to_signal

MODE = {"mode": "FAST_COMPILE"}
# without rewrites: they gather sums into one, and PyTensor's interpreter adds up 32 terms at most
GRADIENT_MODE = {"mode": Mode(linker="py", optimizer="None")}
_t, _w = np.polynomial.legendre.leggauss(70)
NODES = 6.5 * _t, 6.5 * _w * stats.norm.pdf(6.5 * _t)
COPULAS = ["gaussian", ("joe_180", "frank"), ("gaussian", "clayton"), ("independence", "gaussian")]


def designs(log, copula, calibration="logistic", margin="polya_tree"):
    """Designs of a log without and with a difficulty."""
    n_links = log.sizes["stage"] - 1
    return [
        build_design(log, check_options(copula, margin, calibration, n_links, difficulty))
        for difficulty in (False, True)
    ]


def draw_values(design, seed=0, n=2, loading=(0.3, 0.8), discrimination=(0.4, 1.5)):
    """Values of all that the likelihood reads, n draws (1, n, ...), with the dims of a posterior."""
    rng = np.random.default_rng(seed)
    shape, dims = ([len(design.tasks)], ["task"]) if design.tasks else ([], [])
    k = len(design.stages)
    low = np.array([max(f.tau_range[0], -0.35) for f in design.options.families])

    def some(least, most, *more):
        sizes = [k - 1 if name == "link" else k if name == "stage" else size for name, size in more]
        values = rng.uniform(least, most, (1, n, *shape, *sizes))
        return ("chain", "draw", *dims, *(name for name, _ in more)), values

    stage, link = ("stage", None), ("link", None)
    return xr.Dataset(
        {
            "margin_split": some(0.3, 0.7, stage, ("split", 10 if design.options.margin == "bernstein" else 7)),
            "tau": some(low + 0.05, 0.5, link),
            "intercept": some(-0.6, 0.6, stage),
            "log_slope": some(-0.6, 0.6, stage),
            "atom_offset": some(-0.6, 0.6, stage, ("atom", 8)),
            "loading": some(*loading, stage),
            "discrimination": some(*discrimination, stage),
            "unanswerable": some(0.05, 0.3),
        },
        coords={"chain": [0], "draw": np.arange(n)},
    ).assign(slope=lambda x: np.exp(x["log_slope"]))


def plain_density(ease, row, labels, first, link, design, mass, rank, values):
    """Density of a query's signals and labels given its ease; ``values`` run over columns and links."""
    signals, chance = plain_parts(ease, row, labels, first, link, design, mass, rank, values)
    share = values["unanswerable"][first // len(design.stages)]
    return signals * ((1 - share) * chance + share * (not np.any(labels == 1)))


def plain_parts(ease, row, labels, first, link, design, mass, rank, values):
    """Density of the signals, and probability of the labels of a query that can be answered.

    ``mass`` are the margins' own, and ``rank`` the ranks of the signals, by column.
    """
    total, last, right = 0.0, None, 1.0
    for j, x in enumerate(row):
        if np.isnan(x):
            last = None
            continue
        c = first + j
        _, _, own, atom = plain_place(design.margins[c], mass[c], x)
        u_low, u_high = rank[c][x]
        log_own = np.log(u_high - u_low) if atom else 0.0
        total += own - log_own
        rho = values["loading"][c]
        s = np.sqrt(1 - rho**2)
        low, high = (special.ndtr((special.ndtri(min(u, 1.0)) - rho * ease) / s) for u in (u_low, u_high))
        if atom:
            if high - low < 1e-13:  # nothing that counts, and rounding in what is divided by it
                return 0.0, 1.0
            log_own = np.log(high - low)
        else:
            score = special.ndtri(u_high)
            log_own += (score**2 - ((score - rho * ease) / s) ** 2) / 2 - np.log(s)
        total += log_own
        here = (low, high, log_own, atom)
        if last is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                pair = plain_pair(last, here, values["tau"][link + j - 1], design.options.copula[j - 1])
            if not np.isfinite(pair):  # a mass of nothing but rounding, far out in the ease
                return 0.0, 1.0
            total += pair
        last = here
        if np.isfinite(labels[j]):
            chance = special.logit(plain_chance(design.scalings, c, x, values))
            chance = special.expit(chance + values["discrimination"][c] * ease)
            right *= chance if labels[j] else 1 - chance
    return np.exp(total), right


def plain_queries(log, design, values, queries):
    """Log-likelihood of some queries by Gauss-Legendre quadrature over the ease."""
    k, task = log.sizes["stage"], task_numbers(log)
    mass = [
        plain_masses(design.options.margin, margin, split)
        for margin, split in zip(design.margins, values["margin_split"], strict=True)
    ]
    signal = to_signal(log["confidence"].values, log.attrs["confidence_kind"])
    labels = log["correct"].values
    rank = ranks_or(mass, signal, task, design)
    out = []
    for i in queries:
        given = (signal[i], labels[i], task[i] * k, task[i] * (k - 1), design, mass, rank, values)
        found = sum(w * plain_density(t, *given) for t, w in zip(*NODES, strict=True))
        out.append(np.log(found))
    return np.array(out)


def ranks_or(mass, signal, task, design):
    """Ranks of the signals by column: counted, or the margins' where too few were seen."""
    out = []
    for c, margin in enumerate(design.margins):
        t, j = divmod(c, signal.shape[1])
        own = signal[task == t, j]
        found = plain_ranks(margin, own)
        out.append(found or {x: plain_place(margin, mass[c], x)[:2] for x in own[np.isfinite(own)]})
    return out


def one_draw(values, draw, design):
    """One draw's values with task and stage (or link) joined, as the plain formulas take them."""
    out = {}
    for name, value in values.isel(chain=0, draw=draw).items():
        trailing = [dim for dim in value.dims if dim not in ("task", "stage", "link")]
        array = value.values.reshape(-1, *(value.sizes[dim] for dim in trailing))
        out[name] = array
    return out


def joint(values, design, log, monkeypatch=None, nodes=None):
    if nodes is not None:
        node, weight = np.polynomial.hermite_e.hermegauss(60)
        many = {"label_node": node, "label_weight": weight / weight.sum()}
        many |= dict(zip(("ease", "log_weight"), nodes, strict=True))
        for name, value in many.items():
            monkeypatch.setitem(factor.NODES, name, value)
    shares = np.bincount(design.row_query, pointwise.held_out(design), minlength=log.sizes["query"])
    return log_likelihood_of(values, design, log["query"].values)["joint"].values[0] - shares


# --- single queries ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", LOGS)
@pytest.mark.parametrize("copula", COPULAS, ids=str)
def test_a_query_is_the_integral_of_plain_loops(pattern, copula, monkeypatch):
    log = make_log(pattern)
    design = designs(log, copula)[1]
    values = draw_values(design, n=1)
    found = joint(values, design, log, monkeypatch, trapezoid(121, 7.5))
    queries = [0, 7, 12, 25, 31, 41, 50]  # with holes in them, without labels, and some others
    plain = plain_queries(log, design, one_draw(values, 0, design), queries)
    np.testing.assert_allclose(found[0, queries], plain, rtol=2e-6, atol=2e-6)


def test_tasks_are_those_of_plain_loops(monkeypatch):
    log = make_log("partial", n=72, tasks=True)
    design = designs(log, ("gaussian", "joe_180"), "logistic", "bernstein")[1]
    values = draw_values(design, n=1)
    found = joint(values, design, log, monkeypatch, trapezoid(121, 7.5))
    queries = [0, 1, 2, 12, 22, 31, 40, 50]
    plain = plain_queries(log, design, one_draw(values, 0, design), queries)
    np.testing.assert_allclose(found[0, queries], plain, rtol=2e-6, atol=2e-6)


def test_continuous_signals_with_gaussian_links_are_multivariate_normal_scores(monkeypatch):
    log = make_log("no atoms")
    log["correct"][1:] = np.nan
    design = designs(log, "gaussian")[1]
    values = draw_values(design, n=3, loading=(0.2, 0.9))
    found = joint(values, design, log, monkeypatch, trapezoid(241, 8.0))
    signal = to_signal(log["confidence"].values, log.attrs["confidence_kind"])
    for draw in range(3):
        own = one_draw(values, draw, design)
        mass = [plain_masses("polya_tree", m, s) for m, s in zip(design.margins, own["margin_split"], strict=True)]
        rho, link = own["loading"], np.sin(np.pi / 2 * own["tau"])
        rest = np.array([[1, link[0], link[0] * link[1]], [link[0], 1, link[1]], [link[0] * link[1], link[1], 1]])
        s = np.sqrt(1 - rho**2)
        normal = stats.multivariate_normal(np.zeros(3), np.outer(rho, rho) + np.outer(s, s) * rest)
        rank = ranks_or(mass, signal, task_numbers(log), design)
        for i, row in list(enumerate(signal))[1:]:
            places = [plain_place(m, w, x) for m, w, x in zip(design.margins, mass, row, strict=True)]
            score = stats.norm.ppf([own[x][1] for own, x in zip(rank, row, strict=True)])
            expected = sum(p[2] for p in places) + normal.logpdf(score) - stats.norm.logpdf(score).sum()
            assert found[draw, i] == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("copula", COPULAS, ids=str)
@pytest.mark.parametrize("pattern", LOGS)
def test_without_loadings_and_discriminations_it_is_the_markov_model(pattern, copula, monkeypatch):
    monkeypatch.setattr(query_rows, "RANKED", 1.1)  # of no stage: ranks are those of the margins being sampled
    log = make_log(pattern)
    plain, hard = designs(log, copula)
    values = draw_values(plain)
    zero = {name: 0.0 * values[name] for name in ("loading", "discrimination")}
    zero["unanswerable"] = values["unanswerable"] * 1e-13
    values = values.assign(zero)
    markov = log_likelihood_of(values, plain, log["query"].values)
    np.testing.assert_allclose(markov["signal"] + markov["correct"], markov["joint"])
    shares = np.bincount(plain.row_query, pointwise.held_out(plain), minlength=log.sizes["query"])
    found = joint(values, hard, log)
    np.testing.assert_allclose(found, markov["joint"].values[0] - shares, rtol=1e-9, atol=1e-9)


def test_queries_that_are_alike_are_computed_once():
    log = make_log("discrete", n=300)
    design = designs(log, "gaussian")[1]
    n_patterns = len(design.arrays["pattern_line"])
    signal = to_signal(log["confidence"].values, log.attrs["confidence_kind"])
    rows = np.nan_to_num(np.hstack([signal, log["correct"].values]), nan=-99.0)
    assert n_patterns == len(np.unique(rows, axis=0)) < 300
    assert len(design.arrays["query_pattern"]) == 300


# --- the nodes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loading", [0.1, 0.5, 0.8, 0.9])
def test_ranks_are_uniform_over_the_nodes(loading):
    u = np.linspace(0.01, 0.99, 99)
    marginal = conditional_rank(u[:, None], EASE, loading) @ np.exp(LOG_WEIGHT)
    np.testing.assert_allclose(marginal, u, atol=5e-4)


def test_weights_of_the_nodes_have_the_moments_of_a_standard_normal():
    weight = np.exp(LOG_WEIGHT)
    assert weight.sum() == pytest.approx(1.0)
    assert weight @ EASE == pytest.approx(0.0, abs=1e-12)
    assert weight @ EASE**2 == pytest.approx(1.0, abs=5e-3)


@pytest.mark.parametrize("n_stages", [2, 5])
def test_the_nodes_are_enough(n_stages, monkeypatch):
    log = simulate(300, n_stages=n_stages, top_atom=0.1, loading=0.6, discrimination=0.8, random_seed=1)
    design = designs(log, "gaussian")[1]
    values = draw_values(design, n=20)
    few = joint(values, design, log)
    many = joint(values, design, log, monkeypatch, trapezoid(241, 7.0))
    assert np.abs(few - many).max() < 0.08  # of a single query
    assert np.abs((few - many).sum(axis=1)).max() < 0.2  # of 300


def test_conditional_ranks_have_an_inverse():
    u, ease = np.linspace(0.001, 0.999, 50)[:, None], np.linspace(-2, 2, 7)
    np.testing.assert_allclose(
        rank_of_conditional(conditional_rank(u, ease, 0.7), ease, 0.7), u + 0 * ease, rtol=1e-9
    )


# --- the PyMC model ----------------------------------------------------------------------------------------------


def unconstrained(model, seed=1):
    rng = np.random.default_rng(seed)
    return {name: v + rng.uniform(-0.3, 0.3, np.shape(v)) for name, v in model.initial_point().items()}


MODELS = {
    "gaussian": ("gaussian", "logistic", False),
    "rotated": (("joe_180", "frank"), "logistic", False),
    "tasks": (("gaussian", "clayton"), "monotone", True),
}


@pytest.fixture(scope="module", params=MODELS, ids=str)
def built(request):
    copula, calibration, tasks = MODELS[request.param]
    log = make_log("partial", n=72 if tasks else 60, tasks=tasks)
    model = build_model(log, copula=copula, calibration=calibration, difficulty=True)
    return log, designs(log, copula, calibration)[1], model


def test_log_likelihood_of_the_model_is_the_pointwise_one(built):
    log, design, model = built
    point = unconstrained(model)
    names = [v.name for v in (*model.free_RVs, *model.deterministics)]
    with model:
        outputs = model.replace_rvs_by_values([*model.free_RVs, *model.deterministics])
        values = model.compile_fn(outputs, inputs=model.value_vars, **MODE, on_unused_input="ignore")(point)
    dims = model.named_vars_to_dims
    posterior = xr.Dataset(
        {
            name: (("chain", "draw", *(dims.get(name) or ())), np.asarray(value)[None, None])
            for name, value in zip(names, values, strict=True)
        },
        coords={"chain": [0], "draw": [0]},
    )
    logp = model.compile_fn(
        model.logp(vars=model.observed_RVs, sum=False), inputs=model.value_vars, **MODE, on_unused_input="ignore"
    )(point)[0]
    shares = np.bincount(design.row_query, pointwise.held_out(design), minlength=log.sizes["query"])
    found = log_likelihood_of(posterior, design, log["query"].values)["joint"].values[0, 0] - shares
    assert logp.shape == (log.sizes["query"],)
    np.testing.assert_allclose(logp, found, rtol=1e-8, atol=1e-9)


def test_gradients_are_those_of_finite_differences(built):
    model = built[2]
    own = [
        rv
        for rv in model.free_RVs
        if rv.name in ("tau_logit_shifted", "loading_logit_departure", "log_discrimination_departure")
    ]
    logp = model.logp(vars=[*own, *model.observed_RVs])
    inputs = model.value_vars
    function = model.compile_fn([logp, *pt.grad(logp, inputs, disconnected_inputs="ignore")], **GRADIENT_MODE)
    rng, start = np.random.default_rng(0), unconstrained(model)
    slopes = function(start)[1:]
    for _ in range(6):  # along random directions
        step = {name: 1e-5 * rng.normal(size=np.shape(v)) for name, v in start.items()}
        ends = [function({name: v + sign * step[name] for name, v in start.items()})[0] for sign in (1.0, -1.0)]
        expected = sum(float((slope * step[v.name]).sum()) for slope, v in zip(slopes, inputs, strict=True))
        assert (ends[0] - ends[1]) / 2 == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("copula", ["gaussian", "frank"])
@pytest.mark.slow
def test_gradients_are_finite_in_the_corners(copula):
    log = simulate(60, n_stages=3, top_atom=0.2, random_seed=1, confidence_kind="score")
    log["confidence"][0] = [30.0, -30.0, 30.0]  # a long way out: u within 1e-12 of 1 once its cell is empty
    model = build_model(log, copula=copula, difficulty=True)
    function = model.logp_dlogp_function(ravel_inputs=True, **GRADIENT_MODE)
    function.set_extra_values({})

    start = model.initial_point()
    for name, shift in {
        "": 0.0,
        "margin_split": 25.0,
        "loading_logit_mean": 12.0,
        "log_discrimination_mean": 3.0,
        "unanswerable_logit": 9.0,
    }.items():
        for sign in (-1.0, 1.0):
            point = {key: v + sign * shift * (key.startswith(name) if name else 0) for key, v in start.items()}
            value, slope = function(DictToArrayBijection.map(point).data)
            assert np.isfinite(value), (name, sign)
            assert np.isfinite(slope).all(), (name, sign)


def test_the_prior_is_as_its_docstring_says():
    log = make_log("no atoms")
    model = model_of_design(designs(log, "gaussian")[1])
    with model:
        names = ("loading", "discrimination", "tau", "unanswerable")
        loading, discrimination, tau, unanswerable = pm.draw(
            [model[name] for name in names], draws=4000, random_seed=1
        )
    assert np.median(loading) == pytest.approx(0.45, abs=0.03)
    np.testing.assert_allclose(np.quantile(loading, [0.05, 0.95]), [0.1, 0.85], atol=0.04)
    between = loading[:, 0] * loading[:, 1]
    np.testing.assert_allclose(np.quantile(between, [0.05, 0.5, 0.95]), [0.02, 0.19, 0.66], atol=0.05)
    np.testing.assert_allclose(np.quantile(discrimination, [0.05, 0.5, 0.95]), [0.23, 0.7, 2.1], atol=0.12)
    assert tau.std() == pytest.approx(0.25, abs=0.02)
    np.testing.assert_allclose(np.quantile(unanswerable, [0.05, 0.5, 0.95]), [0.009, 0.032, 0.11], atol=0.01)


# --- options -----------------------------------------------------------------------------------------------------


def test_the_default_family_has_both_signs():
    assert get_family(check_options(None, "polya_tree", "logistic", 2, True).copula[0]).tau_range[0] == -1.0
    assert check_options(None, "polya_tree", "logistic", 2).copula == ("gumbel", "gumbel")


def test_a_difficulty_that_is_neither_true_nor_false_is_refused():
    with pytest.raises(CascadeError, match="difficulty='yes' is not allowed"):
        check_options(None, "polya_tree", "logistic", 2, "yes")


def test_simulated_scores_have_the_correlations_of_a_factor():
    log = simulate(
        200_000, n_stages=3, loading=[0.8, 0.6, 0.0], discrimination=[0.0, 1.0, 0.0], tau=0.0, copula="gaussian",
        random_seed=1,
    )  # fmt: skip
    signal = to_signal(log["confidence"].values, log.attrs["confidence_kind"])
    score = stats.norm.ppf(stats.rankdata(signal, axis=0) / 200_001)
    correlation = np.corrcoef(np.column_stack([score, -log["difficulty"].values]).T)
    expected = [[1, 0.48, 0, 0.8], [0.48, 1, 0, 0.6], [0, 0, 1, 0], [0.8, 0.6, 0, 1]]
    np.testing.assert_allclose(correlation, expected, atol=0.01)


def test_a_share_of_simulated_queries_is_answered_by_no_stage():
    none, some = (simulate(5000, unanswerable=share, random_seed=1)["correct"].values for share in (0.0, 0.2))
    failed = (none == 0).all(axis=1).mean()
    assert (some == 0).all(axis=1).mean() == pytest.approx(0.2 + 0.8 * failed, abs=0.02)
    assert some[some.any(axis=1)].mean() == pytest.approx(none[none.any(axis=1)].mean(), abs=0.02)


def test_simulated_logs_without_difficulty_are_as_before():
    assert "difficulty" not in simulate(20, random_seed=1).coords


# --- fits --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    truth = {"loading": [0.8, 0.6, 0.7], "discrimination": [1.5, 1.0, 1.5], "tau": [0.2, -0.1]}
    log = simulate(1500, n_stages=3, copula="gaussian", top_atom=[0.2, 0.0, 0.1], random_seed=3, **truth)
    how = {"draws": 250, "tune": 300, "chains": 2, "random_seed": 1, "progressbar": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)  # so few draws do not satisfy R-hat
        return truth, log, bc.fit(log, **how), bc.fit(log, difficulty=False, **how)


@pytest.mark.slow
def test_a_fit_recovers_what_a_log_was_made_of(fitted):
    truth, _, fit, _ = fitted
    for name, expected in truth.items():
        draws = fit["posterior"][name]
        off = (draws.mean(("chain", "draw")) - np.array(expected)) / draws.std(("chain", "draw"))
        assert float(abs(off).max()) < 3.5, name


@pytest.mark.slow
def test_arviz_prefers_the_model_that_made_the_log(fitted):
    import arviz as az

    _, _, hard, plain = fitted
    table = az.compare({"hard": hard, "plain": plain}, var_name="joint")
    assert table.index[0] == "hard"
    assert -float(table["elpd_diff"].iloc[1]) > 4.0 * float(table["dse"].iloc[1])


@pytest.mark.slow
def test_what_such_a_fit_holds(fitted):
    _, _, fit, plain = fitted
    assert list(fit["log_likelihood"].data_vars) == ["joint"]
    assert sorted(plain["log_likelihood"].data_vars) == ["correct", "joint", "signal"]
    assert (fit.attrs["difficulty"], plain.attrs["difficulty"], fit.attrs["copula"]) == (1, 0, "gaussian")
    assert (
        fit["posterior"]["loading"].dims == fit["posterior"]["discrimination"].dims == ("chain", "draw", "stage")
    )


@pytest.mark.slow
def test_replicates_of_a_draw_are_like_the_log(fitted):
    _, log, fit, _ = fitted
    confidence, correct = replicate_draw(get_draws(fit).mean(), 0, 20_000, np.random.default_rng(1))
    np.testing.assert_allclose(correct.mean(axis=0), log["correct"].values.mean(axis=0), atol=0.04)
    ranks = [stats.spearmanr(x, axis=0).statistic for x in (confidence, log["confidence"].values)]
    np.testing.assert_allclose(*ranks, atol=0.08)
    together = [np.corrcoef(y.T) for y in (correct, log["correct"].values)]
    np.testing.assert_allclose(*together, atol=0.08)
