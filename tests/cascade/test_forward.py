"""The forward recursion against simulation and finer grids, and its empirical counterpart against a plain loop."""

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from helpers.draws import (
    PATTERNS,
    draws_around,
    gumbel_conditional,
    make_draws,
    random_thresholds,
    redraw_atoms,
    refine,
    signals_at,
)
from helpers.simulation import run_cascade

import bayescascade
from bayescascade.cascade.empirical import score
from bayescascade.cascade.evaluate import evaluate_draws, forward_all
from bayescascade.cascade.forward import forward
from bayescascade.cascade.positions import to_positions, to_thresholds
from bayescascade.cascade.rules import DecisionRule
from bayescascade.errors import CascadeError
from bayescascade.model.simulate import simulate
from bayescascade.posterior.kernel import build_kernel
from bayescascade.posterior.replicate import replicate_draw
from bayescascade.signals.kinds import KINDS, to_signal

INF = float("inf")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_evaluate_is_a_simulation_of_the_draw(pattern):
    draws = make_draws(3, pattern, seed=4)
    rng = np.random.default_rng(11)
    thresholds = random_thresholds(draws, 1, rng)[0]
    confidence, correct = replicate_draw(draws, 0, 200_000, rng)
    wrong, spent, ran = run_cascade(confidence, correct, draws.cost[0], thresholds)
    out = evaluate_draws(draws, thresholds)
    for got, values in ((out["error"], wrong), (out["cost"], spent)):
        standard_error = values.std() / np.sqrt(len(values))
        assert float(got.squeeze()) == pytest.approx(values.mean(), abs=4 * standard_error)
    for j in range(3):
        share = np.mean(ran > j)
        standard_error = np.sqrt(share * (1 - share) / len(ran))
        assert float(out["reach"].squeeze()[j]) == pytest.approx(share, abs=4 * standard_error + 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("n_stages", [2, 3, 4, 5])
def test_evaluate_is_within_a_thousandth_of_ten_million_queries(n_stages, pattern):
    draws = make_draws(n_stages, pattern, seed=n_stages)
    rng = np.random.default_rng(100 + n_stages)
    thresholds = random_thresholds(draws, 4, rng)
    cut = to_signal(thresholds, draws.kind)
    total = np.zeros((len(thresholds), n_stages + 1))
    for _ in range(20):
        u = rng.uniform(size=500_000)
        going = np.ones((len(thresholds), len(u)), dtype=bool)
        for j in range(n_stages):
            if j > 0:
                known = redraw_atoms(draws, j - 1, u, rng)
                u = gumbel_conditional(rng.uniform(size=len(u)), known, draws.tau[0, j - 1])
            signal = signals_at(draws, j, u)
            # the probability in place of a coin: what is averaged has the same mean and less noise
            wrong = 1.0 - draws.p_correct(j, signal)[0]
            for point in range(len(thresholds)):
                total[point, j] += going[point].sum()
                accept = going[point] & (signal >= cut[point, j])
                total[point, -1] += wrong[accept].sum()
                going[point] &= ~accept
    total /= 20 * 500_000
    out = evaluate_draws(draws, thresholds).squeeze()
    np.testing.assert_allclose(out["error"], total[:, -1], atol=1e-3)
    np.testing.assert_allclose(out["reach"], total[:, :-1], atol=1e-3)
    np.testing.assert_allclose(out["cost"], total[:, :-1] @ draws.cost[0], atol=1e-3 * draws.cost.sum())


def test_replicates_are_markov_in_their_signals():
    """Given an atom at the middle stage, the last stage knows nothing of the first."""
    draws = make_draws(3, "both atoms", seed=3)
    draws.tau[:] = 0.8
    confidence, _ = replicate_draw(draws, 0, 100_000, np.random.default_rng(1))
    check_markov_given_top(confidence)


def test_simulated_logs_are_markov_in_their_signals():
    log = simulate(100_000, n_stages=3, tau=0.8, top_atom=0.5, confidence_kind="score", random_seed=1)
    check_markov_given_top(log["confidence"].values)


def check_markov_given_top(confidence):
    atom = confidence[:, 1] == confidence[:, 1].max()
    assert atom.sum() > 10_000
    before, after = confidence[atom, 0], confidence[atom, 2] == confidence[:, 2].max()
    high = before == before.max()
    share = [after[high].mean(), after[~high].mean()]
    standard_error = np.sqrt(sum(p * (1 - p) / n for p, n in zip(share, (high.sum(), (~high).sum()), strict=True)))
    assert abs(share[0] - share[1]) < 4 * standard_error


@pytest.mark.parametrize("pattern", ["no atoms", "top atom", "both atoms"])
@pytest.mark.parametrize("n_stages", [2, 3, 5])
def test_error_of_the_grid_falls_with_its_square(n_stages, pattern):
    draws = make_draws(n_stages, pattern, seed=2)
    thresholds = random_thresholds(draws, 100, np.random.default_rng(8))
    out = {}
    for parts in (1, 2, 4, 8, 16):
        fine = refine(draws, parts)
        error, _, reach, *_ = forward(build_kernel(fine), to_positions(thresholds, fine))
        out[parts] = np.concatenate([error[..., None], reach], axis=2)
    off = [np.abs(out[parts] - out[16]).max() for parts in (1, 2, 4, 8)]
    # measured: 2.8 to 7 for each doubling, about 4; the first grid has some 32 segments
    assert off[0] < 1e-3
    for coarse, fine in pairwise(off):
        assert coarse / fine > 2.5
    assert off[0] / off[3] > 40


def test_discrete_margins_need_no_grid():
    draws = make_draws(4, "discrete")
    assert all(m.is_atom.all() for m in draws.margins)
    thresholds = np.array([[3 / 6, 5 / 6, 2 / 6, -INF]])
    error, _, reach, *_ = forward(build_kernel(draws), to_positions(thresholds, draws))
    # sum over all the paths that defer, one vote share after the other
    p, pair = draws.mass[0], build_kernel(draws).pair
    right, reached = 0.0, np.zeros(4)
    paths = [((), 1.0)]
    for j in range(4):
        longer = [
            ((*values, s), chance * (p[0, s] if j == 0 else pair[j - 1][0, values[-1], s] / p[j - 1, values[-1]]))
            for values, chance in paths
            for s in range(len(draws.margins[j].low))
        ]
        reached[j] = sum(chance for _, chance in longer)
        stays = [draws.margins[j].low[v[-1]] >= thresholds[0, j] for v, _ in longer]
        right += sum(
            chance * draws.p_correct(j, draws.margins[j].low[v[-1]])[0]
            for (v, chance), accepted in zip(longer, stays, strict=True)
            if accepted
        )
        paths = [path for path, accepted in zip(longer, stays, strict=True) if not accepted]
    np.testing.assert_allclose(reach[0, 0], reached, atol=1e-12)
    assert error[0, 0] == pytest.approx(1.0 - right, abs=1e-12)


def test_accept_all_and_defer_all():
    draws = make_draws(3, "top atom", n_draws=5)
    out = evaluate_draws(draws, [[-INF, -INF, -INF], [INF, -INF, -INF], [INF, INF, -INF]])
    np.testing.assert_allclose(out["reach"].isel(chain=0, draw=0), [[1, 0, 0], [1, 1, 0], [1, 1, 1]], atol=1e-12)
    total = np.cumsum(draws.cost, axis=1)
    np.testing.assert_allclose(out["cost"].isel(chain=0), total)
    alone = 1.0 - np.einsum("djs,djs->dj", draws.mass, draws.segment_correct())
    np.testing.assert_allclose(out["error"].isel(chain=0), alone, atol=1e-12)


def test_evaluate_keeps_the_shape_of_what_it_is_given():
    draws = make_draws(3, n_draws=6)
    one = evaluate_draws(draws, [0.3, 0.1, -INF])
    assert dict(one.sizes) == {"chain": 1, "draw": 6, "stage": 3}
    many = evaluate_draws(draws, xr.DataArray([[0.3], [0.1], [-INF]], dims=("stage", "point")))
    assert dict(many.sizes) == {"chain": 1, "draw": 6, "point": 1, "stage": 3}
    xr.testing.assert_identical(one, many.isel(point=0))


def test_blocks_of_draws_change_nothing():
    draws = make_draws(3, "both atoms", n_draws=300)
    positions = to_positions(random_thresholds(draws, 3, np.random.default_rng(1)), draws)
    for whole, parts in zip(
        forward(build_kernel(draws), positions)[:3], forward_all(draws, positions)[:3], strict=True
    ):
        np.testing.assert_allclose(whole, parts, atol=1e-13)


def test_raising_a_threshold_defers_more():
    draws = make_draws(3, "top atom", n_draws=20)
    levels = np.linspace(0, len(draws.margins[0].low), 60)
    positions = np.column_stack([levels, np.full(60, 9.3), np.zeros(60)])
    _, cost, reach, *_ = forward(build_kernel(draws), positions)
    assert (np.diff(reach[..., 1], axis=1) >= -1e-12).all()
    assert (np.diff(cost, axis=1) >= -1e-12).all()


ATOMS = {
    "votes": np.arange(1, 7) / 6,
    "probability": np.array([0.5, 0.8, 0.9, 0.95, 1.0]),
    "logprob": np.array([-1.5, -0.4, -1e-3, 0.0]),
    "p_true": np.array([-2.5, -0.6, -0.02, 0.0]),
    "margin": np.array([0.0, 0.25, 0.7, 1.0]),
    "score": np.array([-3.0, 0.0, 0.1, 12.0]),
}


@pytest.mark.parametrize("kind", sorted(ATOMS))
def test_thresholds_on_atoms_mean_the_same_on_a_log_and_under_a_draw(kind):
    rng = np.random.default_rng(5)
    atoms = ATOMS[kind]
    confidence = rng.choice(atoms, (200, 2))
    draws = draws_around(to_signal(confidence, kind), kind, rng, bootstrap=False)
    log = as_log(confidence, np.ones_like(confidence), kind, draws.stages)
    # a little off the atom; by less than this the transform of a log-probability cannot tell values apart
    near = np.concatenate([atoms, atoms * (1 + 1e-12), atoms * (1 - 1e-12)])
    thresholds = np.column_stack([near, np.full(len(near), -INF)])
    share = score(log, thresholds)["reach"].values
    np.testing.assert_allclose(evaluate_draws(draws, thresholds)["reach"].values[0, 0], share, atol=1e-12)


def as_log(confidence, correct, kind="score", stages=("s0", "s1", "s2"), cost=None):
    dims = ("query", "stage")
    cost = np.ones_like(confidence) if cost is None else cost
    return xr.Dataset(
        {"confidence": (dims, confidence), "correct": (dims, correct), "cost": (dims, cost)},
        coords={"query": np.arange(len(confidence)), "stage": list(stages)},
        attrs={"confidence_kind": kind},
    )


@pytest.mark.parametrize("pattern", PATTERNS)
def test_positions_and_thresholds_round_trip(pattern):
    draws = make_draws(3, pattern)
    rng = np.random.default_rng(2)
    thresholds = random_thresholds(draws, 200, rng)
    positions = to_positions(thresholds, draws)
    np.testing.assert_allclose(to_positions(to_thresholds(positions, draws), draws), positions, atol=1e-9)
    ends = np.array([[0.0] * 3, [float(len(m.low)) for m in draws.margins]])
    np.testing.assert_array_equal(to_thresholds(ends, draws), [[-INF] * 3, [INF] * 3])
    np.testing.assert_array_equal(to_positions(to_thresholds(ends, draws), draws), ends)
    back = to_thresholds(positions, draws)
    for j, margin in enumerate(draws.margins[:-1]):
        free = ~np.isin(to_signal(thresholds[:, j], draws.kind), margin.low[margin.is_atom])
        np.testing.assert_allclose(back[free, j], thresholds[free, j], rtol=1e-9)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "votes"])
def test_every_edge_of_a_segment_can_be_realised(kind):
    """Also beside an atom whose value is where the next interval starts: such a threshold defers the atom."""
    rng = np.random.default_rng(6)
    positive = kind in ("logprob", "margin", "logprob_gap")
    signal = rng.exponential(size=(285, 2)) if positive else rng.logistic(size=(285, 2))
    value = {"logprob": -0.5, "log_likelihood": -0.5, "p_true": -0.5, "percent": 40.0}.get(kind, 0.4)
    atom = float(to_signal(value, kind))
    signal[rng.uniform(size=285) < 0.25, 0] = atom
    signal[signal[:, 1] < 0.3, 1] = 0.3
    draws = draws_around(signal, kind, rng)
    assert all(m.is_atom.any() for m in draws.margins)
    for j, margin in enumerate(draws.margins):
        positions = np.zeros((len(margin.low) + 1, 2))
        positions[:, j] = np.arange(len(margin.low) + 1)
        back = to_positions(to_thresholds(positions, draws), draws)
        np.testing.assert_allclose(back, positions, atol=1e-6)


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ([0.5, -INF], r"shape \(2,\); give one for each of the 3 stages"),
        ([[0.5, -INF]], r"shape \(1, 2\)"),
        (0.5, r"shape \(\)"),
        ([0.5, np.nan, -INF], r"threshold nan of stage '.*or -inf"),
        ([0.5, 0.5, 0.2], r"last stage \('.*'\) always accepts.*should be -inf but is 0.2"),
        (xr.DataArray([0.5, 0.5, -INF], dims="stage", coords={"stage": ["a", "b", "c"]}), r"\['a', 'b', 'c'\]"),
    ],
)
def test_thresholds_that_cannot_be_are_refused(thresholds, message):
    log = simulate(20, n_stages=3, random_seed=6)
    with pytest.raises(CascadeError, match=message):
        score(log, thresholds)
    with pytest.raises(CascadeError, match=message):
        DecisionRule.from_any(thresholds, list(log["stage"].values), "probability")


def test_thresholds_come_as_a_solution_or_a_policy_too(example_fit, example_log):
    solution = bayescascade.tune(example_fit, error_price=0.01)
    plain = bayescascade.score(example_log, solution.thresholds)
    for given in (solution, solution.to_policy()):
        assert bayescascade.score(example_log, given)[list(plain.data_vars)].equals(plain)
        assert bayescascade.evaluate(example_fit, given)["error"].dims == ("chain", "draw")


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"small": 0.9}, "thresholds came as dict"),
        ([80.0, 0.9, -INF], r"threshold 80.0 of stage 'small' is off the scale of 'probability'.*in \[0, 1\]"),
    ],
)
def test_thresholds_that_cannot_be_meant(example_fit, thresholds, message):
    with pytest.raises(bayescascade.CascadeError, match=message):
        bayescascade.evaluate(example_fit, thresholds)
