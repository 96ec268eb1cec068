"""What must not change the likelihood of queries with a difficulty: order, names, units, and a scale of scores."""

import numpy as np
import pytest
import xarray as xr

import bayescascade as bc
from bayescascade.inference.pointwise import held_out, log_likelihood_of
from bayescascade.model.design import build_design
from bayescascade.model.options import check_options
from bayescascade.signals.kinds import to_signal

N = 200


def made_up(partly):
    """Scores with atoms and ties; in a cascade at work the last stage ran for some, and has no observed ranks."""
    made = bc.simulate(N, n_stages=3, top_atom=[0.2, 0.0, 0.1], loading=0.6, discrimination=0.8, random_seed=4)
    rng = np.random.default_rng(0)
    score = np.minimum(to_signal(made["confidence"].values, "probability"), 40.0)
    score = np.where(rng.uniform(size=score.shape) < 0.3, np.round(score, 1), score)
    score[rng.uniform(size=score.shape) < 0.02] = np.nan
    if partly:
        score[score[:, 1] > 1.0, 2] = np.nan
    log = made.assign(confidence=(made["confidence"].dims, score)).assign_attrs(confidence_kind="score")
    return log.assign({name: log[name].where(log["confidence"].notnull()) for name in ("correct", "cost")})


@pytest.fixture(scope="module", params=[False, True], ids=["every stage run", "a cascade at work"])
def log(request):
    return made_up(request.param)


@pytest.fixture(scope="module")
def whole():
    return made_up(partly=False)


def design_of(log):
    return build_design(log, check_options(None, "polya_tree", "logistic", log.sizes["stage"] - 1, True))


def likelihood(log):
    """Of each query, at some values, without the shares that depend on how many queries there are (query,)."""
    design, rng = design_of(log), np.random.default_rng(1)

    def some(low, high, *more):
        dims = ("chain", "draw", *(name for name, _ in more))
        return dims, rng.uniform(low, high, (1, 1, *(size for _, size in more)))

    stage = ("stage", 3)
    values = {
        "margin_split": some(0.3, 0.7, stage, ("split", 7)),
        "tau": some(-0.1, 0.4, ("link", 2)),
        "intercept": some(-0.6, 0.6, stage),
        "log_slope": some(-0.6, 0.6, stage),
        "atom_offset": some(-0.6, 0.6, stage, ("atom", 8)),
        "loading": some(0.3, 0.8, stage),
        "discrimination": some(0.4, 1.5, stage),
        "unanswerable": some(0.05, 0.3),
    }
    draws = xr.Dataset(values, coords={"chain": [0], "draw": [0]}).assign(slope=lambda x: np.exp(x["log_slope"]))
    shares = np.bincount(design.row_query, held_out(design), minlength=log.sizes["query"])
    return log_likelihood_of(draws, design, log["query"].values)["joint"].values[0, 0] - shares


def test_order_of_rows(log):
    order = np.random.default_rng(1).permutation(N)
    np.testing.assert_allclose(likelihood(log.isel(query=order)), likelihood(log)[order], rtol=1e-11)


def test_names_of_stages_and_unit_of_cost(log):
    other = log.assign(cost=log["cost"] * 7.3).assign_coords(stage=["zeta", "Ålesund", "a b,c"])
    np.testing.assert_array_equal(likelihood(other), likelihood(log))


def test_a_log_twice_has_the_ranks_that_it_has_once(whole):
    """Its margins are finer, so the likelihood is another one."""
    parts = [whole.assign_coords(query=[f"{name} {i}" for i in range(N)]) for name in ("one", "again")]
    once, twice = (np.unique(design_of(log).arrays["point_score"]) for log in (whole, xr.concat(parts, "query")))
    np.testing.assert_array_equal(once, twice)


@pytest.mark.parametrize(
    "transform", [np.cbrt, lambda s: np.sinh(s / 4.0), lambda s: 1.0 / (1.0 + np.exp(-s / 4.0))]
)
def test_a_monotone_transform_of_scores(whole, transform):
    """It moves the curve of P(correct), which is one of the score, and densities by its slope; all else stays."""
    plain = design_of(whole).arrays
    bent = design_of(whole.assign(confidence=transform(whole["confidence"]))).arrays
    differ = {name for name, value in plain.items() if not np.allclose(value, bent[name], rtol=1e-9, atol=1e-12)}
    assert differ == {"label_z", "row_log_margin"}
