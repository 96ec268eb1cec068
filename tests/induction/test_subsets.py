"""Which stages to keep, against brute force over all subsets."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from helpers.brute_force import atoms_draws, best_by_thresholds
from helpers.draws import make_draws, with_curve

from bayescascade.cascade.forward import forward
from bayescascade.induction import subsets
from bayescascade.induction.backward_induction import induce
from bayescascade.induction.subsets import best_subsets, rank_subsets, threshold_loss
from bayescascade.posterior.kernel import build_kernel, restrict_kernel


def useless_draws(n_stages, seed, pattern="top atom", n_atoms=None, **options):
    """Stages of random price and merit, so that some are not worth their place."""
    if n_atoms:
        draws = atoms_draws(n_atoms, n_stages, seed=seed, spread=0.3, **options)
    else:
        draws = make_draws(n_stages, pattern, seed=seed, **options)
    rng = np.random.default_rng(seed)
    cost = np.exp(rng.normal(0.0, 1.3, (1, n_stages)))
    merit = rng.normal(0.8, 0.8, (1, n_stages))
    if seed % 2:
        cost, merit = np.sort(cost, axis=1), np.sort(merit, axis=1)
    return with_curve(replace(draws, cost=cost), intercept=merit)


def every_subset(n):
    return [keep for size in range(1, n + 1) for keep in combinations(range(n), size)]


def is_proper(kernel, keep, losses, price, fee):
    """Every stage is reached, and answers or abstains from something, and that makes a difference."""
    part = restrict_kernel(kernel, keep)
    reach = forward(part, induce(part, np.array([price]), fee)).reach[0, 0]
    smaller = [losses[rest] for i in range(len(keep)) if (rest := (*keep[:i], *keep[i + 1 :]))]
    same = np.isclose(losses[keep], smaller, rtol=1e-4, atol=0.0).any()
    return bool((reach - np.append(reach[1:], 0.0) > 1e-3).all() and not same)


@pytest.mark.parametrize("abstain", [False, True])
@pytest.mark.parametrize("calibration", ["logistic", "monotone"])
@pytest.mark.parametrize("seed", [0, 1, 3])
def test_the_best_subsets_of_five_stages(seed, calibration, abstain):
    kernel = build_kernel(useless_draws(5, seed, calibration=calibration))
    wide = 0
    for price in (4.0, 20.0, 100.0):
        fee = 0.3 * price if abstain else None
        losses = {keep: threshold_loss(kernel, keep, price, fee) for keep in every_subset(5)}
        ranked = rank_subsets(kernel, price, 4, abstain_price=fee)
        assert ranked.exact
        assert len(ranked.keeps) <= 4
        assert (np.diff(ranked.losses) >= 0).all()
        np.testing.assert_allclose(ranked.losses, [losses[keep] for keep in ranked.keeps], rtol=1e-12)
        proper = sorted(losses[keep] for keep in losses if is_proper(kernel, keep, losses, price, fee))
        assert ranked.losses[0] <= min(losses.values()) * (1 + 1e-9)
        n = min(len(ranked.keeps), len(proper))
        assert n >= min(4, len(proper))
        assert (ranked.losses[:n] <= np.array(proper[:n]) * (1 + 1e-9)).all()
        wide += len(ranked.keeps[0]) > 1
    assert wide


@pytest.mark.parametrize("seed", range(3))
def test_the_best_subset_by_all_thresholds_of_all_subsets(seed):
    """By another way throughout: paths of atoms, every threshold vector."""
    kernel = build_kernel(useless_draws(4, seed, n_atoms=3))
    for price in (1.0, 5.0, 30.0):
        losses = {keep: best_by_thresholds(restrict_kernel(kernel, keep), price) for keep in every_subset(4)}
        ranked = rank_subsets(kernel, price)
        assert ranked.losses[0] == pytest.approx(min(losses.values()), rel=1e-10)
        for keep, loss in zip(ranked.keeps, ranked.losses, strict=True):
            assert loss == pytest.approx(losses[keep], rel=1e-10)


@pytest.mark.parametrize("abstain", [False, True])
def test_where_queries_have_a_difficulty_the_shortlist_holds_the_best_most_of_the_time(abstain):
    found = off = 0.0
    for seed in range(10):
        draws = useless_draws(4, seed, loading=0.8, discrimination=1.5, copula="gaussian")
        kernel = build_kernel(draws)
        for price in (4.0, 20.0, 100.0):
            fee = 0.3 * price if abstain else None
            losses = {keep: threshold_loss(kernel, keep, price, fee) for keep in every_subset(4)}
            ranked = rank_subsets(kernel, price, 3, abstain_price=fee)
            assert not ranked.exact
            np.testing.assert_allclose(ranked.losses, [losses[keep] for keep in ranked.keeps], rtol=1e-12)
            lost = ranked.losses[0] / min(losses.values()) - 1.0
            found, off = found + (lost < 1e-4), max(off, lost)
    assert found >= 27
    assert off < 0.02


def test_stages_that_cost_much_and_know_nothing_are_left_out():
    draws = make_draws(5, "no atoms", seed=1)
    cost, merit = draws.cost.copy(), draws.curve["intercept"].copy()
    cost[:, [1, 3]], merit[:, [1, 3]] = 200.0, -3.0
    kernel = build_kernel(with_curve(replace(draws, cost=cost), intercept=merit))
    for keep in best_subsets(kernel, [3.0, 30.0, 300.0], 2):
        assert not {1, 3} & set(keep)


def test_prices_are_put_together_without_repeats():
    kernel = build_kernel(useless_draws(5, 1))
    single = [best_subsets(kernel, price, 3) for price in (2.0, 50.0)]
    both = best_subsets(kernel, [2.0, 50.0], 3)
    assert both == list(dict.fromkeys(single[0] + single[1]))
    assert all(len(found) == 3 for found in single)


def test_latency_has_its_price():
    draws = useless_draws(4, 3)
    latency = np.ones((1, 4))
    best = rank_subsets(build_kernel(draws), 30.0).keeps[0]
    latency[0, best[0]] = 1000.0
    kernel = build_kernel(replace(draws, latency=latency))
    assert rank_subsets(kernel, 30.0).keeps[0] == best
    slow = rank_subsets(kernel, 30.0, latency_price=1.0)
    assert best[0] not in slow.keeps[0]


def test_it_is_said_when_suffixes_are_dropped_by_their_mean(monkeypatch):
    kernel = build_kernel(useless_draws(5, 1))
    whole = rank_subsets(kernel, 20.0)
    monkeypatch.setattr(subsets, "_MAX_SUFFIXES", 2)
    few = rank_subsets(kernel, 20.0)
    assert whole.exact
    assert not few.exact
    assert few.losses[0] <= whole.losses[-1] * 1.2


@pytest.mark.benchmark
def test_twelve_stages(benchmark):
    """Wanted: well under a second for one price."""
    kernel = build_kernel(useless_draws(12, 1))
    benchmark(rank_subsets, kernel, 20.0)
