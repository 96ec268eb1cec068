"""Calibration: standardised signals, atoms with an offset, bent curves, and P(correct) of draws by plain loops."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.draws import draws_around, make_draws, make_signals, with_curve
from helpers.reference_likelihood import plain_chance, plain_curve
from scipy import integrate

from bayescascade.model.calibration import N_ATOMS, N_PIECES, bent, build_scaling, get_calibration, ramps
from bayescascade.model.copulas.namespace import NUMPY
from bayescascade.model.margins.segments import build_margin

WHOLE = (-np.inf, np.inf)
KNOTS = np.array([-0.7, 0.1, 0.8])


def scaling_of(signal, **options):
    return build_scaling(signal, build_margin(signal, bounds=WHOLE, **options))


# --- standardised signals ---------------------------------------------------------------------------------------


def test_signals_are_standardised_by_the_continuous_part_and_held_at_its_ends():
    rng = np.random.default_rng(1)
    free = rng.normal(3.0, 2.0, 400)
    signal = np.concatenate([free, np.full(100, 40.0)])
    scaling = scaling_of(signal)
    z = scaling.standardise(free)
    assert [z.mean(), z.std()] == pytest.approx([0.0, 1.0])
    assert scaling.standardise([40.0, 1e6, -1e6]) == pytest.approx([z.max(), z.max(), z.min()])
    np.testing.assert_allclose(scaling.knots, np.quantile(z, [0.25, 0.5, 0.75]))


def test_atoms_carry_the_slope_where_there_is_little_else():
    signal = np.concatenate([np.repeat([1.0, 2.0, 4.0], 100), np.random.default_rng(1).uniform(0, 5, 10)])
    scaling = scaling_of(signal)
    assert scaling.centre == pytest.approx(signal.mean())
    assert scaling.scale == pytest.approx(signal.std())


def test_a_constant_signal_has_a_scale():
    scaling = scaling_of(np.full(30, 2.0))
    assert scaling.scale == 1.0
    assert scaling.standardise(np.array([2.0, 3.0])).tolist() == [0.0, 0.0]
    # nothing to tell apart: a single segment has no offset
    assert scaling.which_atom(np.array([2.0])).tolist() == [N_ATOMS]


# --- atoms ------------------------------------------------------------------------------------------------------


def test_bottom_top_and_the_six_largest_atoms_between_have_an_offset():
    counts = {0.0: 30, 1.0: 12, 2.0: 50, 3.0: 11, 4.0: 40, 5.0: 45, 6.0: 35, 7.0: 20, 8.0: 25, 9.0: 5}
    signal = np.repeat(list(counts), list(counts.values()))
    scaling = scaling_of(signal, discrete=True)
    # by value, not by size: 1.0 and 3.0 are the smallest of those between
    assert scaling.atoms.tolist() == [0.0, 9.0, 2.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert scaling.which_atom(np.array([0, 9, 2, 4, 5, 6, 7, 8, 1, 3, 0.5])).tolist() == [
        *range(8),
        *[N_ATOMS] * 3,
    ]
    assert scaling.which_atom(np.array([[2.0], [1.0]])).tolist() == [[2], [N_ATOMS]]


def test_ends_without_an_atom_are_empty():
    rng = np.random.default_rng(2)
    smooth = rng.normal(size=200)
    inner = np.concatenate([smooth, np.full(30, 0.25)])
    assert np.isnan(scaling_of(smooth).atoms).all()
    np.testing.assert_array_equal(scaling_of(inner).atoms, [np.nan, np.nan, 0.25, *[np.nan] * 5])
    assert (scaling_of(inner).which_atom(smooth) == N_ATOMS).all()
    top = np.concatenate([smooth, np.full(30, 9.0)])
    np.testing.assert_array_equal(scaling_of(top).atoms, [np.nan, 9.0, *[np.nan] * 6])


# --- the curve --------------------------------------------------------------------------------------------------


def test_ramps_sum_to_the_signal():
    z = np.random.default_rng(3).normal(0, 2, (50, 4))
    for knots in (KNOTS, KNOTS + 3.0, KNOTS - 3.0, np.array([0.0, 0.0, 0.5])):
        parts = ramps(z, knots)
        assert parts.shape == (50, 4, N_PIECES)
        np.testing.assert_allclose(parts.sum(axis=-1), z, atol=1e-12)
        assert not ramps(np.array(0.0), knots).any()


def test_a_bent_curve_rises_by_the_slope_of_each_piece():
    rng = np.random.default_rng(4)
    for _ in range(20):
        bend = rng.normal(0, 2, N_PIECES)
        z = np.sort(rng.normal(0, 2, 60))
        curve = bent(ramps(z, KNOTS), bend, NUMPY)
        assert (np.diff(curve) > 0).all()
        for x, y in zip(z[::10], curve[::10], strict=True):
            assert y == pytest.approx(plain_curve(x, KNOTS, bend), abs=1e-12)
            by_slope = integrate.quad(
                lambda t, bend=bend: np.exp(bend[np.searchsorted(KNOTS, t)]), 0, x, points=KNOTS, limit=200
            )[0]
            assert y == pytest.approx(by_slope, rel=1e-7, abs=1e-9)


def test_a_curve_without_bend_is_a_straight_line():
    z = np.linspace(-3, 3, 41)
    np.testing.assert_allclose(bent(ramps(z, KNOTS), np.zeros(N_PIECES), NUMPY), z, atol=1e-12)


def test_the_logit_is_a_sum_of_terms():
    values = {"intercept": 0.3, "slope": 2.0, "atom_offset": 0.1}
    assert get_calibration("logistic").logit(values, {"z": 0.5}, NUMPY) == pytest.approx(0.3 + 1.0 + 0.1)


# --- P(correct) of draws ----------------------------------------------------------------------------------------


def mixed_draws(calibration):
    """Stages with ends, inner atoms and none, so that every kind of offset occurs."""
    rng = np.random.default_rng(6)
    signal, _ = make_signals(3, "both atoms", 300, rng)
    signal[rng.uniform(size=300) < 0.2, 1] = 0.3
    signal[:, 2] = np.where(np.abs(signal[:, 2]) > 6, rng.logistic(size=300), signal[:, 2])
    return draws_around(signal, "score", rng, n_draws=4, calibration=calibration), signal


def values_of(draws, i):
    return {
        **{name: value[i] for name, value in draws.curve.items()},
        "log_slope": np.log(draws.curve["slope"][i]),
    }


@pytest.mark.parametrize("calibration", ["logistic", "monotone"])
def test_p_correct_is_that_of_plain_loops(calibration):
    draws, signal = mixed_draws(calibration)
    for j in range(3):
        x = np.append(signal[:40, j], [-30.0, 30.0])
        got = draws.p_correct(j, x)
        assert got.shape == (4, 42)
        atoms = draws.scalings[j].which_atom(x) < N_ATOMS
        assert atoms.any() == (j < 2)
        for i in range(draws.n):
            values = values_of(draws, i)
            expected = [plain_chance(draws.scalings, j, v, values) for v in x]
            np.testing.assert_allclose(got[i], expected, rtol=1e-12)
        # shapes are kept
        np.testing.assert_array_equal(draws.p_correct(j, x.reshape(6, 7)), got.reshape(4, 6, 7))


def test_a_draw_without_bend_is_logistic():
    draws, signal = mixed_draws("logistic")
    x = signal[:, 1]
    monotone = replace(draws, calibration=get_calibration("monotone"))
    straight = with_curve(monotone, bend=np.zeros((4, 3, N_PIECES)))
    np.testing.assert_allclose(straight.p_correct(1, x), draws.p_correct(1, x), rtol=1e-12)


@pytest.mark.parametrize("calibration", ["logistic", "monotone"])
def test_means_over_segments_are_integrals(calibration):
    draws = make_draws(2, "top atom", n_draws=2, calibration=calibration)
    whole = draws.segment_correct()
    for i in range(2):
        values = values_of(draws, i)
        for s in (0, 5, 20, len(draws.margins[1].low) - 1):
            low, high = draws.margins[1].low[s], draws.margins[1].high[s]
            own = average(lambda x, v=values: plain_chance(draws.scalings, 1, x, v), low, high)
            # where a knot or the end of the range lies within a segment, three nodes see a kink
            assert whole[i, 1, s] == pytest.approx(own, abs=2e-3)


def average(f, low, high):
    if low == high:
        return f(low)
    return np.mean([f(x) for x in low + (high - low) * (np.arange(200) + 0.5) / 200])
