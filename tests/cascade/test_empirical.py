"""`score` against a plain loop over the queries of a log."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from bayescascade.cascade import rules
from bayescascade.cascade.empirical import cost_of_queries, score
from bayescascade.cascade.rules import DecisionRule, route
from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.model.simulate import simulate
from bayescascade.runtime.policy import Policy

INF = float("inf")
STAGES = ["small", "medium", "large"]
POINTS = np.array([[0.8, 0.9, -INF], [1.0, 1.0, -INF], [-INF, 0.3, -INF], [0.5, INF, -INF]])
REJECT = np.array([[0.2, -INF, 0.5], [-INF, 0.6, INF], [-INF, 0.3, -INF], [0.5, 0.4, 0.9]])


@pytest.fixture(scope="module")
def log():
    """A log with a latency that some calls do not tell."""
    made = simulate(150, n_stages=3, top_atom=0.2, random_seed=6)
    rng = np.random.default_rng(1)
    latency = rng.gamma(4.0, [[50.0, 100.0, 400.0]], size=(150, 3))
    latency[rng.uniform(size=latency.shape) < 0.1] = np.nan
    return made.assign(latency=(("query", "stage"), latency, {"units": "ms"}))


def by_loop(log, policy, price):
    """Error, cost, latency, abstained and, for each stage, run and answered; ``price(name, j, i)`` of a call."""
    confidence, correct = (log[name].values for name in ("confidence", "correct"))
    n, n_stages = confidence.shape
    out = {name: 0.0 for name in ("error", "cost", "latency", "abstained")}
    out |= {"reach": np.zeros(n_stages), "answered": np.zeros(n_stages)}
    for i in range(n):
        for j in range(n_stages):
            out["reach"][j] += 1 / n
            for name in ("cost", "latency"):
                out[name] += price(name, j, i) / n
            decision = policy.run(confidence[i, : j + 1])
            if decision == "accept":
                out["answered"][j] += 1 / n
                out["error"] += (1 - correct[i, j]) / n
            if decision == "abstain":
                out["abstained"] += 1 / n
            if decision != "defer":
                break
    return out


def same(found, point, expected):
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].isel(point=point), value, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("reject", [None, REJECT])
def test_score_is_a_loop_over_the_log(log, reject):
    found = score(log, POINTS, reject)
    mean = {name: np.nanmean(log[name].values, axis=0) for name in ("cost", "latency")}
    for point, thresholds in enumerate(POINTS):
        policy = Policy(STAGES, thresholds, "probability", reject=None if reject is None else reject[point])
        same(found, point, by_loop(log, policy, lambda name, j, i: mean[name][j]))
    assert found.attrs["n_queries"] == 150
    assert found["latency"].attrs["units"] == "ms"
    shares = found["answered"].sum("stage") + found["abstained"]
    np.testing.assert_allclose(shares, 1.0)
    assert (found["abstained"] > 0).any() == (reject is not None)
    assert dict(score(log, POINTS[0]).sizes) == {"stage": 3}
    assert "latency" not in score(log.drop_vars("latency"), POINTS)


def test_one_rejecting_vector_serves_all_points(log):
    low = [0.1, 0.1, 0.6]
    points = POINTS[[0, 1, 3]]
    xr.testing.assert_identical(score(log, points, low), score(log, points, np.tile(low, (3, 1))))


def test_costs_of_the_queries_themselves(log):
    policy = Policy(STAGES, POINTS[0], "probability", reject=REJECT[0])
    found = score(log, policy, cost="queries")
    ran = np.zeros((150, 3), dtype=bool)
    for i in range(150):
        for j in range(3):
            ran[i, j] = True
            if policy.run(log["confidence"].values[i, : j + 1]) != "defer":
                break
    expected = {}
    for name in ("cost", "latency"):
        own = log[name].values
        known = np.where(ran, own, np.nan)
        expected[name] = np.where(ran, np.where(np.isnan(known), np.nanmean(known, axis=0), own), 0.0).sum(axis=1)
        assert float(found[name]) == pytest.approx(expected[name].mean())
    rule = DecisionRule.from_any(policy, STAGES, "probability")
    np.testing.assert_allclose(cost_of_queries(log, rule, cost="queries")[0], expected["cost"])
    with pytest.raises(CascadeError, match="cost='median' is not known"):
        score(log, policy, cost="median")


def test_latency_of_a_stage_that_tells_none_is_not_known(log):
    part = log.assign(latency=log["latency"].where(log["stage"] != "large"))
    found = score(part, [[0.8, -INF, -INF], [0.8, 0.9, -INF]])
    assert np.isfinite(found["latency"][0])
    assert np.isnan(found["latency"][1])


def test_score_needs_only_what_the_cascade_runs():
    log = simulate(60, n_stages=3, random_seed=6)
    thresholds = np.array([0.6, 0.7, -INF])
    reject = np.array([0.3, -INF, 0.5])
    whole = score(log, thresholds, reject)
    confidence, correct = log["confidence"].values.copy(), log["correct"].values.copy()
    for j in range(2):
        ended = (confidence[:, : j + 1] >= thresholds[: j + 1]) | (confidence[:, : j + 1] < reject[: j + 1])
        confidence[ended.any(axis=1), j + 1], correct[ended.any(axis=1), j + 1] = np.nan, np.nan
    # nor is a label asked of a query that a stage defers or leaves without an answer
    for j in range(3):
        correct[(confidence[:, j] < thresholds[j]) | (confidence[:, j] < reject[j]), j] = np.nan
    log = log.assign(confidence=log["confidence"].copy(data=confidence), correct=log["correct"].copy(data=correct))
    partial = score(log, thresholds, reject)
    # the cost is a mean over other queries now
    xr.testing.assert_allclose(partial.drop_vars("cost"), whole.drop_vars("cost"))


def unrun(log, rows, stage=2):
    """The log without a stage for some queries."""
    confidence, correct = log["confidence"].values.copy(), log["correct"].values.copy()
    confidence[rows, stage] = correct[rows, stage] = np.nan
    return log.assign(
        confidence=log["confidence"].copy(data=confidence), correct=log["correct"].copy(data=correct)
    )


def test_queries_that_cannot_be_followed_are_left_out_of_all_numbers_and_named():
    log = simulate(30, n_stages=3, random_seed=6)
    names = log["query"].values
    rows = np.arange(30) % 5 == 0
    with pytest.warns(
        CascadeWarning, match=rf"^6 of 30 queries \(first: query {names[0]}, stage 'large'\) are sent"
    ) as seen:
        out = score(unrun(log, rows), [INF, INF, -INF])
    assert len(seen) == 1
    assert out.attrs["n_queries"] == 24
    of_others = score(log.isel(query=~rows), [INF, INF, -INF])
    for name in ("error", "reach", "answered", "abstained"):
        np.testing.assert_array_equal(out[name], of_others[name])
    halves = unrun(unrun(log, np.arange(30) % 2 == 0), np.arange(30) % 2 == 1, stage=0)
    with pytest.raises(CascadeError, match=r"no query of the log ran the stages "):
        score(halves, [INF, INF, -INF])


def test_reach_and_cost_need_no_labels():
    log = simulate(60, n_stages=3, random_seed=6)
    thresholds = [0.8, 0.7, -INF]
    whole = score(log, thresholds)
    with pytest.warns(CascadeWarning, match=r"^60 of 60 answers .* have no label, so the error is not known"):
        bare = score(log.assign(correct=log["correct"] * np.nan), thresholds)
    assert np.isnan(bare["error"])
    xr.testing.assert_equal(bare.drop_vars("error"), whole.drop_vars("error"))
    some = np.arange(60) < 20
    with pytest.warns(CascadeWarning, match=r"^40 of 60 answers .* so the error is that of the others"):
        partly = score(log.assign(correct=log["correct"].where(xr.DataArray(some, dims="query"))), thresholds)
    assert float(partly["error"]) == float(score(log.isel(query=some), thresholds)["error"])
    xr.testing.assert_equal(partly.drop_vars("error"), whole.drop_vars("error"))


def test_what_a_policy_or_a_solution_says_of_abstaining_counts(log):
    policy = Policy(STAGES, POINTS[0], "probability", reject=REJECT[0])
    plain = score(log, POINTS[0], REJECT[0])
    assert score(log, policy).identical(plain)
    by_stage = [xr.DataArray(x[0], dims="stage", coords={"stage": STAGES}) for x in (POINTS, REJECT)]
    assert score(log, SimpleNamespace(thresholds=by_stage[0], reject=by_stage[1])).identical(plain)
    # but what is said outright goes first
    never = score(log, policy, [-INF] * 3)
    assert never.identical(score(log, POINTS[0]))
    assert float(never["abstained"]) == 0.0


def test_a_policy_of_one_stage_is_scored_on_a_log_of_that_stage(log):
    """As `read_log` reads it for the policy."""
    policy = Policy(["medium"], [-INF], "probability")
    for known in (log, log.sel(stage=["medium"])):
        found = score(known, policy)
        assert found["error"] == pytest.approx(1.0 - log["correct"].sel(stage="medium").mean().item())
        assert found["reach"].values.tolist() == [1.0]
    with pytest.raises(CascadeError, match="needs at least two stages but this log has none"):
        score(log.isel(stage=slice(0)), policy)


def test_thresholds_that_name_some_stages_run_these(log):
    thresholds = xr.DataArray([0.8, -INF], dims="stage", coords={"stage": ["large", "small"]})
    found = score(log, thresholds)
    assert list(found["stage"].values) == ["large", "small"]
    assert found.identical(score(log.sel(stage=["large", "small"]), [0.8, -INF]))


@pytest.mark.parametrize(
    ("thresholds", "reject", "message"),
    [
        (POINTS[0], [0.2, 0.2], r"reject has shape \(2,\); give one for each of the 3 stages"),
        (POINTS, REJECT[:2], r"reject has shape \(2, 3\); .* with 4 points as in thresholds"),
        (POINTS[0], [0.2, np.nan, 0.2], "rejecting threshold nan of stage 'medium'.*or -inf"),
        (
            POINTS[0],
            [0.2, 20.0, 0.2],
            "rejecting threshold 20.0 of stage 'medium' is off the scale of 'probability'",
        ),
        (POINTS[0], [0.2, 0.95, 0.2], "stage 'medium' would accept from 0.9 on but abstain below 0.95"),
        (POINTS[0], "low", "reject came as 'low'; give numbers"),
    ],
)
def test_rules_that_cannot_be_are_refused(log, thresholds, reject, message):
    with pytest.raises(CascadeError, match=message):
        score(log, thresholds, reject)


def test_a_rule_and_a_policy_say_the_same(log):
    policy = Policy(STAGES, POINTS[0], "probability", {"note": "kept"}, reject=REJECT[0])
    rule = DecisionRule.from_any(policy, STAGES, "probability")
    assert rule.single
    assert rule.abstains
    assert rule.to_policy(policy.metadata) == policy
    assert DecisionRule.from_any(rule, STAGES, "probability") is rule
    assert score(log, rule).identical(score(log, policy))
    with pytest.raises(CascadeError, match="one threshold vector, but 4 came"):
        DecisionRule.from_any(POINTS, STAGES, "probability").to_policy()
    with pytest.raises(CascadeError, match=r"are for stages \['small', 'medium', 'large'\], but this cascade has"):
        DecisionRule.from_any(rule, ["small", "large"], "probability")


def test_routes_in_blocks_are_the_route_of_all(log, monkeypatch):
    confidence = log["confidence"].values
    whole = route(confidence, POINTS, REJECT)
    monkeypatch.setattr(rules, "_BLOCK", 2 * confidence.size)
    parts = list(rules.route_blocks(confidence, POINTS, REJECT))
    assert len(parts) == 2
    for name in whole._fields:
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name))
    # every query is answered once or not at all, by the last stage that it runs
    np.testing.assert_array_equal(whole.accepted.sum(axis=1) + whole.abstained, 1)
    np.testing.assert_array_equal(
        whole.accepted.argmax(axis=1), np.where(whole.abstained, 0, whole.reach.sum(axis=1) - 1)
    )


@pytest.mark.parametrize(
    ("stages", "threshold", "kind", "message"),
    [
        (["a", "b", "c"], 0.8, "probability", r"for stages \['a', 'b', 'c'\], but this cascade has \['small', "),
        (["small", "mid", "large"], 0.8, "probability", r"for stages \['small', 'mid', 'large'\]"),
        (
            ["small", "medium", "large"],
            0.8,
            "percent",
            "of kind 'percent', but the log or fit has .* 'probability'",
        ),
        (["small", "medium", "large"], 0.8, "votes", "of kind 'votes', but the log or fit has .* 'probability'"),
    ],
)
def test_a_policy_of_another_log_is_not_read_by_position(example_log, stages, threshold, kind, message):
    policy = Policy(stages, [threshold, threshold, -np.inf], kind)
    with pytest.raises(CascadeError, match=message):
        score(example_log, policy)
