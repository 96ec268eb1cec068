"""What if prices, prior or queries change: other prices, drifted mixes and tuned-anew thresholds."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from helpers.draws import PATTERNS, make_draws, random_thresholds

import bayescascade as bc
from bayescascade.analysis.sensitivity import Sensitivity, sensitivity
from bayescascade.cascade.forward import forward
from bayescascade.cascade.positions import to_positions
from bayescascade.cascade.single_stages import single_stages
from bayescascade.errors import CascadeError
from bayescascade.induction.backward_induction import induce, optimal_loss
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.kernel import build_kernel, tilted
from bayescascade.posterior.replicate import replicate_draw
from bayescascade.posterior.scenarios import drift, reprice
from bayescascade.posterior.tilt import density_ratios, drift_bounds
from bayescascade.tuning.tune import tune

THRESHOLDS = [0.8, 0.7, -np.inf]


# --- the tilt ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("amount", [-0.2, 0.0, 0.3])
def test_the_mean_rank_falls_by_the_stated_fraction(pattern, amount):
    mass = make_draws(2, pattern, n_draws=5).mass[:, 0]
    ratio = density_ratios(mass, amount)
    upper = np.cumsum(mass, axis=1)
    new = mass * ratio
    np.testing.assert_allclose(new.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose((new * (upper - mass / 2)).sum(axis=1), (1 - amount) / 2, atol=1e-9)
    there = mass > 0
    # exponential in u: the log ratio is a straight line, the same for all segments of a draw
    for m, r, u in zip(mass, ratio, upper - mass / 2, strict=True):
        line = np.polyfit(u[m > 0], np.log(r[m > 0]), 1)
        np.testing.assert_allclose(np.log(r[m > 0]), np.polyval(line, u[m > 0]), atol=1e-8)
        assert np.sign(np.round(line[0], 9)) == -np.sign(amount)
    assert there.any()


def test_an_atom_limits_the_drift():
    mass = np.array([[0.4, 0.3, 0.3]])
    least, most = drift_bounds(mass)
    assert (least[0], most[0]) == pytest.approx((-0.7, 0.6))
    assert (mass * density_ratios(mass, 0.59))[0, 0] > 0.95
    with pytest.raises(CascadeError, match=r"a drift of 0.6 is out of reach; give one above -0.7 and below 0.6"):
        density_ratios(mass, 0.6)


def paths(kernel, ratio):
    """All that a tilted cascade of three stages comes to, summed over paths of segments one by one."""
    first = kernel.mass[0, 0] * ratio[0]
    n = len(first)
    mass, right = np.zeros((3, n)), np.zeros((3, n))
    mass[0] = first
    own = kernel.draws.segment_correct()
    right[0] = first * own[0, 0]
    for j in (0, 1):
        for s in range(n):
            if kernel.mass[0, j, s] <= 0:
                continue
            share = mass[j, s] / kernel.mass[0, j, s]
            for t in range(n):
                moved = share * kernel.pair[j][0, s, t]
                mass[j + 1, t] += moved
                right[j + 1, t] += moved * own[0, j + 1, t]
    return mass, right


def test_a_tilted_kernel_is_the_sum_over_paths():
    draws = make_draws(3, "both atoms", seed=4)
    kernel = build_kernel(draws)
    ratio = density_ratios(kernel.mass[:, 0], 0.3)
    found = tilted(kernel, ratio)
    mass, right = paths(kernel, ratio)
    np.testing.assert_allclose(found.mass[0], mass, atol=1e-12)
    np.testing.assert_allclose((found.mass * found.correct)[0], right, atol=1e-12)
    np.testing.assert_array_equal(found.cost, draws.cost)
    for j in (0, 1):
        np.testing.assert_allclose(found.pair[j][0].sum(axis=0), mass[j + 1], atol=1e-12)
        np.testing.assert_allclose(found.pair[j][0].sum(axis=1), mass[j], atol=1e-12)


@pytest.mark.parametrize("calibration", ["logistic", "monotone"])
def test_drift_is_a_weighted_average_of_simulated_queries(calibration):
    """Queries drawn without drift and weighed by the density ratio of their first signal."""
    rng = np.random.default_rng(2)
    draws = make_draws(3, "top atom", seed=3, calibration=calibration)
    thresholds = random_thresholds(draws, 2, rng)
    ratio = density_ratios(draws.mass[:, 0], 0.3)
    found = forward(tilted(build_kernel(draws), ratio), to_positions(thresholds, draws))
    n = 200_000
    confidence, correct = replicate_draw(draws, 0, n, rng)
    weight = ratio[0, draws.margins[0].segment_of(confidence[:, 0])]
    for point, threshold in enumerate(thresholds):
        accepts = confidence >= threshold
        stage = accepts.argmax(axis=1)
        wrong = 1.0 - correct[np.arange(n), stage]
        for value, seen in (
            (found.error[0, point], wrong),
            *((found.reach[0, point, j], stage >= j) for j in (1, 2)),
        ):
            terms = weight * (seen - value)
            assert abs(terms.mean()) < 4 * terms.std() / np.sqrt(n) + 2e-4


def test_the_tilt_goes_where_the_draws_go():
    draws = make_draws(3, n_draws=4)
    ratio = density_ratios(draws.mass[:, 0], 0.25)
    one = make_draws(3, n_draws=4)
    one = replace(one, tilt=ratio)
    kernel, expected = build_kernel(one), tilted(build_kernel(draws), ratio)
    np.testing.assert_allclose(kernel.mass, expected.mass)
    np.testing.assert_allclose(build_kernel(one.take(slice(1, 3))).mass, expected.mass[1:3])
    # later stages run alone see what the drift brings them
    np.testing.assert_allclose(build_kernel(one.restrict([1, 2])).mass, expected.mass[:, 1:], atol=1e-12)
    error, cost = single_stages(one)
    np.testing.assert_allclose(error, 1.0 - (expected.mass * expected.correct).sum(axis=2))
    assert np.all(error > single_stages(draws)[0])
    np.testing.assert_allclose(cost, draws.cost)


def test_what_is_best_given_a_signal_does_not_drift():
    """The best thresholds for a price weigh what follows a signal, which drift leaves alone."""
    kernel = build_kernel(make_draws(4, seed=6))
    prices = np.array([20.0, 60.0, 200.0])
    drifted = tilted(kernel, density_ratios(kernel.mass[:, 0], 0.4))
    before = induce(kernel, prices)
    np.testing.assert_allclose(induce(drifted, prices), before, atol=0.01)  # segments
    assert before[:, :-1].std() > 1.0


# --- other prices -----------------------------------------------------------------------------------------------


def test_repricing_changes_costs_alone(example_fit):
    before = example_fit.copy(deep=True)
    new = reprice(example_fit, {"large": 0.5}, factor={"small": 2.0})
    cost = new["posterior"]["cost"]
    np.testing.assert_allclose(cost.sel(stage="small"), 2.0 * example_fit["posterior"]["cost"].sel(stage="small"))
    np.testing.assert_array_equal(cost.sel(stage="medium"), example_fit["posterior"]["cost"].sel(stage="medium"))
    assert np.all(cost.sel(stage="large") == 0.5)
    draws, old = get_draws(new), get_draws(example_fit)
    np.testing.assert_allclose(draws.cost_sd, [2.0 * old.cost_sd[0], old.cost_sd[1], 0.0])
    assert new.attrs["repriced"] == "large costs 0.5, small costs 2 times as much"
    a, b = bc.evaluate(example_fit, THRESHOLDS), bc.evaluate(new, THRESHOLDS)
    xr.testing.assert_equal(a["error"], b["error"])
    np.testing.assert_allclose(b["cost"], (b["reach"].values * cost.values).sum(axis=-1))
    log = new["observed_data"].to_dataset()
    np.testing.assert_allclose(
        log["cost"].sel(stage="small"), 2.0 * before["observed_data"]["cost"].sel(stage="small")
    )
    assert np.all(log["cost"].sel(stage="large") == 0.5)
    xr.testing.assert_identical(before["posterior"].to_dataset(), example_fit["posterior"].to_dataset())
    xr.testing.assert_identical(before["observed_data"].to_dataset(), example_fit["observed_data"].to_dataset())
    assert "repriced" not in example_fit.attrs


def test_a_factor_for_all_stages_and_its_inverse(example_fit, tmp_path):
    twice = reprice(example_fit, factor=2.0)
    np.testing.assert_allclose(twice["posterior"]["cost"], 2.0 * example_fit["posterior"]["cost"])
    bc.save_fit(twice, tmp_path / "fit.nc")
    back = reprice(bc.load_fit(tmp_path / "fit.nc"), factor=0.5)
    np.testing.assert_allclose(back["posterior"]["cost"], example_fit["posterior"]["cost"])
    assert back.attrs["repriced"].count("; then ") == 1
    solutions = [tune(fit, error_price=price) for fit, price in ((example_fit, 0.01), (twice, 0.02))]
    np.testing.assert_allclose(solutions[1].cost, 2.0 * solutions[0].cost, rtol=1e-3)


@pytest.mark.parametrize(
    ("cost", "factor", "text"),
    [
        (None, None, "none came"),
        ({"huge": 1.0}, None, "names a stage 'huge'; the fit has 'small', 'medium', 'large'"),
        ({"small": 0.0}, None, r"cost\['small'\]=0.0 is not allowed; give a positive"),
        ({"small": float("nan")}, None, r"cost\['small'\]=nan"),
        (None, {"small": -1.0}, r"factor\['small'\]=-1.0"),
        (None, float("inf"), "=inf is not allowed"),
        (0.1, None, "cost=0.1 is not allowed; name stages"),
        ({"small": 1.0}, {"small": 2.0}, "'small' is given a new cost and a factor"),
        ({"small": None}, None, "=nan is not allowed"),
        ({"small": "dear"}, None, "='dear' is not allowed"),
    ],
)
def test_mistakes_in_prices(example_fit, cost, factor, text):
    with pytest.raises(CascadeError, match=text):
        reprice(example_fit, cost, factor=factor)


def test_a_changed_fit_is_not_updated_and_not_checked(example_fit, example_log):
    new = example_log.isel(query=slice(3)).assign_coords(query=[9000, 9001, 9002])
    for changed, word in ((reprice(example_fit, factor=2.0), "repriced"), (drift(example_fit, 0.2), "drift")):
        with pytest.raises(CascadeError, match=f"changed after sampling .{word}"):
            bc.fit(new, previous=changed)
    with pytest.raises(CascadeError, match=r"has drifted by 0\.2, so its log is not of its mix"):
        bc.check(drift(example_fit, 0.2))
    assert bc.check(reprice(example_fit, factor=2.0), thresholds=THRESHOLDS)["cascade"].passed


# --- drifted fits -----------------------------------------------------------------------------------------------


def test_a_drifted_fit_is_a_fit(example_fit, tmp_path):
    before = bc.evaluate(example_fit, THRESHOLDS)
    xr.testing.assert_allclose(bc.evaluate(drift(example_fit, 0.0), THRESHOLDS), before, rtol=1e-9)
    drifted = drift(example_fit, 0.3)
    bc.save_fit(drifted, tmp_path / "fit.nc")
    then = bc.evaluate(bc.load_fit(tmp_path / "fit.nc"), THRESHOLDS)
    assert np.all(then["error"] > before["error"])
    assert np.all(then["reach"][..., 1:] > before["reach"][..., 1:])
    solution = tune(drifted, max_error=0.32)
    assert solution.feasible
    assert float(solution.cost.mean()) > float(tune(example_fit, max_error=0.32).cost.mean())
    assert float(bc.frontier(drifted, n_points=5)["error"][0]) > float(
        bc.frontier(example_fit, n_points=5)["error"][0]
    )
    assert "drift" not in example_fit.attrs


@pytest.mark.parametrize("amount", [1.0, -1.0, float("nan"), "much", None])
def test_a_drift_is_a_fraction(example_fit, amount):
    with pytest.raises(CascadeError, match="is not allowed; give the fraction"):
        drift(example_fit, amount)


def test_drifts_that_cannot_be(example_fit):
    with pytest.raises(CascadeError, match=r"has drifted by 0\.1 already"):
        drift(drift(example_fit, 0.1), 0.1)
    atom = example_fit.copy(deep=True)
    mass = atom["margins"]["segment_mass"]
    mass[:, :, 0, 1:] *= 0.5 / mass[:, :, 0, 1:].sum("segment")
    mass[:, :, 0, 0] = 0.5
    with pytest.raises(CascadeError, match=r"drift of 0.6 is out of reach.*by -0.\d+ to 0.5, both exclusive"):
        drift(atom, 0.6)


# --- the table --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def solution(example_fit):
    return tune(example_fit, max_error=0.32, doubt=0.0)


@pytest.fixture(scope="module")
def found(example_fit, solution):
    return sensitivity(example_fit, solution, price_factors=(2.0,), powers=(0.8,), drifts=(0.25, 0.999))


def test_rows_are_what_evaluate_says(example_fit, solution, found):
    table, thresholds = found.table, solution.thresholds
    assert isinstance(found, Sensitivity)
    first = table.loc[("as tuned", "", 1.0)]
    assert first["kept"] == pytest.approx(solution.kept)
    assert first["cost"] == pytest.approx(float(solution.cost.mean()))
    for stage in ("small", "medium", "large"):
        row = table.loc[("price", stage, 2.0)]
        dearer = reprice(example_fit, factor={stage: 2.0})
        assert row["error"] == pytest.approx(first["error"])
        assert row["cost"] == pytest.approx(float(bc.evaluate(dearer, thresholds)["cost"].mean()))
        assert row["new_loss"] <= row["loss"]
        assert row["lost"] >= 0.0
    row, then = table.loc[("drift", "queries", 0.25)], bc.evaluate(drift(example_fit, 0.25), thresholds)
    assert row["error"] == pytest.approx(float(then["error"].mean()))
    assert row["kept"] == pytest.approx(float((then["error"] <= 0.32).mean()))
    assert np.isnan(row["lost"])  # the old thresholds break the promise
    assert row["new_kept"] >= 0.9
    assert row["moved"] > 0.02


def test_a_solution_tuned_with_doubt_is_judged_with_it(example_fit):
    solution = tune(example_fit, max_error=0.35)
    found = sensitivity(example_fit, solution, price_factors=(), powers=(), drifts=(0.25,), retune=False)
    first, later = found.table.iloc[0], found.table.iloc[1]
    assert first["kept"] == pytest.approx(solution.kept)
    assert first["error"] == pytest.approx(float(solution.error.mean()))
    # by the model alone the promise would look safer than it is
    assert first["kept"] < float((bc.evaluate(example_fit, solution.thresholds)["error"] <= 0.35).mean())
    assert later["kept"] < first["kept"]


def test_powers_are_those_of_importance_weights(example_fit, solution, found):
    likelihood = example_fit["log_likelihood"]["joint"].sum("query")
    weight = np.exp(-0.2 * (likelihood - likelihood.max()))
    error = (solution.error.values * weight.values).sum() / weight.values.sum()
    row = found.table.loc[("likelihood", "", 0.8)]
    assert row["error"] == pytest.approx(error, abs=0.002)
    assert row["error"] != pytest.approx(found.table["error"].iloc[0], abs=1e-6)
    assert ("prior", "", 0.8) in found.table.index


def test_the_drift_at_which_the_promise_breaks(example_fit, solution, found):
    def kept(amount):
        return float((bc.evaluate(drift(example_fit, amount), solution.thresholds)["error"] <= 0.32).mean())

    assert 0.0 < found.breaks < found.even < 1.0
    assert kept(found.breaks) < 0.9 <= kept(max(found.breaks - 0.005, 0.0))
    assert kept(found.even) < 0.5 <= kept(found.even - 0.005)


def test_it_is_said_drawn_and_shown(found):
    for part in (
        "When one stage's price changes, the promise still holds",
        "% harder",
        "more likely broken than kept",
    ):
        assert part in found.text
    assert "A drift of 0.999 is out of reach" in found.text
    assert found.text in repr(found)
    assert "<table" in found._repr_html_()
    ax = found.plot()
    assert ax.get_xlabel().startswith("change of the expected ")
    assert len(ax.get_yticklabels()) == len(found.table) - 1  # a bar for each change
    plt.close(ax.figure)
    assert found.thresholds.shape == (len(found.table), 3)
    assert list(found.thresholds.columns) == ["small", "medium", "large"]


def test_without_a_promise_and_without_tuning_anew(example_fit):
    solution = tune(example_fit, error_price=0.01)
    found = sensitivity(example_fit, solution, price_factors=(), powers=(), drifts=(0.2,), retune=False)
    assert np.isnan(found.breaks)
    assert np.isnan(found.even)
    row = found.table.loc[("drift", "queries", 0.2)]
    assert row["loss"] == pytest.approx(0.01 * row["error"] + row["cost"])
    assert np.isnan(row[["new_error", "new_cost", "new_loss", "lost", "moved"]].astype(float)).all()
    assert "uning again" not in found.text


def test_a_solution_of_some_stages(example_fit):
    solution = tune(example_fit, error_price=0.01, stages=["small", "large"])
    found = sensitivity(example_fit, solution, price_factors=(3.0,), powers=(), drifts=(0.2,))
    assert list(found.thresholds.columns) == ["small", "large"]
    assert found.table.index.get_level_values("of").tolist() == ["", "small", "large", "queries"]
    assert found.table["lost"].iloc[1:].min() >= 0.0
    assert found.table["moved"].iloc[1:3].max() > 0.02


def test_rejecting_thresholds_and_other_stages_drift_too(example_fit):
    """Against the kernels of `evaluate`, which are built from the fit rather than tilted one by one."""
    solution = tune(example_fit, max_error=0.4, stages=["small", "large"])
    below = xr.DataArray([0.02, 0.02], dims="stage", coords={"stage": ["small", "large"]})
    solution = replace(solution, reject=below)
    bound = float(bc.evaluate(example_fit, solution)["error"].quantile(0.95))
    solution = replace(solution, goal={"max_error": bound, "prob": 0.9, "abstain_price": 0.001})
    found = sensitivity(example_fit, solution, price_factors=(), powers=(), drifts=(0.2,), retune=False)
    then = bc.evaluate(drift(example_fit, 0.2), solution)
    row = found.table.loc[("drift", "queries", 0.2)]
    assert row["loss"] == pytest.approx(float(then["cost"].mean() + 0.001 * then["abstained"].mean()))
    fits = [drift(example_fit, found.breaks + shift) for shift in (-0.005, 0.0)]
    at = [float((bc.evaluate(fit, solution)["error"] <= bound).mean()) for fit in fits]
    assert at[1] < 0.9 <= at[0]


@pytest.mark.parametrize("risk", ["cvar", "regret"])
def test_the_worst_draws_and_abstaining(example_fit, risk):
    solution = tune(example_fit, error_price=0.01, abstain_price=0.004, risk=risk, alpha=0.2)
    found = sensitivity(example_fit, solution, price_factors=(), powers=(), drifts=(0.3,))
    draws = get_draws(drift(example_fit, 0.3))
    then = bc.evaluate(drift(example_fit, 0.3), solution)
    loss = (0.01 * then["error"] + then["cost"] + 0.004 * then["abstained"]).values.ravel()
    if risk == "regret":
        loss = loss - optimal_loss(draws, 0.01, 0.004)
    row = found.table.loc[("drift", "queries", 0.3)]
    assert row["loss"] == pytest.approx(np.sort(loss)[-len(loss) // 5 :].mean(), rel=1e-6)
    assert row["lost"] >= 0.0


def test_what_cannot_be_reweighted_is_said(example_fit, solution):
    bare = example_fit.copy()
    del bare["log_likelihood"]
    found = sensitivity(bare, solution, price_factors=(), powers=(0.8,), drifts=(), retune=False)
    assert "The fit holds no log-likelihood" in found.text
    assert len(found.table) == 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"price_factors": (0.0,)}, "a number in price_factors=0.0 is not allowed"),
        ({"powers": (-1.0,)}, "a number in powers=-1.0"),
        ({"drifts": (1.5,)}, "fractions below 1"),
    ],
)
def test_mistakes(example_fit, solution, options, text):
    with pytest.raises(CascadeError, match=text):
        sensitivity(example_fit, solution, **options)
    with pytest.raises(CascadeError, match="give a solution, as tune"):
        sensitivity(example_fit, THRESHOLDS)
