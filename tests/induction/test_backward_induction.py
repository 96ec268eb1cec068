"""What `backward_induction` returns and says, on draws made by hand."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.brute_force import (
    ACCEPT,
    DEFER,
    atoms_draws,
    best_by_thresholds,
    every_combination,
    every_set,
    path_losses,
)
from helpers.draws import make_draws, with_curve

import bayescascade as bc
from bayescascade.cascade.forward import forward
from bayescascade.cascade.positions import to_positions
from bayescascade.induction.backward_induction import backward_induction_draws
from bayescascade.posterior.kernel import build_kernel, mean_kernel


def upside_down():
    """Two stages of atoms where the first is right most often at its lowest atom."""
    draws = atoms_draws(4, 2, seed=5, spread=0.0)
    offset = np.zeros_like(draws.curve["atom_offset"])
    offset[:, 0, 0], offset[:, 0, 2] = 6.0, -2.0
    cost = np.array([[1.0, 3.0]])
    line = {"intercept": np.array([[0.5, 2.0]]), "slope": np.array([[0.3, 0.3]])}
    return with_curve(replace(draws, cost=cost), atom_offset=offset, **line)


def test_words_for_a_set_that_is_no_half_line():
    draws = upside_down()
    out = backward_induction_draws(draws, error_price=[12.0, 0.01])
    assert dict(out.sizes) == {"price": 2, "stage": 2}
    assert not bool(out["half_line"].sel(price=12.0, stage="s0"))
    assert bool(out["half_line"].sel(price=0.01).all())
    kernel = build_kernel(draws)
    _, actions = every_combination([every_set(4, (DEFER, ACCEPT)), np.full((1, 4), ACCEPT)], 2)
    every = path_losses(kernel, actions, 12.0)
    first = out.sel(price=12.0)
    assert float(first["best_loss"]) == pytest.approx(every.min())
    assert float(first["loss"]) == pytest.approx(best_by_thresholds(kernel, 12.0))
    assert float(first["lost"]) == pytest.approx(float(first["loss"]) - every.min())
    assert float(first["lost"]) > 0.1
    share = kernel.mass[0, 0, 0]
    assert (
        f"With an error at 12, 's0' should also accept at 0.25 ({share:.1%} of all queries)" in out.attrs["text"]
    )
    assert f"lose at most {float(first['lost']):.3g} per query" in out.attrs["text"]


def test_words_where_thresholds_are_enough():
    out = backward_induction_draws(make_draws(3, "no atoms", n_draws=300, seed=2), error_price=20.0)
    assert out["half_line"].all()
    assert "no policy of any kind does noticeably better" in out.attrs["text"]
    assert float(out["lost"]) <= 1e-4 * float(out["loss"])


def test_what_is_returned_belongs_together():
    draws = make_draws(3, "both atoms", n_draws=60, seed=4)
    prices = [30.0, 90.0]
    out = backward_induction_draws(draws, error_price=prices, abstain_price=5.0)
    kernel = mean_kernel(draws)
    accept, reject = (to_positions(out[name].values, draws) for name in ("threshold", "reject_threshold"))
    assert (out["threshold"].values[:, -1] == -np.inf).all()
    accept[:, -1] = reject[:, -1]
    got = forward(kernel, np.concatenate([accept, reject], axis=1))
    for name in ("error", "cost", "abstained"):
        np.testing.assert_allclose(out[name], getattr(got, name)[0], atol=1e-9)
    expected = out["error"] * prices + out["cost"] + 5.0 * out["abstained"]
    np.testing.assert_allclose(out["loss"], expected)
    np.testing.assert_allclose(out["lost"], out["loss"] - out["best_loss"])
    assert float(out["abstained"].sum()) > 0.01
    one = backward_induction_draws(draws, error_price=30.0, abstain_price=5.0)
    assert "price" not in one.dims
    np.testing.assert_array_equal(one["threshold"], out["threshold"].isel(price=0))
    plain = backward_induction_draws(draws, error_price=30.0)
    assert "reject_threshold" not in plain
    assert float(plain["abstained"]) == 0.0
    assert float(one["loss"]) <= float(plain["loss"])


@pytest.mark.parametrize("abstain_price", [None, 5.0])
def test_each_draw_by_itself(abstain_price):
    draws = replace(make_draws(3, "top atom", n_draws=140, seed=4), chains=np.arange(2))
    out = backward_induction_draws(draws, error_price=[30.0, 90.0], abstain_price=abstain_price, by_draw=True)
    assert dict(out.sizes) == {"chain": 2, "draw": 70, "price": 2, "stage": 3}
    for chain, draw in ((0, 3), (1, 69)):
        one = draws.take(np.array([chain * 70 + draw]))
        alone = backward_induction_draws(
            replace(one, chains=np.arange(1)), error_price=[30.0, 90.0], abstain_price=abstain_price
        )
        mine = out.isel(chain=chain, draw=draw)
        for name in ("threshold", "loss", "best_loss", "error", "cost", "abstained"):
            np.testing.assert_allclose(mine[name], alone[name], rtol=1e-6)
    if not out["half_line"].all():
        assert "of the draws thresholds fall short" in out.attrs["text"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"error_price": 0.0}, r"error_price=0.0 is not allowed"),
        ({"error_price": [1.0, float("nan")]}, r"error_price=nan is not allowed"),
        ({"error_price": []}, r"shape \(0,\); give one price"),
        ({"error_price": [[1.0]]}, r"shape \(1, 1\)"),
        ({"error_price": "dear"}, r"error_price='dear' is not allowed"),
        ({"error_price": [3.0, 2.0], "abstain_price": 2.0}, r"abstain_price=2 is not below error_price=2"),
        ({"error_price": 3.0, "abstain_price": -1.0}, r"abstain_price=-1.0 is not allowed"),
    ],
)
def test_prices_that_cannot_be(options, message):
    with pytest.raises(bc.CascadeError, match=message):
        backward_induction_draws(make_draws(2), **options)
