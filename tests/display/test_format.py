"""Numbers as people read them."""

import numpy as np
import pytest

from bayescascade._common.digits import show_apart, show_reject, show_threshold
from bayescascade.display.format import chance, share
from bayescascade.tuning.solution_text import promised


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (1.0, "over 99%"),
        (0.9901, "over 99%"),
        (0.5051, "51%"),
        (0.0099, "below 1%"),
        (0.0, "below 1%"),
        (np.nan, ""),
    ],
)
def test_draws_never_show_certainty(p, shown):
    assert chance(p) == shown


@pytest.mark.parametrize(
    ("threshold", "shown"),
    [
        (0.847784, "0.85"),
        (-0.0684512, "-0.068"),
        (0.99987, "0.99987"),
        (0.9512, "0.951"),
        (0.9312, "0.93"),
        (0.9, "0.90"),
        (12.3456, "12"),
        (99.987, "99.987"),  # percent
        (95.04, "95"),
        (-250.4, "-250"),
    ],
)
def test_thresholds_keep_the_digits_that_matter(threshold, shown):
    assert shown == show_threshold(threshold)
    # what is shown is as far from certainty as what is meant, to a tenth or so
    for top in (1.0, 100.0):
        if 0.9 * top < threshold < top:
            assert top - float(shown) == pytest.approx(top - threshold, rel=0.1)


@pytest.mark.parametrize(
    "pair", [(0.80421, 0.80422), (0.9, 0.90001), (99.98, 99.981), (-1e-9, -1.0001e-9), (0.3, 0.1 + 0.2)]
)
def test_thresholds_that_differ_look_different(pair):
    first, second = show_apart(*pair)
    assert first != second
    assert float(first) < float(second) or pair[0] > pair[1]


def test_a_stage_that_never_abstains_is_not_said_to_accept():
    assert show_apart(float("-inf"), 0.25, show_reject) == ("never", "0.25")


def test_a_broken_promise_does_not_look_kept():
    assert promised(0.89999) == "89.9%"
    assert promised(0.9) == "90.0%"
    assert promised(0.996) == "over 99%"
    assert promised(0.996, 0.999) == "99.6%"


@pytest.mark.parametrize(
    ("value", "shown"), [(-1e-17, "0.0%"), (-0.0004, "0.0%"), (-0.01, "-1.0%"), (0.5, "50.0%")]
)
def test_nothing_has_no_sign(value, shown):
    assert share(value) == shown
