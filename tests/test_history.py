"""Decisions by history: the forward pass against simulation, thresholds against grids, and what comes of them."""

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from hand_made import PATTERNS, make_draws, random_thresholds

from bayescascade import cascade, evaluate, history, score, tune
from bayescascade._curves import history_of, p_correct
from bayescascade.cascade import build_kernel
from bayescascade.cascade import forward as forward_own
from bayescascade.errors import CascadeError
from bayescascade.history import history_frontier
from bayescascade.induction import best_loss, induce, mean_kernel
from bayescascade.policy import Policy
from bayescascade.positions import to_positions
from bayescascade.signals import to_signal
from bayescascade.simulation import replicate_draw
from bayescascade.two_signal_induction import build_scale, induce_history, to_thresholds
from bayescascade.two_signals import build_cells, curves_of, deferred_share, forward, forward_all, to_threshold

INF = float("inf")


def sequential(n_stages, pattern, **options):
    return make_draws(n_stages, pattern, calibration="sequential", **options)


@pytest.fixture
def as_fit(monkeypatch):
    """A stand-in for a fit whose draws are made by hand."""

    def make(draws):
        for module in (history, cascade):
            monkeypatch.setattr(module, "get_draws", lambda fit: draws)
        return SimpleNamespace(attrs={"copula": "gumbel"})

    return make


def decide(curves, kind, confidence, thresholds):
    """Which stage answers each query (query,), and who runs each (query, stage), one stage at a time."""
    n, n_stages = confidence.shape
    at, ran = np.full(n, n_stages - 1), np.ones((n, n_stages), dtype=bool)
    for j in range(n_stages - 2, -1, -1):
        before = confidence[:, j - 1] if j else None
        at[p_correct(curves, j, confidence[:, j], before, kind) >= thresholds[j]] = j
    return at, ran & (np.arange(n_stages) <= at[:, None])


@pytest.mark.parametrize("falls", [False, True])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("n_stages", [2, 4])
def test_forward_is_a_simulation_of_the_chain(n_stages, pattern, falls):
    draws = sequential(n_stages, pattern, seed=4)
    draws = replace(draws, previous=draws.previous * (-1 if falls else 1))
    # the rule is fixed: it need not be what the draw that is simulated would decide by
    curves = curves_of(replace(draws, intercept=draws.intercept + 0.2, previous=0.8 * draws.previous))
    rng = np.random.default_rng(11)
    confidence, correct = replicate_draw(draws, 0, 200_000, rng)
    thresholds = np.full(n_stages, -INF)
    for j in range(n_stages - 1):
        p = p_correct(curves, j, confidence[:, j], confidence[:, j - 1] if j else None, draws.kind)
        thresholds[j] = rng.choice(p[(p > np.quantile(p, 0.2)) & (p < np.quantile(p, 0.9))]) * (1 - 1e-12)
    at, ran = decide(curves, draws.kind, confidence, thresholds)
    wrong = 1.0 - correct[np.arange(len(at)), at]
    out = forward(build_kernel(draws), curves, thresholds[None])
    for got, values in ((out.error, wrong), (out.cost, ran @ draws.cost[0])):
        standard_error = values.std() / np.sqrt(len(values))
        # half a per mille beside the noise: what two signals do within a cell is taken as linear
        assert got.item() == pytest.approx(values.mean(), abs=4 * standard_error + 5e-4 * max(1.0, values.max()))
    share = ran.mean(axis=0)
    np.testing.assert_allclose(out.reach[0, 0], share, atol=4 * 0.5 / np.sqrt(len(at)) + 1e-3)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_without_effect_of_the_signal_before_it_is_own_signal_thresholds(pattern):
    draws = sequential(4, pattern, seed=3, n_draws=3)
    # atoms at the ends go with the ends of P(correct), so that it rises with the signal throughout
    offset = np.zeros_like(draws.offset)
    offset[..., 0], offset[..., 1] = -1.0, 1.0
    draws = replace(draws, previous=0.0 * draws.previous, offset=offset)
    # the rule is that of the first draw; the others are scored by it
    curves = curves_of(draws.take(slice(0, 1)))
    own = random_thresholds(draws, 60, np.random.default_rng(1))
    # beyond the observed range P(correct) is flat, and no threshold on it can tell signals apart
    signal = to_signal(own, draws.kind)
    z = np.stack([(signal[:, j] - curves[j].centre) / curves[j].scale for j in range(3)], axis=1)
    apart = [
        (z[:, j] > c.floor) & (z[:, j] < c.ceiling) | np.isin(signal[:, j], [atom for atom, _ in c.atoms])
        for j, c in enumerate(curves)
    ]
    own = own[np.all(apart, axis=0)]
    assert len(own) > 20
    by_p = np.full_like(own, -INF)
    for j in range(3):
        by_p[:, j] = p_correct(curves, j, own[:, j], own[:, max(j - 1, 0)], draws.kind) * (1 - 1e-12)
    kernel = build_kernel(draws)
    expected, got = forward_own(kernel, to_positions(own, draws)), forward(kernel, curves, by_p)
    # the outermost segment reaches a little beyond the range, where its P(correct) is not straight
    np.testing.assert_allclose(got.error, expected.error, atol=1e-3)
    np.testing.assert_allclose(got.reach, expected.reach, atol=3e-3)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_deferred_shares_of_cells_are_areas(pattern):
    """Of the square cut by a line, against a fine lattice of points in each cell."""
    draws = sequential(3, pattern, seed=2)
    curves = curves_of(draws)
    rng, lattice = np.random.default_rng(5), (np.arange(60) + 0.5) / 60
    for stage in (0, 1):
        cells = build_cells(draws, curves, stage)
        for level in rng.uniform(cells.low.min() - 0.1, (cells.low + cells.rise.sum(axis=0)).max() + 0.1, 5):
            share = deferred_share(cells, np.array([level]))[0]
            u, v = lattice[:, None, None, None], lattice[:, None, None]
            below = cells.low + u * cells.rise[0] + v * cells.rise[1] < level
            np.testing.assert_allclose(share, below.mean(axis=(0, 1)), atol=0.02)


def test_latency_and_cost_are_sums_over_the_stages_run():
    draws = sequential(3, "top atom", seed=4, n_draws=2)
    latency = np.array([[10.0, 50.0, 300.0], [12.0, 40.0, 200.0]])
    draws, curves = replace(draws, latency=latency), curves_of(draws)
    kernel, points = build_kernel(draws), np.array([[INF, INF, -INF], [-INF, INF, -INF], [0.7, 0.75, -INF]])
    out = forward(kernel, curves, points)
    np.testing.assert_allclose(out.cost[:, 0], kernel.cost.sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(out.cost[:, 1], kernel.cost[:, 0], rtol=1e-9)
    assert (out.cost[:, 2] > out.cost[:, 1]).all()
    np.testing.assert_allclose(out.latency, np.einsum("dpj,dj->dp", out.reach, latency))


def grid_of(scales, step=1.0):
    return np.array(list(product(*[np.arange(0.0, scale.top + 1e-9, step) for scale in scales])))


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("n_stages", [2, 3])
def test_backward_induction_is_as_good_as_a_grid(n_stages, pattern):
    draws = sequential(n_stages, pattern, seed=n_stages)
    kernel, curves = mean_kernel(draws), curves_of(draws)
    scales = [build_scale(draws, curves, kernel, j) for j in range(n_stages - 1)]
    prices = np.geomspace(0.02, 2e3, 25) * draws.cost.sum()
    grid = forward(kernel, curves, to_thresholds(scales, grid_of(scales, 0.5 if n_stages == 2 else 1.0)))
    got = forward(kernel, curves, to_thresholds(scales, induce_history(kernel, scales, prices)))
    loss = prices * got.error[0] + got.cost[0]
    best = (prices[:, None] * grid.error[0] + grid.cost[0]).min(axis=1)
    np.testing.assert_array_less(loss, best * (1 + 2e-3))
    # nor does it, or any of the grid, beat the best policy of any kind
    np.testing.assert_array_less(best_loss(kernel, prices)[0] * (1 - 5e-4), np.minimum(loss, best))


def test_history_is_better_than_own_signals_where_signals_before_tell_much():
    """On draws in which they do; by how much it is on real logs, docs/evidence/history.md says."""
    draws = sequential(4, "top atom", seed=6)
    kernel, curves = mean_kernel(draws), curves_of(draws)
    scales = [build_scale(draws, curves, kernel, j) for j in range(3)]
    prices = np.geomspace(2.0, 200.0, 5) * draws.cost.sum()
    points = to_thresholds(scales, induce_history(kernel, scales, prices))
    own = induce(kernel, prices)
    by_history, by_own = forward(kernel, curves, points), forward_own(kernel, own)
    loss, plain = (prices * x.error[0] + x.cost[0] for x in (by_history, by_own))
    assert (loss < 0.99 * plain).all()
    assert (best_loss(kernel, prices)[0] < loss).all()


@pytest.mark.parametrize(("n_stages", "pattern"), [(2, "both atoms"), (3, "top atom"), (3, "discrete")])
def test_tune_is_as_good_as_a_grid(as_fit, n_stages, pattern):
    draws = sequential(n_stages, pattern, n_draws=200, seed=6)
    fit, curves = as_fit(draws), curves_of(draws)
    scales = [build_scale(draws, curves, mean_kernel(draws), j) for j in range(n_stages - 1)]
    points = grid_of(scales, 0.25 if n_stages == 2 else 2.0 if pattern == "top atom" else 1.0)
    grid = forward_all(draws, curves, to_thresholds(scales, points))
    error, cost = grid.error, grid.cost
    low, high = (np.quantile(error, 0.9, axis=0).min(), np.quantile(error, 0.9, axis=0).max())
    dear = draws.cost.sum(axis=1).mean()
    goals = [{"error_price": 5 * dear}, {"error_price": 40 * dear}]
    goals += [{"max_error": low + share * (high - low)} for share in (0.1, 0.5)] + [{"max_cost": 0.5 * dear}]
    for goal in goals:
        solution = tune(fit, policy="history", doubt=0.0, **goal)
        assert solution.feasible, goal
        if "error_price" in goal:
            got = float(goal["error_price"] * solution.error.mean() + solution.cost.mean())
            best = (goal["error_price"] * error + cost).mean(axis=0).min()
        else:
            wanted, bounded, bound = (
                (cost, error, goal["max_error"]) if "max_error" in goal else (error, cost, goal["max_cost"])
            )
            keeps = np.mean(bounded <= bound, axis=0) >= 0.9
            best = wanted.mean(axis=0)[keeps].min()
            got = float((solution.cost if "max_error" in goal else solution.error).mean())
            name = "error" if "max_error" in goal else "cost"
            assert solution.kept == pytest.approx(float((getattr(solution, name) <= bound).mean()))
            assert solution.kept >= 0.9
        # a quantile of 200 draws moves in steps, of which a grid finds a lucky one
        assert got <= best * (1 + 5e-3), goal


def test_tune_knows_goals_of_every_kind(as_fit):
    draws = sequential(3, "top atom", n_draws=60, seed=6)
    draws = replace(draws, latency=np.tile([10.0, 50.0, 300.0], (60, 1)), cost_sd=0.3 * draws.cost.mean(axis=0))
    fit, dear = as_fit(draws), float(draws.cost.sum(axis=1).mean())
    plain = tune(fit, policy="history", doubt=0.0, error_price=40 * dear)
    slow = tune(fit, policy="history", doubt=0.0, error_price=40 * dear, latency_price=0.1 * dear)
    assert float(slow.latency.mean()) < float(plain.latency.mean())
    assert (tune(fit, policy="history", doubt=0.0, max_latency=100.0).latency <= 100.0).mean() >= 0.9
    bound = float(plain.error.quantile(0.9)) + 0.02
    long_run, batch = (
        tune(fit, policy="history", doubt=0.0, max_error=bound),
        tune(fit, policy="history", doubt=0.0, max_error=bound, batch=200),
    )
    assert float(batch.cost.mean()) > float(long_run.cost.mean())
    worst = tune(fit, policy="history", doubt=0.0, error_price=40 * dear, risk="cvar", alpha=0.1)

    def tail(loss):
        return np.sort(loss, axis=0)[-6:].mean(axis=0)

    got = tail((40 * dear * worst.error + worst.cost).values.ravel())
    scales = [build_scale(draws, curves_of(draws), mean_kernel(draws), j) for j in range(2)]
    grid = forward_all(draws, curves_of(draws), to_thresholds(scales, grid_of(scales, 3.0)))
    assert got <= tail(40 * dear * grid.error + grid.cost).min() * (1 + 2e-3)
    assert tune(fit, policy="history", doubt=0.0, error_price=40 * dear, risk="regret").feasible
    hopeless = tune(fit, policy="history", doubt=0.0, max_error=1e-3)
    assert not hopeless.feasible
    assert "The lowest error that can be promised with probability 0.9 is" in hopeless.text
    with pytest.raises(CascadeError, match="no policy was made: Infeasible"):
        hopeless.to_policy()


def test_a_solution_becomes_a_policy_that_decides_as_it_was_evaluated(as_fit, tmp_path):
    draws = sequential(3, "both atoms", n_draws=50, seed=6)
    fit = as_fit(draws)
    solution = tune(fit, policy="history", doubt=0.0, error_price=300.0)
    assert solution.history == curves_of(draws)
    assert "Thresholds are on P(correct) given" in solution.text
    assert "threshold on P(correct)" in repr(solution)
    assert "threshold on P(correct)" in solution._repr_html_()
    assert 0.0 < float(solution.thresholds[0]) < 1.0
    solution.to_policy(tmp_path / "policy.json")
    policy = Policy.load(tmp_path / "policy.json")
    assert policy.history == solution.history
    for given in (solution, solution.thresholds, policy):
        found = evaluate(fit, given)
        for name in ("error", "cost", "reach"):
            np.testing.assert_allclose(found[name], getattr(solution, name), atol=1e-12)
    # a log as the first draw makes them, with atoms: the policy one query at a time, and the score of all
    confidence, correct = replicate_draw(draws, 0, 400, np.random.default_rng(1))
    at, ran = decide(policy.history, draws.kind, confidence, policy.thresholds)
    assert len(np.unique(at)) == 3
    for i, row in enumerate(confidence):
        decisions = [policy.run(row[: j + 1]) for j in range(at[i] + 1)]
        assert decisions == ["defer"] * at[i] + ["accept"]
    dims = ("query", "stage")
    log = xr.Dataset(
        {"confidence": (dims, confidence), "correct": (dims, correct), "cost": (dims, np.ones_like(correct))},
        coords={"query": np.arange(400), "stage": draws.stages},
        attrs={"confidence_kind": draws.kind},
    )
    for given in (solution, solution.thresholds, policy):
        np.testing.assert_allclose(score(log, given)["reach"], ran.mean(axis=0))


def test_atoms_are_accepted_at_their_own_p_correct(as_fit):
    """A threshold that is put on an atom accepts it in the model and at run time alike."""
    draws = sequential(3, "discrete", seed=6)
    curves = curves_of(draws)
    cells = build_cells(draws, curves, 1)
    kernel, margins = build_kernel(draws), draws.margins
    for s, t in ((0, 3), (2, 2), (4, 1)):
        threshold = float(to_threshold(cells.low[s, t]))
        policy = Policy(draws.stages, [INF, threshold, -INF], draws.kind, history=curves)
        confidence = [margins[0].low[s], margins[1].low[t]]
        assert policy.run(confidence) == "accept"
        # nothing else is as likely to be right and no more
        accepted = cells.low >= cells.low[s, t]
        reach = forward(kernel, curves, np.array([policy.thresholds])).reach[0, 0, 2]
        assert reach == pytest.approx(1.0 - kernel.pair[0][0][accepted].sum(), abs=1e-12)


def test_frontier_says_what_evaluate_says(as_fit):
    draws = sequential(3, "top atom", n_draws=60, seed=6)
    fit = as_fit(draws)
    curve = history_frontier(fit, n_points=15, ci_prob=0.8)
    assert curve.attrs["ci_prob"] == 0.8
    assert history_of(curve["threshold"], 3) == curves_of(draws)
    out = evaluate(fit, curve["threshold"])
    for name in ("error", "cost"):
        np.testing.assert_allclose(out[name].mean(("chain", "draw")), curve[name], rtol=1e-9)
        band = out[name].quantile([0.1, 0.9], dim=("chain", "draw"))
        np.testing.assert_allclose(band[0], curve[f"{name}_low"], rtol=1e-9)
        np.testing.assert_allclose(band[1], curve[f"{name}_high"], rtol=1e-9)
    assert (np.diff(curve["cost"]) > 0).all()
    best = int(curve["error"].values.argmin())
    assert (np.diff(curve["error"][: best + 1]) < 0).all()
    np.testing.assert_allclose(curve["reach"][[0, -1]], [[1, 0, 0], [1, 1, 1]], atol=1e-9)
    spread = [history_frontier(fit, n_points=5, batch=m) for m in (None, 50)]
    wide = [(c["error_high"] - c["error_low"]).values for c in spread]
    assert (wide[1] > wide[0]).all()


def test_fits_without_a_sequential_calibration_are_refused(as_fit):
    fit = as_fit(make_draws(3, "no atoms", n_draws=5))
    for ask in (lambda: tune(fit, policy="history", doubt=0.0, max_error=0.3), lambda: history_frontier(fit)):
        with pytest.raises(CascadeError, match="fit again with calibration='sequential'"):
            ask()


def test_what_history_cannot_be_asked(as_fit):
    draws = sequential(3, "no atoms", n_draws=5)
    fit = as_fit(draws)
    for options in ({"n_points": 1}, {"ci_prob": 1.0}, {"batch": 0}):
        with pytest.raises(CascadeError, match=next(iter(options))):
            history_frontier(fit, **options)
    with pytest.raises(CascadeError, match="no goal came"):
        tune(fit, policy="history", doubt=0.0)
    with pytest.raises(CascadeError, match="max_latency needs the latency of every stage"):
        tune(fit, policy="history", doubt=0.0, max_latency=1.0)
    curve = history_frontier(fit, n_points=3)["threshold"]
    with pytest.raises(CascadeError, match="factorisation='published' does not cover"):
        evaluate(fit, curve, factorisation="published")
    policy = Policy(["s0", "s2"], [0.7, -INF], draws.kind, history=curves_of(draws)[:1])
    with pytest.raises(
        CascadeError, match=r"by history on the stages \['s0', 's2'\].*fit the log with these stages"
    ):
        evaluate(fit, policy)
    # where only raw thresholds will do, probabilities are not taken for them
    with pytest.raises(CascadeError, match="these thresholds are on P"):
        cascade.to_rows_of(curve, draws)
