"""Margins: segments and their tree, where values lie in them, and how much their posterior moves."""

import numpy as np
import pytest

from bayescascade.model.copulas.namespace import NUMPY
from bayescascade.model.design import signal_bounds
from bayescascade.model.margins.models import MARGIN_MODELS, leaf_used, masked_paths
from bayescascade.model.margins.segments import build_margin, find_atoms
from bayescascade.model.margins.tree import DEPTH, N_LEAVES, N_SPLITS, tree_paths
from bayescascade.signals.kinds import to_signal

WHOLE = (-np.inf, np.inf)
TREE = MARGIN_MODELS["polya_tree"]


def cases():
    """Name -> (signals, whether discrete, bounds)."""
    rng = np.random.default_rng(10)
    smooth = rng.logistic(size=285)
    top = np.where(smooth > 0.8, 16.6, smooth)
    votes = rng.integers(1, 7, 285) / 6
    ties = np.where(rng.uniform(size=300) < 0.3, 1.5, np.round(rng.normal(size=300), 1))
    inner = np.where(rng.uniform(size=300) < 0.3, 0.0, rng.normal(size=300))
    clipped = to_signal(np.concatenate([np.zeros(40), np.ones(30), rng.uniform(size=130)]), "probability")
    logprob = to_signal(np.concatenate([np.full(25, -np.inf), np.zeros(75), -rng.exponential(1, 100)]), "logprob")
    return {
        "continuous": (smooth, False, WHOLE),
        "top atom": (top, False, WHOLE),
        "atom within": (inner, False, WHOLE),
        "votes": (votes, True, signal_bounds("votes")),
        "verbalised": (to_signal(rng.choice([0.8, 0.9, 0.95, 1.0], 120), "probability"), False, WHOLE),
        "heavy ties": (ties, False, WHOLE),
        "constant": (np.full(50, 0.3), False, WHOLE),
        "constant votes": (np.full(50, 1.0), True, signal_bounds("votes")),
        "two values": (np.array([0.1, 0.9]), False, WHOLE),
        "one value": (np.array([0.4]), False, WHOLE),
        "clipped ends": (clipped, False, signal_bounds("probability")),
        "log-probability 0 and -inf": (logprob, False, signal_bounds("logprob")),
        "skewed": (rng.pareto(0.7, 285), False, WHOLE),
    }


CASES = cases()


@pytest.fixture(params=sorted(CASES))
def case(request):
    signal, discrete, bounds = CASES[request.param]
    return signal, build_margin(signal, discrete=discrete, bounds=bounds), bounds


def posterior_splits(margin, n_draws, rng):
    """Splits given the values alone, without a copula: independent betas."""
    left, right = tree_paths()
    per_leaf = np.bincount(margin.leaf, weights=margin.count, minlength=N_LEAVES)
    split = rng.beta(1 + per_leaf @ left, 1 + per_leaf @ right, size=(n_draws, N_SPLITS))
    return split[:, None, :]


def draw_masses(split, margins, rng):
    """Masses of the segments (draw, stage, segment) under given splits of the tree."""
    return TREE.segment_masses(split, margins, rng)


def plain_place(margin, x):
    """Segment of a value: the atom that it is, else the interval that holds it."""
    for i, (low, high) in enumerate(zip(margin.low, margin.high, strict=True)):
        if low == high == x:
            return i
    for i, (low, high) in enumerate(zip(margin.low, margin.high, strict=True)):
        if low <= x <= high:
            return i
    raise AssertionError(f"{x} lies in no segment")


def test_segments_are_in_order_and_hold_every_value(case):
    signal, margin, (floor, ceiling) = case
    assert (margin.low <= margin.high).all()
    assert (margin.high[:-1] <= margin.low[1:]).all()
    assert floor <= margin.low[0] <= signal.min()
    assert signal.max() <= margin.high[-1] <= ceiling
    assert np.isfinite([margin.low, margin.high]).all()
    for x in np.unique(signal):
        plain_place(margin, x)
    # no two segments are the same, and no interval is thinner than rounding
    assert len(np.unique(np.column_stack([margin.low, margin.high]), axis=0)) == len(margin.low)


def test_counts_add_up_to_the_queries(case):
    signal, margin, _ = case
    assert margin.count.sum() == pytest.approx(len(signal), rel=1e-3)
    assert (margin.count > 0).all()
    for value in margin.low[margin.is_atom]:
        at = margin.is_atom & (margin.low == value)
        assert margin.count[at].item() == np.sum(signal == value)


def test_shares_add_up_within_each_leaf(case):
    _, margin, _ = case
    for leaf in np.unique(margin.leaf):
        assert margin.share[margin.leaf == leaf].sum() == pytest.approx(1.0)
        np.testing.assert_allclose(
            margin.before[margin.leaf == leaf],
            np.cumsum(margin.share[margin.leaf == leaf]) - margin.share[margin.leaf == leaf],
            atol=1e-12,
        )
    assert (np.diff(margin.leaf) >= 0).all()
    assert ((margin.leaf >= 0) & (margin.leaf < N_LEAVES)).all()


def test_locate_finds_the_segment_of_each_value(case):
    signal, margin, _ = case
    place = margin.locate(signal)
    for i, x in enumerate(signal):
        segment = plain_place(margin, x)
        low, high = margin.low[segment], margin.high[segment]
        assert place["atom"][i] == (low == high)
        if low == high:
            assert place["cell"][i] == margin.leaf[segment]
            assert place["low"][i] == pytest.approx(margin.before[segment])
            assert place["high"][i] == pytest.approx(margin.before[segment] + margin.share[segment])
            assert place["log_shape"][i] == pytest.approx(np.log(margin.share[segment]))
        else:
            assert place["low"][i] == place["high"][i]
            inside = (x - low) / (high - low)
            expected = margin.leaf[segment] + margin.before[segment] + margin.share[segment] * inside
            # on the edge of two leaves, the end of one is the start of the other
            assert place["cell"][i] + place["low"][i] == pytest.approx(expected, abs=1e-9)
            if low < x < high:
                assert place["log_shape"][i] == pytest.approx(np.log(margin.share[segment] / (high - low)))
    assert np.isfinite(place["log_shape"]).all()


def test_values_beyond_the_ends_have_a_finite_normal_score():
    """As few queries are left beyond them as half a query of the segment at the end."""
    margin = build_margin(np.random.default_rng(3).normal(size=200), bounds=WHOLE)
    for by in ("leaf", "segment"):
        place = margin.locate(np.array([margin.low[0], -40.0, 40.0, margin.high[-1]]), by)
        share = np.ones(2) if by == "segment" else margin.share[[0, -1]]
        left = 0.5 * share / (1.0 + margin.count[[0, -1]])
        np.testing.assert_allclose(place["low"], [left[0], left[0], 1.0 - left[1], 1.0 - left[1]])
        np.testing.assert_array_equal(place["low"], place["high"])
    atoms = build_margin(np.repeat([0.0, 1.0], 50), bounds=WHOLE)
    assert atoms.locate(np.array([-1.0, 2.0]))["atom"].all()


def test_an_atom_on_the_edge_of_an_interval_comes_first():
    signal = np.concatenate([np.linspace(0, 1, 80), np.full(40, 1.0), np.linspace(1.0001, 2, 80)])
    margin = build_margin(signal, bounds=WHOLE)
    assert margin.low[margin.is_atom].tolist() == [1.0]
    atom = int(np.flatnonzero(margin.is_atom)[0])
    here = margin.locate(np.array([1.0, np.nextafter(1.0, 0), np.nextafter(1.0, 2)]))
    assert here["atom"].tolist() == [True, False, False]
    assert here["cell"][0] == margin.leaf[atom]
    # intervals on both sides, next to the atom or up to it
    assert margin.high[atom - 1] <= 1.0 <= margin.low[atom + 1]


def test_cdf_is_near_the_empirical_one(case):
    signal, margin, _ = case
    weight = np.bincount(margin.leaf, weights=margin.count, minlength=N_LEAVES) / margin.count.sum()
    place = margin.locate(signal)
    start = (np.cumsum(weight) - weight)[place["cell"]]
    low, high = (start + weight[place["cell"]] * place[end] for end in ("low", "high"))
    below = np.array([np.mean(signal < x) for x in signal])
    up_to = np.array([np.mean(signal <= x) for x in signal])
    atom = place["atom"]
    np.testing.assert_allclose(low[atom], below[atom], atol=2e-3)
    np.testing.assert_allclose(high[atom], up_to[atom], atol=2e-3)
    middle = 0.5 * (below + up_to)
    # some nine values lie in a segment, so F is off by a few of them at most
    off = np.abs(low - middle)[~atom]
    assert off.max(initial=0.0) < max(0.02, 0.6 / len(signal))


def test_tree_paths_divide_everything():
    left, right = tree_paths()
    assert left.shape == right.shape == (N_LEAVES, N_SPLITS)
    assert (left + right).sum(axis=1).tolist() == [DEPTH] * N_LEAVES
    assert not (left * right).any()
    rng = np.random.default_rng(1)
    split = rng.uniform(size=N_SPLITS)
    weight = np.exp(left @ np.log(split) + right @ np.log1p(-split))
    assert weight.sum() == pytest.approx(1.0)
    assert left[:4, 0].all()
    assert right[4:, 0].all()
    assert weight[0] == pytest.approx(split[0] * split[1] * split[3])
    assert weight[-1] == pytest.approx((1 - split[0]) * (1 - split[2]) * (1 - split[6]))


def test_leaf_weights_sum_to_one_whatever_the_splits(case):
    _, margin, _ = case
    split = np.random.default_rng(2).uniform(0.01, 0.99, (20, 1, N_SPLITS))
    weight = TREE.mass(split, TREE.arrays([margin]), NUMPY) * leaf_used([margin])
    np.testing.assert_allclose(weight.sum(axis=-1), 1.0)
    assert leaf_used([margin])[0].sum() == len(np.unique(margin.leaf))
    left, right = masked_paths([margin])
    assert not left[0][:, ~margin.split_used].any()
    assert not right[0][:, ~margin.split_used].any()
    assert margin.split_used.sum() == len(np.unique(margin.leaf)) - 1


def test_segment_masses_sum_to_one_and_follow_the_counts(case):
    _, margin, _ = case
    rng = np.random.default_rng(3)
    mass = draw_masses(posterior_splits(margin, 4000, rng), [margin], rng)[:, 0]
    np.testing.assert_allclose(mass.sum(axis=1), 1.0)
    assert (mass >= 0).all()
    n = margin.count.sum()
    # each split has a Beta(1, 1) prior: two pseudo-queries at each of three levels
    np.testing.assert_allclose(mass.mean(axis=0), margin.count / n, atol=4.0 / (n + 4.0) * 0.5 + 0.005)


def test_padding_has_no_mass():
    many, few = (CASES[name] for name in ("continuous", "votes"))
    margins = [build_margin(s, discrete=d, bounds=b) for s, d, b in (many, few)]
    rng = np.random.default_rng(4)
    split = np.concatenate([posterior_splits(m, 50, rng) for m in margins], axis=1)
    mass = draw_masses(split, margins, rng)
    assert mass.shape == (50, 2, len(margins[0].low))
    np.testing.assert_allclose(mass.sum(axis=2), 1.0)
    assert not mass[:, 1, len(margins[1].low) :].any()


@pytest.mark.parametrize("name", ["continuous", "top atom", "votes", "skewed", "clipped ends"])
def test_cdf_moves_as_much_as_under_the_bayesian_bootstrap(name):
    signal, discrete, bounds = CASES[name]
    margin = build_margin(signal, discrete=discrete, bounds=bounds)
    rng = np.random.default_rng(5)
    mass = draw_masses(posterior_splits(margin, 6000, rng), [margin], rng)[:, 0]
    cdf = np.cumsum(mass, axis=1)[:, :-1]
    level = np.cumsum(margin.count)[:-1] / margin.count.sum()
    bootstrap = np.sqrt(level * (1 - level) / (len(signal) + 1))
    ratio = cdf.std(axis=0) / bootstrap
    assert ratio.min() > 0.85
    assert ratio.max() < 1.2


def test_atoms_are_values_that_repeat():
    rng = np.random.default_rng(6)
    smooth = rng.normal(size=300)
    assert len(find_atoms(smooth)) == 0
    assert find_atoms(np.concatenate([smooth, np.full(10, 2.0)])).tolist() == [2.0]
    assert len(find_atoms(np.concatenate([smooth, np.full(3, 2.0)]))) == 0
    assert find_atoms(np.repeat([0.8, 0.9, 0.95], 10)).tolist() == [0.8, 0.9, 0.95]
    assert find_atoms(np.array([0.1, 0.2]), discrete=True).tolist() == [0.1, 0.2]
    assert find_atoms(np.full(5, 1.0)).tolist() == [1.0]
    # 200 values on a fine scale are no atoms, though some repeat
    assert len(find_atoms(np.round(rng.uniform(size=300), 3))) == 0


def test_segments_never_outnumber_what_the_data_can_tell():
    for n in (2, 5, 20, 63, 1000, 50_000):
        margin = build_margin(np.random.default_rng(n).normal(size=n), bounds=WHOLE)
        assert len(margin.low) <= min(32, max(2, n // 2)) + 1


def test_the_end_of_the_scale_is_an_atom_however_rare():
    smooth = np.random.default_rng(7).uniform(0.1, 5.0, 200)
    margin = build_margin(np.append(smooth, 0.0), bounds=(0.0, 17.0))
    assert margin.low[margin.is_atom].tolist() == [0.0]
    assert margin.locate(np.array([0.0]))["atom"].all()
    assert not build_margin(smooth, bounds=(0.0, 17.0)).is_atom.any()
