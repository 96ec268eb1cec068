"""Choice of a family for each link, and comparison of fits by PSIS-LOO.

The slow tests compile one model that knows every family, which takes a minute or more.
"""

import json
import warnings

import arviz as az
import numpy as np
import pytest
import xarray as xr

import bayescascade as bc
from bayescascade.copulas import FAMILIES, NUMPY, get_family
from bayescascade.design import build_design
from bayescascade.draws import get_draws
from bayescascade.errors import CascadeError
from bayescascade.margins import tree_paths
from bayescascade.sampling import Sampling, fit_design
from bayescascade.selection import CANDIDATES, compare_families, fit_auto
from bayescascade.signals import to_signal
from bayescascade.structure import Options, check_options, structure_of

QUICK = {"draws": 200, "tune": 200, "chains": 2, "progressbar": False}
LOWER, UPPER = {"clayton", "gumbel_180", "joe_180"}, {"gumbel", "joe", "clayton_180"}


def quiet(function, *args, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="sampling did not converge: R-hat")
        warnings.filterwarnings("ignore", message="Estimated shape parameter")  # of az.loo; these are short runs
        return function(*args, **options)


def quick_fit(log, **options):
    return quiet(bc.fit, log, random_seed=3, **(QUICK | options))


def log_densities(fit, log):
    """Log density of each continuous signal given the stage before, under Gumbel links; a list of (draw, query).

    The tree's splits give the masses of leaves. Within a leaf the segments' shares are as observed, and for its
    own density a query is left out of the count.
    """
    draws, out, before = get_draws(fit), [], None
    left, right = tree_paths()
    split = fit["posterior"]["margin_split"].transpose("chain", "draw", "stage", "split").values
    signal = to_signal(log["confidence"].values, "probability")
    for j, margin in enumerate(draws.margins):
        p = split[:, :, j].reshape(len(draws.tau), -1)
        parts = [
            np.where(path * margin.split_used, q[:, None, :], 1.0) for path, q in ((left, p), (right, 1.0 - p))
        ]
        leaf = np.prod(parts[0] * parts[1], axis=2)
        total = np.bincount(margin.leaf, weights=margin.count, minlength=leaf.shape[1])[margin.leaf]
        mass = leaf[:, margin.leaf] * margin.count / total
        edges = np.append(margin.low, margin.high[-1])
        cumulative = np.pad(np.cumsum(mass, axis=1), ((0, 0), (1, 0)))
        segment = np.clip(np.searchsorted(edges, signal[:, j], side="right") - 1, 0, len(margin.low) - 1)
        width = np.where(margin.is_atom, np.nan, margin.high - margin.low)[segment]
        u = cumulative[:, segment] + mass[:, segment] * (signal[:, j] - margin.low[segment]) / width
        others = np.maximum(margin.count - 1.0, 0.5) / np.maximum(total - 1.0, 1.0)
        alone = np.bincount(margin.leaf)[margin.leaf] == 1
        density = leaf[:, margin.leaf] * np.where(alone, 1.0, others)
        row = np.log(density[:, segment] / width)
        if before is not None:
            row = row + get_family("gumbel").logpdf(before, u, draws.tau[:, j - 1, None], NUMPY)
        out.append(row)
        before = u
    return out


# --- what needs no compiled model of all families ---


def test_every_family_is_a_candidate():
    assert set(CANDIDATES) == set(FAMILIES)
    assert {"independence", "gaussian", "frank"} | LOWER | UPPER == set(CANDIDATES)


def test_one_compiled_model_serves_every_choice():
    """All candidates, and the final fit with a family of its own for each link, share their structure."""
    log = bc.load_example()
    options = check_options("independence", "polya_tree", "logistic", 2)
    from bayescascade.selection import _with

    pairs = [[name] * 2 for name in CANDIDATES] + [["clayton", "joe"], ["independence", "gumbel_180"]]
    assert len({build_design(log, _with(options, pair)).structure for pair in pairs}) == 1
    plain = structure_of(check_options("gumbel", "polya_tree", "logistic", 2), 3, 1)
    assert plain.families == ("gumbel",)
    assert not plain.rotated


@pytest.mark.parametrize("copula", [["gumbel"], ["gumbel", "frank", "joe"], []])
def test_the_number_of_families_is_that_of_links(example_log, copula):
    message = (
        f"copula has {len(copula)} families, but the log has 2 links between its stages; give one name for all"
    )
    with pytest.raises(CascadeError, match=message):
        bc.fit(example_log, copula=copula)
    with pytest.raises(CascadeError, match=message):
        bc.build_model(example_log, copula=copula)


def test_a_model_is_of_named_families(example_log):
    """There is no one model to build before the choice is made."""
    with pytest.raises(CascadeError, match="copula='auto' is not a known family"):
        bc.build_model(example_log, copula="auto")


def test_families_are_compared_on_one_task():
    log = bc.combine_tasks({name: bc.simulate(40, random_seed=i) for i, name in enumerate("ab")})
    options = check_options("independence", "polya_tree", "logistic", 2)
    with pytest.raises(CascadeError, match="compares families on one task; choose on one, and name the families"):
        fit_auto(log, options, Sampling())


# --- all families ---


@pytest.fixture(scope="module")
def log():
    """Confidences that fail together at the first link, and that are high together at the second."""
    return bc.simulate(400, n_stages=3, copula=["clayton", "gumbel"], tau=0.6, random_seed=21)


@pytest.fixture(scope="module")
def auto(log):
    return quick_fit(log, copula="auto")


def families_of(fit):
    names = json.loads(fit["copula"].attrs["families"])
    return np.array(names)[fit["copula"]["family"].values]


@pytest.mark.slow
@pytest.mark.long
def test_the_right_tail_is_found_at_each_link(auto):
    chosen = families_of(auto)
    assert chosen.shape == (2,)
    assert chosen[0] in LOWER
    assert chosen[1] in UPPER
    assert auto.attrs["copula"] == ", ".join(chosen)
    assert auto.attrs["copula_choice"] == "auto"
    assert "log_likelihood" in auto.children
    tau = auto["posterior"]["tau"]
    assert bool((np.abs(tau.mean(("chain", "draw")) - 0.6) < 4 * tau.std(("chain", "draw"))).all())


@pytest.mark.slow
@pytest.mark.long
def test_what_the_comparison_holds(auto):
    table = auto["comparison"].to_dataset()
    by_link = ("elpd", "se", "elpd_diff", "dse", "worst_k")
    assert {str(name): v.dims for name, v in table.data_vars.items()} == dict.fromkeys(by_link, ("link", "family"))
    assert list(table["family"].values) == list(CANDIDATES)
    assert list(table["link"].values) == list(auto["posterior"]["link"].values)
    assert bool(np.isfinite(table.to_array()).all())
    np.testing.assert_allclose(table["elpd_diff"], table["elpd"] - table["elpd"].max("family"))
    best = table["elpd"].argmax("family")
    assert bool((table["dse"].isel(family=best) == 0.0).all())
    assert int((table["dse"] > 0.0).sum()) == 2 * (len(CANDIDATES) - 1)
    # given the stage before, an independent link knows the margin alone; the true family knows more
    elpd = table["elpd"].transpose("link", "family")
    for link, true in enumerate(("clayton", "gumbel")):
        gain = elpd.sel(family=true) - elpd.sel(family="independence")
        assert float(gain[link]) > 100.0
    np.testing.assert_array_equal(families_of(auto), np.array(CANDIDATES)[best.values])


@pytest.mark.slow
@pytest.mark.long
def test_the_table_is_what_arviz_makes_of_log_densities(log, auto):
    """Gumbel at the second link, by hand: fit, log densities of the third stage given the second, az.loo."""
    options = Options(("gumbel", "gumbel"), candidates=CANDIDATES)
    how = Sampling(draws=400, tune=200, chains=2, random_seed=3, log_likelihood=False)
    fit = fit_design(build_design(log, options), log, how)
    rows = log_densities(fit, log)[2].reshape(2, 400, 400)
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({"x": (("chain", "draw"), np.zeros((2, 400)))}),
            "log_likelihood": xr.Dataset({"y": (("chain", "draw", "query"), rows)}),
        }
    )
    loo = quiet(az.loo, tree)
    at = auto["comparison"].to_dataset().sel(family="gumbel").isel(link=1)
    np.testing.assert_allclose(at["elpd"], loo.elpd, rtol=1e-8)
    np.testing.assert_allclose(at["se"], loo.se, rtol=1e-8)
    np.testing.assert_allclose(at["worst_k"], np.max(loo.pareto_k), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.long
def test_a_choice_is_one_of_named_families(log, auto):
    """The chosen families, named, give the posterior that the choice gave, up to Monte Carlo error."""
    named = quick_fit(log, copula=list(families_of(auto)))
    assert named.attrs["copula"] == auto.attrs["copula"]
    assert "comparison" not in named.children
    for name in ("tau", "intercept"):
        values = [fit["posterior"][name] for fit in (auto, named)]
        gap = values[0].mean(("chain", "draw")) - values[1].mean(("chain", "draw"))
        assert bool((np.abs(gap) < 0.5 * values[0].std(("chain", "draw"))).all())


@pytest.mark.slow
@pytest.mark.long
def test_a_comparison_passes_over_what_was_not_run(log):
    """Queries that end at the first stage say nothing of the second link: its rows are the other queries."""
    part = log.isel(query=slice(150)).copy(deep=True)
    for name in ("confidence", "correct", "cost"):
        part[name][75:, 2] = np.nan
    options = check_options("independence", "polya_tree", "logistic", 2)
    table = quiet(compare_families, part, options, Sampling(random_seed=3, tune=200))
    whole = quiet(compare_families, log.isel(query=slice(150)), options, Sampling(random_seed=3, tune=200))
    gain = [t["elpd"].sel(family="gumbel") - t["elpd"].sel(family="independence") for t in (table, whole)]
    assert bool(np.isfinite(table.to_array()).all())
    assert 0.3 < float(gain[0][1] / gain[1][1]) < 0.7


# --- comparison of public fits ---


def rank(fits, var_name):
    return quiet(az.compare, {name: quiet(az.loo, fit, var_name=var_name) for name, fit in fits.items()})


@pytest.mark.slow
@pytest.mark.long
def test_fits_with_other_families_are_compared(log):
    fits = {"gumbel": quick_fit(log), "frank": quick_fit(log, copula="frank")}
    mixed = fits | {"both": quick_fit(log, copula=["frank", "gumbel"])}
    assert mixed["both"].attrs["copula"] == "frank, gumbel"
    assert families_of(mixed["both"]).tolist() == ["frank", "gumbel"]
    table = rank(mixed, "signal")
    assert table.index[0] == "both"  # Frank is nearer to Clayton, and Gumbel is true at the second link
    assert set(rank(fits, "signal").index) == set(fits)
    # the calibration does not know of the families
    elpd = [quiet(az.loo, fit, var_name="correct").elpd for fit in mixed.values()]
    assert np.ptp(elpd) < 1.0


@pytest.mark.slow
@pytest.mark.long
def test_fits_with_other_margins_are_compared(log):
    fits = {name: quick_fit(log, margin=name) for name in ("polya_tree", "empirical")}
    loos = {name: quiet(az.loo, fit, var_name="signal") for name, fit in fits.items()}
    table = quiet(az.compare, loos)
    assert set(table.index) == set(fits)
    # densities on one scale: masses of segments, or of leaves, would differ by more than one per query
    assert abs(loos["polya_tree"].elpd - loos["empirical"].elpd) < 0.25 * 400


@pytest.mark.slow
@pytest.mark.long
def test_fits_with_other_calibrations_are_compared():
    """Where correctness depends on the previous signal as well, the sequential calibration is better."""
    log = bc.simulate(400, n_stages=3, tau=0.2, random_seed=5)
    signal = np.log(log["confidence"].values) - np.log1p(-log["confidence"].values)
    rng = np.random.default_rng(1)
    for j in (1, 2):
        logit = 0.8 + 1.5 * (signal[:, j - 1] - signal[:, j - 1].mean())
        log["correct"][:, j] = (rng.uniform(size=400) < 1.0 / (1.0 + np.exp(-logit))).astype(float)
    fits = {name: quick_fit(log, calibration=name) for name in ("logistic", "sequential")}
    table = rank(fits, "correct")
    assert list(table.index) == ["sequential", "logistic"]
    assert float(table.loc["logistic", "elpd_diff"]) < -3 * float(table.loc["logistic", "dse"])


def test_the_log_likelihood_of_a_query_is_that_of_its_stages(example_fit, example_log):
    """What `az.loo` sees of a query without atoms, by hand."""
    free = ~np.isin(example_log["confidence"].values, [0.0, 1.0]).any(axis=1)
    assert 200 < free.sum() < 300
    by_hand = sum(log_densities(example_fit, example_log))
    found = example_fit["log_likelihood"]["signal"].values.reshape(-1, 300)
    np.testing.assert_allclose(found[:, free], by_hand[:, free], rtol=1e-8)
