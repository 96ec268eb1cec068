"""Confidence to signal and back."""

import numpy as np
import pytest

from bayescascade.errors import CascadeError
from bayescascade.signals.kinds import EPS, KINDS, check_kind, clip_rounding, off_scale, to_confidence, to_signal

LOG2 = np.log(2)
TRANSFORMED = ["logprob", "log_likelihood", "p_true", "probability", "percent", "margin"]
LOGARITHMS = ["logprob", "log_likelihood", "p_true"]
IDENTITIES = ["logprob_gap", "votes", "score"]


def on_scale(kind: str, n: int = 4000) -> np.ndarray:
    """Confidences all over the scale of a kind, with ends, float32 steps near them, and round numbers."""
    rng = np.random.default_rng(20250109)
    near = 2.0**-24 * np.arange(1, 200)
    if kind == "score":
        return np.concatenate([rng.normal(0, 100, n), [0.0, -1e300, 1e300, 1e-300]])
    if kind == "logprob_gap":
        return np.concatenate([rng.exponential(8, n), near, [0.0, 1e300, 1e-300]])
    if kind == "percent":
        return 100 * on_scale("probability", n)
    if kind in LOGARITHMS:
        wide = -np.exp(rng.uniform(np.log(1e-6), np.log(700), n))
        # Below log EPS the signal of p_true is flat, so values there have no inverse of their own.
        wide = wide[wide > np.log(EPS)] if kind == "p_true" else wide
        return np.concatenate([wide, -near[1:], np.log([0.1, 0.5, 0.8, 0.9, 0.95])])
    return np.concatenate([rng.uniform(size=n), near[1:], 1 - near[1:], np.arange(1, 100) / 100])


@pytest.mark.parametrize(
    ("kind", "confidence", "signal"),
    [
        ("logprob", -LOG2, LOG2),
        ("logprob", np.log(0.9), -np.log(0.1)),
        ("logprob", -30.0, np.exp(-30)),
        ("log_likelihood", -1.0, 0.0),
        ("log_likelihood", -250.0, -np.log(250.0)),
        ("log_likelihood", -1e-3, np.log(1e3)),
        ("p_true", -LOG2, 0.0),
        ("p_true", np.log(0.9), -np.log(0.1) - LOG2),
        ("p_true", np.log(0.1), LOG2 + np.log(0.1)),
        ("probability", 0.5, 0.0),
        ("probability", 0.9, np.log(9)),
        ("probability", 1e-5, np.log(1e-5 / (1 - 1e-5))),
        ("percent", 50.0, 0.0),
        ("percent", 90.0, np.log(9)),
        ("logprob_gap", 12.5, 12.5),
        ("margin", 0.0, 0.0),
        ("margin", 0.75, np.log(4)),
        ("votes", 0.2, 0.2),
        ("score", -17.5, -17.5),
    ],
)
def test_formula(kind, confidence, signal):
    assert to_signal(confidence, kind) == pytest.approx(signal, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("kind", TRANSFORMED)
def test_ends_of_the_scale_have_finite_signals(kind):
    spec = KINDS[kind]
    low, high = to_signal([spec.lower, spec.upper], kind)
    top = -np.log(EPS)
    assert low == pytest.approx({"logprob": 0, "margin": 0, "p_true": LOG2 - top}.get(kind, -top), abs=1e-6)
    assert high == pytest.approx(top - (LOG2 if kind == "p_true" else 0), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_increasing(kind):
    confidence = np.unique(on_scale(kind))
    signal = to_signal(confidence, kind)
    assert np.isfinite(signal).all()
    assert (np.diff(signal) >= 0).all()
    apart = np.diff(confidence) > 1e-8 * np.abs(confidence[1:]) if kind in TRANSFORMED else np.diff(confidence) > 0
    assert (np.diff(signal)[apart] > 0).all()


@pytest.mark.parametrize("kind", ["logprob", "log_likelihood", "p_true", "probability", "margin"])
def test_neighbouring_float32_values_stay_apart_near_certainty(kind):
    top = np.float32(1) if kind in ("probability", "margin") else np.float32(0)
    step = np.float32(2.0**-23)
    values = [top - 3 * step, top - 2 * step, top - step, top]
    assert (np.diff(to_signal(values, kind)) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind):
    confidence = on_scale(kind)
    back = to_confidence(to_signal(confidence, kind), kind)
    np.testing.assert_allclose(back, confidence, rtol=1e-8, atol=0)
    signal = to_signal(confidence, kind)
    np.testing.assert_allclose(to_signal(back, kind), signal, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("kind", IDENTITIES)
def test_identity_is_exact(kind):
    values = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    np.testing.assert_array_equal(to_signal(values, kind), values)
    np.testing.assert_array_equal(to_confidence(values, kind), values)


@pytest.mark.parametrize("kind", KINDS)
def test_threshold_decides_alike_on_both_scales(kind):
    """A threshold put on an observed value accepts that value, also where the inverse rounds up."""
    confidence = np.concatenate([on_scale(kind, 300), [KINDS[kind].lower, KINDS[kind].upper]])
    confidence = confidence[~off_scale(confidence, kind)]
    signal = to_signal(confidence, kind)
    rng = np.random.default_rng(3)
    cuts = np.concatenate([signal, rng.normal(0, 8, 100), [-np.inf, np.inf]])
    thresholds = to_confidence(cuts, kind)
    np.testing.assert_array_equal(confidence >= thresholds[:, None], signal >= cuts[:, None])


@pytest.mark.parametrize("kind", KINDS)
def test_outside_the_range(kind):
    assert to_confidence(np.inf, kind) == np.inf
    assert to_confidence(-np.inf, kind) == -np.inf
    assert to_signal(np.inf, kind) == np.inf
    assert np.isnan(to_signal(np.nan, kind))
    assert np.isnan(to_confidence(np.nan, kind))
    if np.isfinite(KINDS[kind].upper):
        assert to_confidence(100.0, kind) == np.inf
    if kind != "score":
        assert to_confidence(-100.0, kind) == KINDS[kind].lower


@pytest.mark.parametrize("kind", LOGARITHMS)
def test_probability_zero_has_the_lowest_signal(kind):
    assert to_signal(-np.inf, kind) == to_signal(-1e8, kind)
    assert to_confidence(to_signal(-np.inf, kind), kind) == -np.inf


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in LOGARITHMS])
def test_threshold_minus_infinity_is_below_every_signal(kind):
    assert to_signal(-np.inf, kind) == -np.inf


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (2, 0, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_shapes(kind, shape):
    values = np.full(shape, -0.25 if kind in LOGARITHMS else 0.25)
    signal = to_signal(values, kind)
    assert signal.shape == shape
    assert to_confidence(signal, kind).shape == shape
    assert to_signal(values.T, kind).shape == shape[::-1]


def test_arguments_are_left_as_they_are():
    values = np.array([-0.5, 2e-7])
    clip_rounding(values, "logprob")
    to_signal(values, "logprob")
    assert values.tolist() == [-0.5, 2e-7]


def test_clip_rounding():
    assert clip_rounding([1e-6, 1.1e-6, -3.0, np.nan], "logprob").tolist()[:3] == [0.0, 1.1e-6, -3.0]
    assert clip_rounding([1.0000001, -1e-9, 1.01], "probability").tolist() == [1.0, 0.0, 1.01]
    assert clip_rounding(2e-7, "p_true").shape == ()
    assert clip_rounding([-np.inf, 1e9], "score").tolist() == [-np.inf, 1e9]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("logprob", [0.0, -3.0, -np.inf, np.nan], [0.1, np.inf]),
        ("log_likelihood", [0.0, -3e4, -np.inf, np.nan], [0.1, np.inf]),
        ("p_true", [0.0, -3.0, -np.inf, np.nan], [0.1, np.inf]),
        ("percent", [0.0, 100.0, np.nan], [-0.1, 100.1, np.inf, -np.inf]),
        ("logprob_gap", [0.0, 1e3, np.nan], [-0.1, np.inf, -np.inf]),
        ("probability", [0.0, 1.0, np.nan], [-0.1, 1.1, np.inf, -np.inf]),
        ("margin", [0.0, 1.0, np.nan], [-0.1, 1.1, np.inf, -np.inf]),
        ("votes", [0.0, 1.0, np.nan], [-0.1, 1.1, np.inf, -np.inf]),
        ("score", [-1e9, 1e9, np.nan], [np.inf, -np.inf]),
    ],
)
def test_off_scale(kind, good, bad):
    assert not off_scale(good, kind).any()
    assert off_scale(bad, kind).all()


@pytest.mark.parametrize("kind", ["log_prob", "", None, 3, ["logprob"]])
def test_unknown_kind(kind):
    with pytest.raises(CascadeError, match=r"unknown confidence kind.*choose one of 'logprob'.*'score'"):
        check_kind(kind)


def test_kinds_are_pinned():
    assert list(KINDS) == [*LOGARITHMS, "probability", "percent", "margin", *IDENTITIES]
    assert all(name == kind.name for name, kind in KINDS.items())
