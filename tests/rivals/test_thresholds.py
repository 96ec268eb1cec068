"""Rivals that set thresholds, against enumeration and plain quadrature; what all of them promise."""

from itertools import product

import numpy as np
import pytest

import bayescascade as bc
from bayescascade.errors import CascadeError
from bayescascade.rivals.base import StageDecisions, SubsetDecisions, area_of, complete_arrays
from bayescascade.rivals.common import calibrated, extra, run_points
from bayescascade.rivals.empirical_risk import price_range
from bayescascade.rivals.published.mle import PublishedCopula
from bayescascade.rivals.simple import BestPair, Oracle, RandomMix, SingleStages
from bayescascade.rivals.thresholds.ascent import CoordinateAscent
from bayescascade.rivals.thresholds.bayes_opt import BayesianOptimisation, thresholds_at
from bayescascade.rivals.thresholds.conformal import ConformalCost, LearnThenTest, conformal_bound, disagreement
from bayescascade.rivals.thresholds.grid import GridSearch
from bayescascade.rivals.thresholds.isotonic import Isotonic
from bayescascade.rivals.thresholds.learn_then_test import p_values

QUICK = BayesianOptimisation(n_prices=3, n_initial=5, n_iterations=3)
THRESHOLDS = [
    CoordinateAscent(calibrated=True),
    CoordinateAscent(calibrated=False),
    GridSearch(step=0.1),
    QUICK,
    PublishedCopula(n_nodes=101),
    Isotonic(),
    ConformalCost(),
    LearnThenTest(n_bounds=49),
]
ALL = [SingleStages(), RandomMix(), BestPair(), Oracle(), *THRESHOLDS]


def name_of(method):
    return method.name


@pytest.fixture(scope="module")
def train():
    return bc.simulate(120, n_stages=3, top_atom=(0.2, 0.0, 0.3), random_seed=4)


@pytest.fixture(scope="module")
def test():
    return bc.simulate(400, n_stages=3, top_atom=(0.2, 0.0, 0.3), random_seed=5)


def plain_walk(confidence, wrong, cost, thresholds):
    """Error and cost of one vector, query by query."""
    errors, spent = 0.0, 0.0
    for c, w in zip(confidence, wrong, strict=True):
        for j, threshold in enumerate(thresholds):
            spent += cost[j]
            if c[j] >= threshold:
                errors += w[j]
                break
    return errors / len(confidence), spent / len(confidence)


def never_beaten(error, cost):
    """Which points no other is at least as good as in both and better in one."""
    return [
        not any(
            (e <= error[i] and c < cost[i]) or (e < error[i] and c <= cost[i])
            for e, c in zip(error, cost, strict=True)
        )
        for i in range(len(error))
    ]


@pytest.mark.parametrize("method", THRESHOLDS, ids=name_of)
def test_thresholds_are_on_the_raw_scale_and_the_last_stage_accepts_all(method, train):
    found = method.fit(train, random_seed=2).thresholds
    assert found.ndim == 2
    assert found.shape[1] == 3
    assert len(found) >= 2
    assert np.all(found[:, -1] == -np.inf)
    inner = found[:, :-1][np.isfinite(found[:, :-1])]
    assert np.all((inner >= 0.0) & (inner <= 1.0))
    assert not np.isnan(found).any()


@pytest.mark.parametrize("method", ALL, ids=name_of)
def test_the_seed_settles_everything_and_labels_are_not_looked_at(method, train, test):
    rng = np.random.default_rng(1)
    blind = test.assign(correct=(test["correct"].dims, rng.integers(0, 2, test["correct"].shape).astype(float)))
    first = method.fit(train, random_seed=3).decide(test)
    second = method.fit(train, random_seed=3).decide(blind)
    np.testing.assert_array_equal(first.accepted, second.accepted)
    np.testing.assert_array_equal(first.reach, second.reach)
    # one stage answers, and it has been called
    assert (first.accepted.sum(axis=1) == 1).all()
    assert first.reach[first.accepted].all()


@pytest.mark.parametrize("method", ALL, ids=name_of)
def test_it_learns_the_cascade(method, train, test):
    """On held-out queries every rival that has thresholds is better than the line between the two ends."""
    ends = StageDecisions(np.array([0])).decide(test)
    assert area_of(method.fit(train, random_seed=0).decide(test), test) < area_of(ends, test) - 0.01


def test_only_the_oracle_sees_the_test_log():
    assert [m.name for m in ALL if m.sees_test] == ["oracle"]
    assert not any(m.needs_text for m in ALL)
    assert len({m.name for m in ALL}) == len(ALL)


def test_single_stages_are_those_no_other_beats(train):
    log = train.copy(deep=True)
    log["correct"][:, 1] = 0.0  # dearer than the first, and worse
    assert SingleStages().fit(log).stages.tolist() == [0, 2]


def test_the_hull_drops_a_stage_that_a_mix_beats(train):
    log = train.copy(deep=True)
    log["cost"][:] = np.array([1.0, 2.0, 3.0])
    n = log.sizes["query"]
    for j, share in enumerate((0.4, 0.5, 0.9)):
        log["correct"][:, j] = (np.arange(n) < share * n).astype(float)
    assert SingleStages().fit(log).stages.tolist() == [0, 1, 2]
    assert RandomMix().fit(log).stages.tolist() == [0, 2]


def test_best_pair_is_the_best_of_all_pairs_and_thresholds(train, test):
    known = complete_arrays(train)
    wrong, prices = calibrated(known.signal, known.wrong), price_range(known.cost, 40)
    found = BestPair(n_prices=40, n_points=1000).fit(train)
    least = np.full(len(prices), np.inf)
    points = [(i, i, -np.inf) for i in range(3)]
    points += [
        (i, j, t) for i in range(3) for j in range(i + 1, 3) for t in [*np.unique(known.confidence[:, i]), np.inf]
    ]
    for i, j, t in points:
        defer = known.confidence[:, i] < t
        error = np.where(defer, wrong[:, j], wrong[:, i]).mean()
        cost = known.cost[i] + defer.mean() * known.cost[j]
        least = np.minimum(least, prices * error + cost)
    best = np.full(len(prices), np.inf)
    chosen = [(pair[0], pair[-1], row[0]) for pair, row in zip(found.stages, found.thresholds, strict=True)]
    for i, j, t in chosen:
        defer = known.confidence[:, i] < t
        error = np.where(defer, wrong[:, j], wrong[:, i]).mean()
        best = np.minimum(best, prices * error + known.cost[i] + defer.mean() * known.cost[j])
    np.testing.assert_allclose(best, least, rtol=1e-10)
    played = found.decide(test)
    assert np.all(played.reach.any(axis=2).sum(axis=1) <= 2)
    for p, (i, j, t) in enumerate(chosen):
        defer = test["confidence"].values[:, i] < t
        np.testing.assert_array_equal(played.accepted[p].argmax(axis=0), np.where(defer, j, i))
        np.testing.assert_array_equal(played.reach[p].sum(axis=0), 1 + (defer & (i != j)))


@pytest.mark.parametrize("raw", [True, False])
def test_ascent_comes_close_to_enumeration(raw):
    log = bc.simulate(25, n_stages=3, random_seed=6)
    known = complete_arrays(log)
    wrong = known.wrong if raw else calibrated(known.signal, known.wrong)
    found = CoordinateAscent(calibrated=not raw, n_prices=30, n_starts=6, n_points=1000).fit(log).thresholds
    values = [[*np.unique(known.confidence[:, j]), np.inf] for j in range(2)]
    everything = np.array([(*v, -np.inf) for v in product(*values)])
    prices = price_range(known.cost, 30)[:, None]
    best, ours = (
        (prices * error + cost).min(axis=1)
        for error, cost in (run_points(known.confidence, wrong, known.cost, p) for p in (everything, found))
    )
    assert np.all(ours >= best - 1e-12)
    np.testing.assert_allclose(ours, best, rtol=0.01)
    assert np.mean(np.isclose(ours, best, rtol=1e-9)) > 0.7


@pytest.mark.parametrize("n_stages", [2, 3, 4])
def test_grid_is_explicit_enumeration(n_stages):
    log = bc.simulate(30, n_stages=n_stages, top_atom=0.2, random_seed=7)
    known = complete_arrays(log)
    found = GridSearch(step=0.25).fit(log).thresholds
    values = []
    for column in known.confidence[:, :-1].T:
        ordered = np.sort(column)
        # quantile q, the lower of two
        values.append([*np.unique([ordered[int(q * (len(column) - 1))] for q in (0, 0.25, 0.5, 0.75)]), np.inf])
    points = [(*v, -np.inf) for v in product(*values)]
    error, cost = np.array([plain_walk(known.confidence, known.wrong, known.cost, p) for p in points]).T
    keep = never_beaten(error.round(12), (cost / known.cost.sum()).round(12))
    expected = {
        (e, c) for e, c in zip(error[keep].round(10), (cost[keep] / known.cost.sum()).round(10), strict=True)
    }
    ours = np.array([plain_walk(known.confidence, known.wrong, known.cost, p) for p in found])
    assert {
        (e, c) for e, c in zip(ours[:, 0].round(10), (ours[:, 1] / known.cost.sum()).round(10), strict=True)
    } == expected


def test_grid_becomes_coarser_with_more_stages():
    log = bc.simulate(60, n_stages=7, random_seed=8)
    method = GridSearch(max_vectors=20_000)
    levels = [len(level) for level in method._levels(complete_arrays(log).confidence[:, :-1])]
    assert np.prod(levels) <= 20_000 < np.prod([n + 1 for n in levels])
    assert method.fit(log).thresholds.shape[1] == 7
    with pytest.raises(CascadeError, match="7 stages with two levels each are 64 vectors, and max_vectors=50"):
        GridSearch(max_vectors=50).fit(log)


def test_levels_are_shares_deferred(train):
    confidence = complete_arrays(train).confidence
    found = thresholds_at(confidence, np.array([[0.0, 1.0], [0.5, 0.25]]))
    assert (confidence[:, 1] < found[0, 1]).all()
    assert (confidence[:, 0] >= found[0, 0]).all()
    assert (confidence[:, 1] < found[1, 1]).mean() == pytest.approx(0.25, abs=0.01)


def test_bayesian_optimisation_gains_over_its_random_start(train):
    known = complete_arrays(train)
    price = 0.1 / known.cost.sum()
    method = BayesianOptimisation(n_prices=1, n_initial=5, n_iterations=15)
    tried = method._search(known, price, 1)
    error, cost = run_points(known.confidence, known.wrong, known.cost, thresholds_at(known.confidence, tried))
    loss = error + price * cost
    assert len(tried) == 20
    assert len(np.unique(tried, axis=0)) == 20
    assert loss[5:].min() < loss[:5].min()


def test_isotonic_with_two_stages_is_enumeration():
    """For no target a threshold on P(correct), by plain pooling of adjacent violators, is cheaper."""
    log = bc.simulate(60, n_stages=2, top_atom=(0.2, 0.0), random_seed=9)
    known = complete_arrays(log)
    right = np.stack(
        [plain_isotonic(c, 1.0 - w) for c, w in zip(known.confidence.T, known.wrong.T, strict=True)], 1
    )
    found = Isotonic(n_points=1000).fit(log).thresholds
    error, cost = run_points(known.confidence, 1.0 - right, known.cost, found)
    best = []
    for t in [*np.arange(201) / 200, np.inf]:
        accept = right[:, 0] >= t - 1e-9
        best.append(
            (
                np.where(accept, 1.0 - right[:, 0], 1.0 - right[:, 1]).mean(),
                known.cost[0] + (~accept).mean() * known.cost[1],
            )
        )
    for target in np.linspace(min(e for e, _ in best), max(e for e, _ in best), 30):
        cheapest = min(c for e, c in best if e <= target + 1e-9)
        assert cost[error <= target + 1e-9].min() == pytest.approx(cheapest, rel=1e-9)


def plain_isotonic(x, y):
    """Pool adjacent violators, by hand; equal x share one value."""
    values, at = np.unique(x, return_inverse=True)
    blocks = [[float(y[at == i].sum()), int((at == i).sum()), 1] for i in range(len(values))]
    i = 0
    while i < len(blocks) - 1:
        if blocks[i][0] / blocks[i][1] > blocks[i + 1][0] / blocks[i + 1][1]:
            blocks[i] = [a + b for a, b in zip(blocks[i], blocks.pop(i + 1), strict=True)]
            i = max(i - 1, 0)
        else:
            i += 1
    return np.concatenate([[s / n] * width for s, n, width in blocks])[at]


def test_isotonic_by_coordinates_keeps_targets_near_the_best(train):
    known = complete_arrays(train)
    right = np.stack(
        [plain_isotonic(c, 1.0 - w) for c, w in zip(known.confidence.T, known.wrong.T, strict=True)], 1
    )
    values = [[*np.unique(known.confidence[:, j]), np.inf] for j in range(2)]
    everything = np.array([(*v, -np.inf) for v in product(*values)])
    error, cost = run_points(known.confidence, 1.0 - right, known.cost, everything)
    found = run_points(known.confidence, 1.0 - right, known.cost, Isotonic().fit(train).thresholds)
    ratio = np.array([c / cost[error <= e + 1e-9].min() for e, c in zip(*found, strict=True)])
    # most are the best of all vectors; a search by coordinates may stop at another
    assert np.all((ratio >= 1.0 - 1e-9) & (ratio < 1.25))
    assert np.mean(ratio < 1.0 + 1e-9) > 0.7


def test_a_conformal_bound_covers_new_queries():
    rng = np.random.default_rng(10)
    spent = rng.gamma(2.0, size=(4000, 20))  # 4,000 logs of 19 queries and a new one
    covered = spent[:, -1] <= conformal_bound(spent[:, :-1], 0.8)
    assert covered.mean() == pytest.approx(0.8, abs=3 * np.sqrt(0.16 / 4000))
    assert np.all(conformal_bound(spent[:, :3], 0.9) == np.inf)


def test_conformal_cost_reads_no_label_where_answers_are_known(train):
    rng = np.random.default_rng(11)
    dims = ("query", "stage")
    log = train.assign(answer=(dims, rng.choice(list("ABCD"), size=train["correct"].shape)))
    scrambled = log.assign(correct=(dims, rng.integers(0, 2, train["correct"].shape).astype(float)))
    few = log.assign(correct=train["correct"].where(train["query"] < 2))
    first, second, third = (ConformalCost().fit(x, random_seed=1).thresholds for x in (log, scrambled, few))
    np.testing.assert_array_equal(first, third)
    np.testing.assert_array_equal(first, second)
    assert np.all(disagreement(log)[:, -1] == 0.0)
    np.testing.assert_array_equal(disagreement(log)[:, 0], log["answer"][:, 0] != log["answer"][:, 2])


def test_learn_then_test_certifies_for_each_bound(train):
    """The errors of every certified vector, on the half that tested it, reject the loosest bound at least."""
    method = LearnThenTest(n_bounds=49)
    found = method.fit(train, random_seed=3).thresholds
    tests = np.sort(np.random.default_rng(3).permutation(120)[60:])
    known = complete_arrays(train)
    error, _ = run_points(known.confidence[tests], known.wrong[tests], known.cost, found)
    assert len(found) > 2
    assert np.all(p_values((error * 60).round(), 60, 0.98) <= 0.1)


@pytest.mark.parametrize(
    ("method", "match"),
    [
        (GridSearch(step=0.0), "step=0.0"),
        (CoordinateAscent(n_starts=0), "n_starts=0"),
        (BestPair(n_prices=2.5), "n_prices=2.5"),
        (Isotonic(n_grid=1), "n_grid=1"),
        (ConformalCost(probs=(0.5, 1.0)), "probs=.0.5, 1.0."),
        (ConformalCost(share=1.0), "share=1.0"),
        (LearnThenTest(prob=0.0), "prob=0.0"),
        (BayesianOptimisation(n_iterations=0), "n_iterations=0"),
        (PublishedCopula(first_prices=()), r"first_prices=\(\)"),
        (PublishedCopula(stop_at=1.0), "stop_at=1.0"),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_mistakes_are_sentences(method, match, train):
    with pytest.raises(CascadeError, match=match):
        method.fit(train)


def test_a_library_that_is_not_there_is_named_with_its_extra():
    with pytest.raises(CascadeError, match=r"some-package.*bayescascade\[compare\]"):
        extra("no_such_library_here", "some-package")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_thresholds_on_any_stages_have_a_lower_area_than_the_oracle(seed):
    """On the oracle's own log, where everybody else chooses with full sight of the labels, too."""
    log = bc.simulate(150, n_stages=4, random_seed=seed)
    oracle = area_of(Oracle().fit(log).decide(log), log)
    for method in (SingleStages(), RandomMix(), BestPair(), CoordinateAscent(calibrated=False), GridSearch()):
        assert oracle <= area_of(method.fit(log).decide(log), log) + 1e-12, method.name
    # nor do random vectors of random parts of the stages
    rng = np.random.default_rng(seed)
    confidence = log["confidence"].transpose("query", "stage").values
    for _ in range(20):
        parts = [tuple(sorted(rng.choice(4, rng.integers(1, 5), replace=False))) for _ in range(30)]
        rows = [np.append(rng.choice(confidence[:, 0], len(part) - 1), -np.inf) for part in parts]
        assert oracle < area_of(SubsetDecisions(parts, rows).decide(log), log)
