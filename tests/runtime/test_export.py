"""Policies as SQL, run in DuckDB beside `Policy.decide` and `score`; and for the router of vLLM."""

import math

import duckdb
import numpy as np
import pytest
import xarray as xr
import yaml

import bayescascade as bc
from bayescascade import CascadeError, Policy
from bayescascade.signals.kinds import KINDS

INF, NAN = math.inf, math.nan


def by_policy(policy, row):
    """Where a query ends, by the policy's own decisions."""
    for place, (stage, value) in enumerate(zip(policy.stages, row, strict=True)):
        if place == len(policy.stages) - 1 and (policy.reject is None or policy.reject[-1] == -INF):
            return stage, "accept"
        if value is None:
            return None, None
        try:
            decision = policy.decide(stage, value)
        except CascadeError:  # NaN where it is needed, or off the scale
            return None, None
        if decision != "defer":
            return stage, decision
    raise AssertionError


def by_sql(policy, rows, types="DOUBLE", **options):
    with duckdb.connect() as base:
        columns = (options.get("columns") or {}).items()
        names = [dict(columns).get(stage, stage) for stage in policy.stages]
        quoted = ['"' + name.replace('"', '""') + '"' for name in names]
        base.execute(f'CREATE TABLE "the log" (place INTEGER, {", ".join(f"{name} {types}" for name in quoted)})')
        marks = ", ".join("?" * (len(names) + 1))
        base.executemany(f'INSERT INTO "the log" VALUES ({marks})', [[i, *row] for i, row in enumerate(rows)])
        found = base.execute(f"SELECT * FROM ({policy.to_sql('the log', **options)}) ORDER BY place").fetchall()
    return [row[-2:] for row in found]


def values_of(kind, rng, thresholds, n):
    """Confidences of a kind: ordinary ones, ties with thresholds, ends of the scale, and what is none."""
    found = KINDS[kind]
    low, high = max(found.lower, -4.0), min(found.upper, 4.0)
    edges = [NAN, None, INF, -INF, low, high, high + 9e-7, high + 1e-3, low - 9e-7, low - 1e-3]
    ties = [value for value in thresholds if math.isfinite(value)]
    near = [float(np.nextafter(value, side)) for value in ties for side in (-INF, INF)]
    pool = [*edges, *ties, *near]
    picked = rng.integers(0, 2 * len(pool), n)
    plain = rng.uniform(low, high, n)
    return [pool[i] if i < len(pool) else float(x) for i, x in zip(picked, plain, strict=True)]


def policies():
    for kind, found in KINDS.items():
        low, high = max(found.lower, -4.0), min(found.upper, 4.0)
        first, second = low + 0.7 * (high - low), low + 0.4 * (high - low)
        yield Policy(["a", "b", "c"], [first, second, -INF], kind)
        yield Policy(["a", "b", "c"], [first, INF, -INF], kind, reject=[second, second, second])
        yield Policy(["a", "b"], [high, -INF], kind, reject=[-INF, first])
        if found.lower > -INF:  # ends of a scale, that rounding may overshoot
            yield Policy(["a", "b"], [found.lower, -INF], kind)
            yield Policy(["a", "b"], [found.upper + 5e-7, -INF], kind, reject=[found.lower, INF])
        yield Policy(["a", "b"], [-INF, -INF], kind)
        yield Policy(["a"], [-INF], kind)


@pytest.mark.parametrize("policy", list(policies()), ids=repr)
def test_sql_decides_as_the_policy(policy):
    rng = np.random.default_rng(1)
    limits = [*policy.thresholds, *(policy.reject or [])]
    columns = [values_of(policy.confidence_kind, rng, limits, 600) for _ in policy.stages]
    rows = list(zip(*columns, strict=True))
    expected = [by_policy(policy, row) for row in rows]
    assert by_sql(policy, rows) == expected
    assert len(set(expected)) > 1 or len(policy.stages) == 1


def test_sql_decides_as_the_policy_on_single_precision():
    policy = Policy(["a", "b"], [float(np.float32(0.8)), -INF], "probability", reject=[0.3, -INF])
    rows = [(float(value), None) for value in np.float32([0.8, 0.3, 0.79999995, 0.30000004, 1.0, 0.0])]
    assert by_sql(policy, rows, "REAL") == [by_policy(policy, row) for row in rows]


def test_sql_counts_as_score():
    rng = np.random.default_rng(2)
    policy = Policy(["small", "medium", "large"], [0.7, 0.5, -INF], "probability", reject=[0.1, -INF, 0.2])
    confidence = rng.uniform(0.0, 1.0, (4000, 3)).round(1)  # many ties
    log = xr.Dataset(
        {
            "confidence": (("query", "stage"), confidence),
            "correct": (("query", "stage"), np.ones(confidence.shape)),
            "cost": (("query", "stage"), np.ones(confidence.shape)),
        },
        coords={"query": np.arange(len(confidence)), "stage": policy.stages},
        attrs={"confidence_kind": "probability"},
    )
    scored = bc.score(log, policy)
    found = by_sql(policy, confidence.tolist())
    for stage in policy.stages:
        share = found.count((stage, "accept")) / len(found)
        assert share == pytest.approx(float(scored["answered"].sel(stage=stage)), abs=1e-12)
    abstained = sum(decision == "abstain" for _, decision in found) / len(found)
    assert abstained == pytest.approx(float(scored["abstained"]), abs=1e-12)


def test_names_that_sql_would_trip_over():
    policy = Policy(["it's", 'a "b"', "select"], [0.8, 0.6, -INF], "probability")
    rows = [(0.9, None, None), (0.1, 0.7, None), (0.1, 0.1, None)]
    expected = [(stage, "accept") for stage in policy.stages]
    assert by_sql(policy, rows) == expected
    assert by_sql(policy, rows, columns={"it's": 'x"; DROP TABLE y; --'}) == expected


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        ({"table": ""}, "give the name of a table"),
        ({"columns": ["a"]}, "give the column of each stage"),
        ({"columns": {"b": "x"}}, "there is no stage 'b'; the policy has 'a'"),
        ({"columns": {"a": 1}}, "is not the name of a column"),
    ],
)
def test_names_that_are_wrong(options, fragment):
    with pytest.raises(CascadeError, match=fragment):
        Policy(["a"], [-INF], "probability").to_sql(**options)


# ---- vLLM's semantic router


def as_the_router(route, logprobs):
    """What the router makes of mean log-probabilities: its own arithmetic, read from its source."""
    threshold = route["algorithm"]["confidence"]["threshold"] or -1.0
    return np.clip((np.asarray(logprobs) + 3.0) / 3.0, 0.0, 1.0) >= threshold


@pytest.mark.parametrize("threshold", [-0.3, -1e-9, 0.0, -0.123456789, -2.9999, -1 / 3])
def test_the_router_decides_as_the_policy(threshold):
    policy = Policy(["small: 1", "größer"], [threshold, -INF], "logprob")
    route = yaml.safe_load(policy.to_vllm_router())
    assert [model["model"] for model in route["modelRefs"]] == policy.stages
    assert route["algorithm"]["type"] == "confidence"
    assert route["algorithm"]["confidence"]["escalation_order"] == "declared"
    near = [threshold, threshold - 1e-12, min(threshold + 1e-12, 0.0)]
    logprobs = [*near, *-np.random.default_rng(3).exponential(1.0, 5000), 0.0, -50.0]
    expected = [policy.decide(0, value) == "accept" for value in logprobs]
    assert as_the_router(route, logprobs).tolist() == expected


@pytest.mark.parametrize(
    ("policy", "fragment"),
    [
        (Policy(["a", "b", "c"], [-0.1, -0.1, -INF], "logprob"), "the policy has 3 stages, not 2"),
        (Policy(["a"], [-INF], "logprob"), "the policy has 1 stage, not 2"),
        (Policy(["a", "b"], [0.8, -INF], "probability"), "is of the kind 'probability', not 'logprob'"),
        (Policy(["a", "b"], [-0.1, -INF], "logprob", reject=[-1.0, -INF]), "it never abstains"),
        (Policy(["a", "b"], [INF, -INF], "logprob"), "first stage never accepts"),
        (Policy(["a", "b"], [-3.0, -INF], "logprob"), "below -3 for -3, and the policy's threshold is -3"),
        (Policy(["a", "b"], [-INF, -INF], "logprob"), "the policy's threshold is -inf"),
    ],
)
def test_policies_that_the_router_cannot_follow(policy, fragment):
    with pytest.raises(CascadeError, match="cannot decide as this policy does") as caught:
        policy.to_vllm_router()
    assert fragment in str(caught.value)
