"""The published method: its factorisation against closed forms and simulation, and its point estimate."""

import numpy as np
import pytest
import xarray as xr
from hand_made import make_draws, random_thresholds, signals_at

import bayescascade as bc
from bayescascade.cascade import build_kernel, evaluate, forward, forward_all, published
from bayescascade.draws import get_draws
from bayescascade.errors import CascadeError
from bayescascade.frontiers import frontier, polished, sweep
from bayescascade.margin_models import get_margin_model
from bayescascade.model import build_model
from bayescascade.positions import to_positions
from bayescascade.published import check_factorisation
from bayescascade.simulation import draw_uniforms
from bayescascade.tuning import tune
from bayescascade.whatif import drift

THRESHOLDS = [0.8, 0.7, -np.inf]


def gumbel(u, v, tau):
    """C(u, v), written again for the tests."""
    u, v = np.broadcast_arrays(u, v)
    out = np.zeros(u.shape)
    inside = (u > 0) & (v > 0)
    theta = 1.0 / (1.0 - tau)
    total = (-np.log(u[inside])) ** theta + (-np.log(v[inside])) ** theta
    out[inside] = np.exp(-(total ** (1.0 / theta)))
    return out


def at_ends(draws, n_points, seed):
    """Positions at ends of segments, where thresholds cut none (point, stage)."""
    rng = np.random.default_rng(seed)
    out = rng.integers(1, [len(m.low) for m in draws.margins], size=(n_points, len(draws.stages))).astype(float)
    out[:, -1] = 0.0
    return out


@pytest.mark.parametrize("pattern", ["no atoms", "both atoms", "discrete"])
def test_with_two_stages_it_is_exact(pattern):
    draws = make_draws(2, pattern, n_draws=3)
    positions = at_ends(draws, 8, 1)
    exact, found = forward(build_kernel(draws), positions), published(draws, positions)
    for a, b in zip(exact[:3], found[:3], strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("pattern", ["no atoms", "top atom"])
def test_with_three_stages_it_is_the_closed_form(pattern):
    draws = make_draws(3, pattern, seed=2)
    positions = np.concatenate(
        [at_ends(draws, 5, 3), to_positions(random_thresholds(draws, 5, np.random.default_rng(4)), draws)]
    )
    found = published(draws, positions)
    edge, phi, tau = draws.edges()[0], draws.segment_correct()[0], draws.tau[0]
    for point, (x, y, _) in enumerate(positions):
        cuts, correct = [], phi.copy()
        for j, position in enumerate((x, y)):
            s = int(position)
            cuts.append(edge[j, s] + (position - s) * (edge[j, s + 1] - edge[j, s]))
            low, high = draws.margins[j].low[s], draws.margins[j].high[s]
            correct[j, s] = draws.mean_correct(j, low + (position - s) * (high - low), high)[0]
        u, v = cuts
        second = gumbel(u, v, tau[0])  # P(both defer); the first stage defers a share of u
        share = [np.diff(np.maximum(edge[0], u)), np.diff(gumbel(u, np.maximum(edge[1], v), tau[0]))]
        share.append(second * np.diff(gumbel(v, edge[2], tau[1])) / v)
        right = sum(part @ correct[j] for j, part in enumerate(share))
        assert found.error[0, point] == pytest.approx(1.0 - right, abs=1e-12)
        np.testing.assert_allclose(found.reach[0, point], [1.0, u, second], atol=1e-12)
        assert found.cost[0, point] == pytest.approx(draws.cost[0] @ [1.0, u, second], rel=1e-12)


@pytest.mark.parametrize("n_stages", [3, 4])
def test_it_is_biased_where_the_recursion_is_not(n_stages):
    """Simulated chains side with the exact recursion."""
    rng = np.random.default_rng(5)
    draws = make_draws(n_stages, seed=1)
    draws.tau[:] = 0.6
    draws.slope[:] = 2.0
    # what the first stage defers is a selection that the second's event says little of
    positions = np.array([[len(m.low) * 0.7 for m in draws.margins]]).round()
    positions[:, 0] = np.round(0.3 * len(draws.margins[0].low))
    positions[:, -1] = 0.0
    exact, found = forward(build_kernel(draws), positions), published(draws, positions)
    n = 400_000
    u = draw_uniforms([draws.link(j) for j in range(n_stages - 1)], n, rng)
    cut = np.array([draws.edges()[0, j, int(positions[0, j])] for j in range(n_stages)])
    stage = (u > cut).argmax(axis=1)
    signal = np.stack([signals_at(draws, j, u[:, j]) for j in range(n_stages)], axis=1)
    p = np.stack([draws.p_correct(j, signal[:, j])[0] for j in range(n_stages)], axis=1)
    wrong = 1.0 - p[np.arange(n), stage]
    noise = wrong.std() / np.sqrt(n)
    assert abs(wrong.mean() - exact.error[0, 0]) < 4 * noise + 2e-4
    assert abs(wrong.mean() - found.error[0, 0]) > 10 * noise
    last = (stage == n_stages - 1).mean()
    noise = np.sqrt(last * (1 - last) / n)
    assert abs(last - exact.reach[0, 0, -1]) < 4 * noise + 2e-4
    if n_stages > 3:  # with three, reach is P(both defer), which needs no more than one link
        assert abs(last - found.reach[0, 0, -1]) > 10 * noise


def test_evaluate_and_frontier_take_it(example_fit):
    exact, found = (evaluate(example_fit, THRESHOLDS, factorisation=f) for f in ("exact", "published"))
    xr.testing.assert_allclose(found["reach"], exact["reach"], atol=1e-3)
    assert float(abs(found["error"] - exact["error"]).max()) > 1e-3
    xr.testing.assert_equal(evaluate(example_fit, THRESHOLDS), exact)
    curve = frontier(example_fit, n_points=6, factorisation="published")
    again = evaluate(example_fit, curve["threshold"], factorisation="published")
    np.testing.assert_allclose(curve["error"], again["error"].mean(("chain", "draw")), atol=1e-9)
    assert np.all(np.diff(curve["cost"]) >= 0)
    assert float(abs(curve["threshold"] - frontier(example_fit, n_points=6)["threshold"])[1:-1, 0].max()) > 1e-4


@pytest.mark.parametrize("factorisation", ["published", "exact"])
def test_polished_points_have_less_loss_than_a_grid(factorisation):
    draws = make_draws(3, seed=7, n_draws=2)
    prices = np.array([30.0, 100.0, 0.0])
    points, _ = sweep(draws, 5)
    found = polished(draws, points[[2, 2, 2]], prices, factorisation)
    np.testing.assert_array_equal(found[2], points[2])
    steps = [np.arange(len(m.low) + 1.0) for m in draws.margins[:2]]
    grid = np.stack([*(a.ravel() for a in np.meshgrid(*steps)), np.zeros(len(steps[0]) * len(steps[1]))], axis=1)
    for i in (0, 1):
        loss = [
            prices[i] * out.error.mean(axis=0) + out.cost.mean(axis=0)
            for out in (forward_all(draws, rows, factorisation=factorisation) for rows in (grid, found))
        ]
        assert loss[1][i] <= loss[0].min() + 1e-3


def test_what_it_does_not_cover():
    draws = make_draws(3, calibration="sequential")
    with pytest.raises(CascadeError, match=r"does not cover .*calibration='sequential'"):
        check_factorisation("published", draws)
    check_factorisation("exact", draws)


def test_mistakes(example_fit):
    for run in (
        lambda name: evaluate(example_fit, THRESHOLDS, factorisation=name),
        lambda name: frontier(example_fit, factorisation=name),
    ):
        with pytest.raises(CascadeError, match="'markov' is not known; choose one of 'exact', 'published'"):
            run("markov")
    draws = get_draws(example_fit)
    for other, rows, text in (
        (draws.restrict([0, 2]), None, "a part of the stages"),
        (get_draws(drift(example_fit, 0.1)), None, "a drifted mix"),
        (draws, np.zeros((1, 6)), "rejecting thresholds"),
    ):
        with pytest.raises(CascadeError, match=f"does not cover {text}"):
            check_factorisation("published", other, rows)


# --- the point estimate -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def point(example_log):
    log = example_log.assign(latency=1e3 * example_log["cost"])
    return bc.fit(log, margin="beta_mixture", method="map", progressbar=False)


def test_it_is_one_draw_with_what_the_log_shows(point, example_log):
    assert dict(point["posterior"]["tau"].sizes) == {"chain": 1, "draw": 1, "link": 2}
    assert point.attrs["method"] == "map"
    assert point.attrs["converged"] == 1
    np.testing.assert_allclose(point["posterior"]["cost"].values[0, 0], example_log["cost"].mean("query"))
    np.testing.assert_allclose(point["posterior"]["latency"].values[0, 0], 1e3 * example_log["cost"].mean("query"))
    again = bc.fit(example_log, margin="beta_mixture", method="map", progressbar=False, random_seed=99)
    np.testing.assert_allclose(again["margins"]["segment_mass"], point["margins"]["segment_mass"], atol=1e-9)


def test_nothing_near_it_is_more_probable(point, example_log):
    """Density on the variables' own scale, without Jacobians, at random steps away."""
    model = build_model(example_log, margin="beta_mixture")
    density = model.compile_logp(jacobian=False)
    posterior = point["posterior"].to_dataset().isel(chain=0, draw=0)
    values, start = {}, model.initial_point()
    for rv in model.free_RVs:
        value, transform = model.rvs_to_values[rv], model.rvs_to_transforms[rv]
        if rv.name == "cost_t":
            x = np.zeros_like(start[value.name])
        else:
            x = posterior["tau" if rv.name == "tau_share" else rv.name].values
        values[value.name] = x if transform is None else transform.forward(x, *rv.owner.inputs).eval()
    rng = np.random.default_rng(1)
    best = float(density(values))
    for scale in (0.003, 0.03):
        for _ in range(20):
            moved = {name: x + scale * rng.normal(size=np.shape(x)) for name, x in values.items()}
            assert float(density(moved)) < best + 1e-4


def test_everything_takes_it_and_says_so(point, tmp_path):
    bc.save_fit(point, tmp_path / "fit.nc")
    fit = bc.load_fit(tmp_path / "fit.nc")
    solution = tune(fit, max_error=0.3)
    assert "point estimate: it has no uncertainty" in solution.text
    assert solution.feasible
    assert solution.kept == 1.0
    curve = frontier(fit, n_points=4, factorisation="published")
    np.testing.assert_array_equal(curve["error_low"], curve["error_high"])
    assert evaluate(fit, THRESHOLDS)["error"].shape == (1, 1)
    checks = bc.check(fit, thresholds=THRESHOLDS)
    for name in ("convergence", "sensitivity", "loo"):
        assert checks[name].passed is None
        assert "point estimate" in checks[name].text
    assert checks["cascade"].passed
    assert checks["margins"].passed is not None


def test_mistakes_with_point_estimates(point, example_log):
    new = example_log.isel(query=slice(2)).assign_coords(query=[9000, 9001])
    for options, text in (
        ({"method": "vi"}, "method='vi' is not known; choose one of 'nuts', 'map'"),
        ({"method": "map", "copula": "auto"}, "copula='auto' compares families by draws"),
        ({"method": "map", "previous": point}, "method='map' cannot go with previous"),
    ):
        with pytest.raises(CascadeError, match=text):
            bc.fit(example_log, progressbar=False, **options)
    with pytest.raises(CascadeError, match="a point estimate has no draws to update"):
        bc.fit(new, previous=point, progressbar=False)


def test_shares_without_a_generator_are_those_of_the_counts():
    draws = make_draws(2, "both atoms")
    model = get_margin_model("empirical")
    mass = model.segment_masses({}, draws.margins, 1, None)
    for j, margin in enumerate(draws.margins):
        np.testing.assert_allclose(mass[0, j, : len(margin.low)], margin.count / margin.count.sum())
