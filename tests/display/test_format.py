"""Numbers as people read them."""

import numpy as np
import pytest

from bayescascade.display.format import chance, share, short, show_threshold
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
        (0.847784, "0.848"),
        (-0.0684512, "-0.0685"),
        (0.99987, "0.99987"),
        (0.9512, "0.951"),
        (0.9, "0.9"),
        (12.3456, "12.3"),
        (99.987, "99.987"),  # percent
        (95.04, "95"),
        (-250.4, "-250"),
    ],
)
def test_thresholds_keep_the_digits_that_matter(threshold, shown):
    assert short(threshold) == shown == show_threshold(threshold)
    # what is shown is as far from certainty as what is meant, to a hundredth or so
    for top in (1.0, 100.0):
        if 0.9 * top < threshold < top:
            assert top - float(shown) == pytest.approx(top - threshold, rel=0.05)


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
