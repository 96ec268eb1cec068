"""Is the cascade worth running: rivals against brute force and simulation; the words that follow from numbers."""

import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers.draws import make_draws

import bayescascade as bc
from bayescascade.analysis.rival_table import Strategy, rivals_table
from bayescascade.analysis.verdict import (
    describe,
    mix_rivals,
    pair_rivals,
    stage_rivals,
    stages_alone,
    strategy_outcome,
    verdict,
)
from bayescascade.cascade.discrepancy import promise_spread, read_discrepancy
from bayescascade.cascade.evaluate import forward_all
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.replicate import replicate_draw
from bayescascade.tuning.spec import TuningSpec

PRICE = 30.0
STAGES = ["small", "medium", "large"]
EQUAL = 1e-5 * PRICE


def middling(draws):
    """The cascade that each stage's middle segment splits: no rival's, and not the best."""
    half = np.array([[0.5 * len(m.low) for m in draws.margins[:-1]] + [0.0]])
    outcome = forward_all(draws, np.round(half))
    return strategy_outcome(TuningSpec(error_price=PRICE), outcome.error[:, 0], outcome.cost[:, 0])


@pytest.fixture(scope="module", params=["no atoms", "both atoms"])
def draws(request):
    return make_draws(4, request.param, n_draws=40, seed=3)


def test_pair_is_the_best_of_all_thresholds(draws):
    """Against every threshold vector of every pair on a fine grid."""
    (found,) = pair_rivals(draws, TuningSpec(error_price=PRICE), middling(draws), EQUAL)
    lowest = np.inf
    for i in range(4):
        for j in range(i + 1, 4):
            n = len(draws.margins[i].low)
            at = np.linspace(0.0, n, 16 * n + 1)
            segment = np.minimum(at.astype(int), n - 1)
            at = at[~draws.margins[i].is_atom[segment] | (at == np.round(at))]
            outcome = forward_all(draws.restrict([i, j]), np.column_stack([at, np.zeros(len(at))]))
            lowest = min(lowest, (PRICE * outcome.error + outcome.cost).mean(axis=0).min())
    assert found.loss.mean() == pytest.approx(lowest, rel=2e-4)
    assert found.chosen
    assert found.kind == "pair"


def test_pair_loses_what_its_queries_lose():
    """Against queries drawn from one draw and run through the pair that the name says, threshold and all."""
    draws = make_draws(3, n_draws=1, seed=5)
    (found,) = pair_rivals(draws, TuningSpec(error_price=PRICE), middling(draws), EQUAL)
    stages, threshold = found.name.split(" at ")
    first, second = (draws.stages.index(name) for name in stages.split(" > "))
    confidence, correct = replicate_draw(draws, 0, 200_000, np.random.default_rng(1))
    accepted = confidence[:, first] >= float(threshold)
    wrong = 1.0 - np.where(accepted, correct[:, first], correct[:, second])
    cost = draws.cost[0, first] + draws.cost[0, second] * ~accepted
    loss = PRICE * wrong + cost
    assert found.loss[0] == pytest.approx(loss.mean(), abs=4 * loss.std() / np.sqrt(len(loss)) + 1e-3 * PRICE)


def test_two_stages_have_no_other_pair():
    draws = make_draws(2, n_draws=3)
    assert pair_rivals(draws, TuningSpec(error_price=PRICE), middling(draws), EQUAL) == []


def test_mix_is_the_best_of_those_that_cost_as_much(draws):
    """Against shares of two stages on a grid; the cost is the cascade's in expectation."""
    prices, cascade = TuningSpec(error_price=PRICE), middling(draws)
    singles = stages_alone(draws, prices)
    (found,) = mix_rivals(draws, singles, cascade, PRICE)
    error = ((singles.loss - singles.cost) / PRICE).mean(axis=0)
    cost, target = singles.cost.mean(axis=0), cascade.cost.mean()
    share = np.linspace(0.0, 1.0, 20_001)
    lowest = np.inf
    for i in range(4):
        for j in range(4):
            affordable = share * cost[i] + (1.0 - share) * cost[j] <= target
            mixed = share * error[i] + (1.0 - share) * error[j]
            lowest = min(lowest, mixed[affordable].min(initial=np.inf))
    shares = {part.split(" to ")[1]: float(part.split("%")[0]) / 100 for part in found.name.split(", ")}
    assert sum(shares.values()) == pytest.approx(1.0, abs=0.011)
    spent = sum(part * cost[draws.stages.index(name)] for name, part in shares.items())
    assert spent == pytest.approx(target, rel=0.02)
    assert (found.loss.mean() - target) / PRICE == pytest.approx(lowest, abs=1e-4)


def test_mix_of_a_cascade_that_costs_more_than_any_stage_is_a_stage():
    draws = make_draws(3, n_draws=5)
    singles = stages_alone(draws, TuningSpec(error_price=PRICE))
    dear = strategy_outcome(TuningSpec(error_price=PRICE), np.full(5, 0.1), np.full(5, 1e3))
    (found,) = mix_rivals(draws, singles, dear, PRICE)
    best = int(np.argmin((singles.loss - singles.cost).mean(axis=0)))
    assert found.name == f"all to {draws.stages[best]}"
    np.testing.assert_array_equal(found.loss, singles.loss[:, best])
    cheap = strategy_outcome(TuningSpec(error_price=PRICE), np.full(5, 0.1), np.full(5, 1e-3))
    assert mix_rivals(draws, singles, cheap, PRICE) == []


def test_single_stage_that_abstains():
    """Against every cut between segments; what lies below it is left unanswered."""
    draws, prices = (
        make_draws(3, "both atoms", n_draws=40, seed=3),
        TuningSpec(error_price=PRICE, abstain_price=10.0),
    )
    found = stages_alone(draws, prices)
    mass, wrong = draws.mass, 1.0 - draws.segment_correct()
    for j, margin in enumerate(draws.margins):
        cuts = [
            draws.cost[:, j] + 10.0 * mass[:, j, :s].sum(axis=1) + PRICE * (mass * wrong)[:, j, s:].sum(axis=1)
            for s in range(len(margin.low) + 1)
        ]
        coarse = np.mean(cuts, axis=1).min()
        # a cut within a segment may be better still, by at most a part of what the segment weighs
        assert coarse - 0.02 <= found.loss[:, j].mean() <= coarse + 1e-6
        assert found.loss[:, j].mean() < cuts[0].mean()


def test_pair_that_abstains_loses_less(draws):
    cascade = middling(draws)
    (plain,) = pair_rivals(draws, TuningSpec(error_price=PRICE), cascade, EQUAL)
    (found,) = pair_rivals(draws, TuningSpec(error_price=PRICE, abstain_price=10.0), cascade, EQUAL)
    assert found.loss.mean() < plain.loss.mean() - 0.05


def test_rival_is_one_decision_and_not_the_best_of_each_draw():
    """Two stages that take turns in being best: the cascade beats either alone, but not whichever is better."""
    base = make_draws(2, n_draws=200, seed=2)
    prices = TuningSpec(error_price=1.0)
    turn = np.where(np.arange(200) % 2 == 0, 0.1, 0.3)
    singles = strategy_outcome(prices, np.column_stack([turn, 0.41 - turn]), np.zeros((200, 2)))
    cascade = strategy_outcome(prices, np.full(200, 0.15), np.zeros(200))
    rows = stage_rivals(base, singles, cascade, 1e-5)
    assert [row.chosen for row in rows] == [True, False]
    table = rivals_table(rows, 1e-5)
    savings = rivals_table([Strategy("this cascade", "cascade", cascade.loss, True), *rows], 1e-5)
    assert savings["p_beats"].tolist()[1:] == [0.5, 0.5]
    assert savings["p_beats_any"].tolist()[1] == 0.0
    assert savings["saving"].tolist()[1:] == pytest.approx([50.0, 60.0])
    assert table["chosen"].tolist() == [True, False]


# ---- words


def rows_of(pair_saving, single_saving, p):
    """A table of a cascade of loss 5 with a best stage, a best pair and a mix."""
    return pd.DataFrame(
        [
            {"rival": name, "kind": kind, "chosen": True, "loss": 5.0 + saving, "saving": saving, "p_beats": p}
            | {"saving_low": saving - 1.0, "saving_high": saving + 1.0}
            for name, kind, saving in (
                ("this cascade", "cascade", 0.0),
                ("big alone", "single stage", single_saving),
                ("small > big at 0.7", "pair", pair_saving),
                ("40% to small, 60% to big", "random mix", 2.0),
            )
        ]
    )


@pytest.mark.parametrize(
    ("pair", "single", "p", "decision"),
    [
        (0.5, 0.8, 0.95, "run this cascade"),
        (0.5, 0.8, 0.8, "run it, though the gain is uncertain"),
        (0.5, 0.8, 0.6, "a toss-up between this cascade and small > big at 0.7, which is simpler"),
        (0.5, -0.1, 0.2, "do not run this cascade: send every query to big"),
        (0.5, -0.1, 0.4, "a toss-up between this cascade and big alone, which is simpler"),
        (-0.2, 0.8, 0.2, "run a shorter cascade: small > big at 0.7"),
        (-0.2, 0.8, 0.49, "a toss-up between this cascade and small > big at 0.7, which is simpler"),
        (-0.2, -0.3, 0.2, "do not run this cascade: send every query to big"),
        (-0.32, -0.3, 0.2, "do not run this cascade: send every query to big"),
        (1e-4, 0.8, 0.5, "run a shorter cascade: small > big at 0.7"),
        (0.0, 0.0, 0.0, "do not run this cascade: send every query to big"),
    ],
)
def test_decision(pair, single, p, decision):
    found, text = describe(rows_of(pair, single, p), TuningSpec(error_price=0.02), 1e-6)
    assert found == decision
    assert text.lower().startswith(decision)
    assert "40% to small, 60% to big" in text
    if single < 0:
        assert f"it costs {-single:.3g} more. The probability that it is the cheaper one is " in text
    if single == 0:
        assert "the best single stage, big, it makes no difference" in text


def test_of_the_example(example_fit):
    found = verdict(example_fit, error_price=0.02)
    table = found.table.set_index("rival")
    assert table.index.tolist()[:4] == ["this cascade", "small alone", "medium alone", "large alone"]
    draws = get_draws(example_fit)
    solution = bc.tune(example_fit, error_price=0.02)
    own = 0.02 * solution.error + solution.cost
    np.testing.assert_allclose(found.loss.sel(rival="this cascade"), own)
    large = 0.02 * (1 - np.sum(np.diff(draws.edges(), axis=2) * draws.segment_correct(), axis=2)) + draws.cost
    np.testing.assert_allclose(found.loss.sel(rival="large alone").values.ravel(), large[:, 2], rtol=1e-9)
    saving = 1000 * (found.loss.sel(rival="large alone") - own)
    row = table.loc["large alone"]
    assert row["saving"] == pytest.approx(float(saving.mean()))
    assert row["saving_low"] == pytest.approx(float(saving.quantile(0.05)))
    assert row["p_beats"] == pytest.approx(float((saving > 0).mean()))
    chosen = table[table["chosen"]]
    assert chosen["kind"].tolist() == ["cascade", "single stage", "pair", "random mix"]
    # what is best in a draw is at least as good as what is best on average
    rivals = chosen.iloc[1:]
    assert (rivals["p_beats_any"] <= rivals["p_beats"]).all()
    assert found.decision in ("run this cascade", "run it, though the gain is uncertain")
    assert found.text in repr(found)
    assert "<table" in found._repr_html_()


def test_cheap_errors_make_the_cheapest_stage_best(example_fit):
    found = verdict(example_fit, error_price=1e-4)
    assert found.decision == "do not run this cascade: send every query to small"


def test_solution_tuned_to_a_bound(example_fit):
    solution = bc.tune(example_fit, max_error=0.3)
    found = verdict(example_fit, error_price=0.02, solution=solution)
    np.testing.assert_allclose(found.loss.sel(rival="this cascade"), 0.02 * solution.error + solution.cost)
    best = verdict(example_fit, error_price=0.02)
    assert found.table["loss"][0] > best.table["loss"][0]
    pairs = [one.table.set_index("kind").loc["pair", "loss"] for one in (found, best)]
    assert pairs[0] == pairs[1]


def test_solution_that_loses_is_told_what_tuning_to_the_price_would_bring(example_fit):
    solution = bc.tune(example_fit, max_error=0.4)
    found = verdict(example_fit, error_price=0.05, solution=solution)
    assert found.decision.startswith(("do not run this cascade", "run a shorter cascade"))
    best = verdict(example_fit, error_price=0.05)
    assert found.text.endswith(f"Thresholds tuned to this price would lose {best.table['loss'][0]:.3g}.")
    assert "Thresholds tuned" not in best.text


def test_unanswered_queries_have_a_price(example_fit):
    solution = bc.tune(example_fit, error_price=0.02)
    some = xr.full_like(solution.error, 0.1)
    solution = replace(solution, abstained=some)
    with pytest.raises(bc.CascadeError, match="leaves queries unanswered; give abstain_price"):
        verdict(example_fit, error_price=0.02, solution=solution)
    found = verdict(example_fit, error_price=0.02, solution=solution, abstain_price=0.01)
    own = 0.02 * solution.error + solution.cost + 0.01 * 0.1
    np.testing.assert_allclose(found.loss.sel(rival="this cascade"), own)
    assert "and no answer 0.01 (rivals may abstain, too)" in found.text
    with pytest.raises(bc.CascadeError, match=r"abstain_price=0.03 is not below error_price=0.02"):
        verdict(example_fit, error_price=0.02, abstain_price=0.03)


def test_plot_names_axes_and_units(example_fit):
    found = verdict(example_fit, error_price=0.02)
    ax = found.plot()
    assert ax.get_xlabel() == "saving per 1,000 queries"
    shown = [label.get_text() for label in ax.texts]
    assert "large alone (single stage)" in shown
    assert len(shown) == len(found.table) - 1
    assert found.plot(ax) is ax


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"provenance": {"data_hash": "0" * 64}}, "tuned on another fit"),
        ({"error": xr.DataArray(np.full((2, 3), 0.1), dims=("chain", "draw"))}, "tuned on another fit"),
        (
            {"thresholds": xr.DataArray([0.5, -np.inf], dims="stage", coords={"stage": ["a", "b"]})},
            r"the solution is for stages \['a', 'b'\]",
        ),
    ],
)
def test_foreign_solutions(example_fit, change, message):
    solution = replace(bc.tune(example_fit, error_price=0.02), **change)
    with pytest.raises(bc.CascadeError, match=message):
        verdict(example_fit, error_price=0.02, solution=solution)
    with pytest.raises(bc.CascadeError, match=message):
        bc.sensitivity(example_fit, solution, price_factors=(), powers=())


@pytest.mark.parametrize("change", [lambda fit: bc.drift(fit, 0.1), lambda fit: bc.reprice(fit, factor=2.0)])
def test_a_solution_of_the_fit_before_or_after_a_change_is_foreign(example_fit, change):
    changed = change(example_fit)
    for tuned, given in ((example_fit, changed), (changed, example_fit)):
        with pytest.raises(bc.CascadeError, match="tuned on another fit than the one that came"):
            verdict(given, solution=bc.tune(tuned, error_price=0.02))
    assert verdict(changed, solution=bc.tune(changed, error_price=0.02)).decision


@pytest.mark.parametrize("price", [0.0, -1.0, float("nan"), "much"])
def test_price_must_be_positive(example_fit, price):
    with pytest.raises(bc.CascadeError, match=r"error_price=.* is not allowed"):
        verdict(example_fit, error_price=price)


# ---- where the goal is a limit


def test_a_limit_is_judged_by_what_keeps_the_same_limit(example_fit):
    solution = bc.tune(example_fit, max_error=0.33)
    found = verdict(example_fit, solution=solution)
    assert found.error_price is None
    table = found.table.set_index("rival")
    # the cascade's cost, and that of each rival, as the posterior has them
    np.testing.assert_allclose(found.loss.sel(rival="this cascade"), solution.cost)
    np.testing.assert_allclose(
        found.loss.sel(rival="large alone").values.ravel(), get_draws(example_fit).cost[:, 2]
    )
    # whether a stage alone keeps the limit is judged with the same margin and probability
    discrepancy = read_discrepancy(example_fit, promise_spread(example_fit), one_sided=True)
    wide = discrepancy.stages_alone(get_draws(example_fit))
    for j, name in enumerate(("small", "medium", "large")):
        assert table.loc[f"{name} alone", "kept"] == pytest.approx(np.mean(wide[:, j] <= 0.33))
        assert table.loc[f"{name} alone", "chosen"] == (name == "large")
    # the pair is what tune chooses of its two stages, and the best of the three pairs
    pairs = [bc.tune(example_fit, max_error=0.33, stages=list(pair)) for pair in combinations(STAGES, 2)]
    costs = [float(pair.cost.mean()) for pair in pairs if pair.feasible]
    pair = table[table["kind"] == "pair"].iloc[0]
    assert pair["loss"] == pytest.approx(1000 * min(costs), rel=0.02)
    assert pair["kept"] >= 0.9
    # the mix keeps the limit, and a little less of the dear stage would not
    mix = table[table["kind"] == "random mix"]
    share = float(re.search(r"([\d.]+)% to large", mix.index[0])[1]) / 100
    for more, keeps in ((0.0, True), (-0.01, False)):
        low = 1 - share - more
        mixed = low * wide[:, 1] + (share + more) * wide[:, 2]
        assert (np.mean(mixed <= 0.33) >= 0.9) == keeps
    assert "To have error at most 33% with probability 90%" in found.text
    assert "an error costs" not in found.text


def test_the_cascade_and_its_rivals_come_from_the_same_draws(example_fit):
    """A margin moves no saving: with and without it the same thresholds save the same."""
    solution = bc.tune(example_fit, max_error=0.33)
    with_margin, without = (
        verdict(example_fit, error_price=0.02, solution=one).table
        for one in (solution, replace(solution, margin=None))
    )
    pd.testing.assert_frame_equal(with_margin, without)
    own = 0.02 * bc.evaluate(example_fit, solution.thresholds)["error"].mean() + solution.cost.mean()
    assert with_margin["loss"][0] == pytest.approx(1000 * float(own))


def test_a_limit_that_nothing_keeps(example_fit):
    found = verdict(example_fit, solution=bc.tune(example_fit, max_error=0.05))
    assert found.decision == "ask for less: nothing keeps this limit"
    assert found.table["chosen"].tolist() == [True, False, False, False, False]


def test_a_limit_of_the_cost_compares_errors(example_fit):
    solution = bc.tune(example_fit, max_cost=0.001)
    found = verdict(example_fit, solution=solution)
    np.testing.assert_allclose(found.loss.sel(rival="this cascade"), solution.error)
    assert re.search(r"saves [\d.]+ wrong answers\. The probability that it errs less is ", found.text)


def test_a_limit_that_a_stage_alone_keeps_for_less(example_fit):
    found = verdict(example_fit, solution=bc.tune(example_fit, max_error=0.6))
    assert found.decision == "do not run this cascade: send every query to small"


def test_without_a_price_the_solutions_own_counts(example_fit):
    solution = bc.tune(example_fit, error_price=0.02)
    one, other = verdict(example_fit, solution=solution), verdict(example_fit, error_price=0.02)
    assert one.text == other.text
    with pytest.raises(bc.CascadeError, match="give error_price, what an error costs, or a solution of tune"):
        verdict(example_fit)
