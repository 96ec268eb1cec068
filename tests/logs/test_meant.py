"""Confidences that do not look like the kind they are given as: what they may be, and how to give them."""

import warnings

import numpy as np
import pytest
from helpers.cases import STAGES, read, refused, table_of

from bayescascade.logs.meant import what_is_meant
from bayescascade.signals.kinds import KINDS, off_scale

P = table_of()["confidence"]


def given(values, **columns):
    return table_of(confidence=values, **columns)


@pytest.mark.parametrize("values", [(5 * P).round(), (10 * P).round(), (4 * P).round() + 1, (40 * P).round()])
@pytest.mark.parametrize("kind", ["votes", "probability", "margin", "logprob"])
def test_counts_of_samples_and_ratings_are_no_percentages(values, kind):
    told = refused(
        "they look like counts or ratings: divide counts .* by the number of samples", given(values), kind
    )
    assert "confidence_kind='votes', and give ratings as confidence_kind='score'" in told
    assert "percent" not in told


@pytest.mark.parametrize("values", [100 * P, (100 * P).round(), 25 * (4 * P).round()])
@pytest.mark.parametrize("kind", ["votes", "probability"])
def test_percentages_are_no_counts(values, kind):
    refused("did you mean confidence_kind='percent', or should they be divided by 100", given(values), kind)


def test_one_stage_in_percent():
    mixed = given(P.where(table_of()["model"] != "medium", 100 * P))
    refused("those of stage 'medium' alone look like percentages; divide them by 100", mixed)
    _, said = read(mixed, "percent")
    assert [text for text in said if "of the stages 'small', 'large' are at most" in text and "one scale" in text]


@pytest.mark.parametrize("kind", ["logprob", "p_true", "log_likelihood"])
def test_losses_have_the_sign_of_logarithms_turned(kind):
    refused("with their sign turned, as losses are, give -x", given(-np.log(P)), kind)
    one = given(np.log(P) * np.where(table_of()["model"] == "large", -1.0, 1.0))
    refused("if those of stage 'large' are logarithms with their sign turned", one, kind)


@pytest.mark.parametrize("kind", ["logprob", "probability", "percent"])
def test_numbers_on_no_scale_are_scores(kind):
    refused(
        "may be given as confidence_kind='score', and -x where they are lower",
        given(np.log(P / (1.001 - P))),
        kind,
    )


def test_perplexities_are_no_percentages():
    told = refused("and -x where they are lower", given(1 / P.clip(lower=0.1)))
    assert "percent" not in told


def test_one_value_off_the_scale_says_nothing_of_the_others():
    told = refused("or NaN if the stage was not run$", given(P.where(P.index != 4, -1.0)))
    assert "score" not in told


@pytest.mark.parametrize(
    ("kind", "values", "advice"),
    [
        ("percent", P, "if each is a probability in .0, 1., give confidence_kind='probability'"),
        ("percent", (10 * P).round(), "divide counts of agreeing samples by the number of samples"),
        ("logprob_gap", P, "give confidence_kind='margin'"),
    ],
)
def test_values_at_the_low_end_of_a_long_scale_are_told(kind, values, advice):
    _, said = read(given(values), kind)
    (message,) = [text for text in said if "all confidences of the stages 'small', 'medium', 'large'" in text]
    assert "which is low for" in message
    assert advice.split("0, 1.")[-1] in message


@pytest.mark.parametrize(
    ("kind", "values"), [("percent", 100 * P), ("logprob_gap", 5 * P), ("score", P), ("votes", P)]
)
def test_values_over_their_scale_are_no_oddity(kind, values):
    _, said = read(given(values.round(1)), kind)
    assert not [text for text in said if "is low for" in text]


def test_an_unsure_stage_beside_sure_ones_is_no_oddity():
    _, said = read(given((100 * P).where(table_of()["model"] != "small", 10 * P)), "percent")
    assert not [text for text in said if "is low for" in text]


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_off_a_scale_has_an_answer(kind):
    rng = np.random.default_rng(1)
    for _ in range(50):
        values = rng.normal(size=(6, 3)) * 10.0 ** rng.integers(-3, 6) + rng.choice([0.0, 1.0, 50.0, -50.0])
        values[rng.uniform(size=values.shape) < 0.3] = np.nan
        if off_scale(values, kind).any():
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert isinstance(what_is_meant(values, STAGES, kind), str)
