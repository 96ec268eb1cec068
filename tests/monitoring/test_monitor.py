"""`monitor`: false alarms as rare as said, alarms that name what moved, and word of what was not looked at."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import bayescascade as bc
from bayescascade.cascade.reference import reference_of
from bayescascade.cascade.rules import DecisionRule
from bayescascade.monitoring.betting import log_capital
from bayescascade.monitoring.monitor import monitor
from bayescascade.monitoring.parts import Served, parts_of
from bayescascade.runtime.result import Step
from studies.monitor.streams import World, policy_of, served_of

INF = float("inf")


@pytest.fixture(scope="module")
def policy():
    return policy_of(World().log(300, np.random.default_rng(1)))


def served(policy, *worlds, seed=2):
    """A log of what the policy serves in one world after another, (world, queries) each."""
    rng = np.random.default_rng(seed)
    return served_of(policy, [world.log(n, rng) for world, n in worlds])


# ---- the level


def test_false_alarms_over_streams_that_are_looked_at_after_every_query():
    """100 logs of 200 queries and streams of 400, of which all parts are looked at; the study does 1,000."""
    rng, level, alarms = np.random.default_rng(3), 0.2, 0
    for seed in range(100):
        policy = policy_of(World().log(200, rng))
        stream = World().log(400, rng)
        rows = Served(*(stream[name].values for name in ("confidence", "correct", "cost", "latency")))
        parts = parts_of(policy, rows, level, seed=seed + 10)
        capital = log_capital(np.stack([p.payoff for p in parts], 1), np.stack([p.prior for p in parts]))
        alarms += capital.max() >= np.log(len(parts) / level)
    assert alarms / 100 <= level


def test_more_of_a_log_goes_on_where_it_was(policy):
    """Looking again when the log has grown is one test that goes on, not a second one."""
    log = served(policy, (World(), 300), (World(shift=(-0.8, 0.0, 0.0)), 200))
    first, all_ = monitor(policy, log.isel(query=slice(350))), monitor(policy, log)
    for name in ("confidence of small", "promise"):
        whole, part = (
            np.interp(first.evidence["query"], w.evidence["query"], w.evidence[name]) for w in (all_, first)
        )
        np.testing.assert_allclose(whole[:150:10], part[:150:10], atol=0.2)
    before = first.table[["p"]].to_numpy(), all_.table[["p"]].to_numpy()
    assert (np.nan_to_num(before[1]) <= np.nan_to_num(before[0]) + 1e-12).all()


# ---- alarms


@pytest.mark.parametrize(
    ("world", "named", "words"),
    [
        (World(mix=-1.0), "confidence of small", "confidences of small are lower than in the log"),
        (World(shift=(-1.0, 0.0, 0.0)), "confidence of small", "confidences of small are lower than in the log"),
        (World(shift=(0.0, 1.0, 0.0)), "confidence of medium", "confidences of medium are higher than in the log"),
        (World(rho=(-0.4, 0.6)), "link of small > medium", "confidences of small and medium move less together"),
        (World(price=(1.5, 1.0, 1.0)), "price of small", "calls of small are dearer"),
        (World(slow=(1.0, 1.0, 2.0)), "latency of large", "calls of large are slower"),
        (World(skill=(-1.5, 0.0, 0.0)), "calibration of small", "answers of small are right less often"),
    ],
)
def test_an_alarm_names_the_part_that_moved(world, named, words):
    policy = policy_of(World().log(1_000, np.random.default_rng(1)))
    found = monitor(policy, served(policy, (World(), 200), (world, 2_000)))
    at = found.table[found.table["alarm_at"] != ""].astype({"alarm_at": int})
    assert named in found.alarms
    assert at["alarm_at"].min() >= 200
    first = at.sort_values("alarm_at").iloc[0]["of"]
    assert first in named.split(" > ")[-1].split(" of ")[-1]  # of the stage that moved, or of the link's later one
    assert words in found.text
    assert found.exit_code == 1


def test_queries_of_another_mix_move_the_first_stage_alone():
    """The later stages are compared given the one before, so that they are not taken to have moved, too."""
    policy = policy_of(World().log(1_000, np.random.default_rng(1)))
    found = monitor(policy, served(policy, (World(mix=-0.7), 3_000)))
    assert "confidence of small" in found.alarms
    assert all(part.endswith(" of small") or part == "promise" for part in found.alarms)


def test_a_promise_that_is_broken_is_told_from_labels_alone(policy):
    log = served(policy, (World(skill=(-1.5, -1.5, -1.5)), 600))
    found = monitor(policy, log)
    assert "promise" in found.alarms
    assert found.promise is False
    assert "the promise is broken" in found.text
    unlabelled = monitor(policy, log.assign(correct=log["correct"] * np.nan))
    assert unlabelled.alarms == []
    assert unlabelled.promise is None
    assert "The promise was not looked at: no label." in unlabelled.text


def test_a_promise_that_is_kept(policy):
    found = monitor(policy, served(policy, (World(skill=(1.5, 1.5, 1.5)), 900)))
    assert found.promise is True
    assert "is kept: " in found.text
    assert "cannot be told" in monitor(policy, served(policy, (World(), 60))).text


def test_a_trickle_of_labels_is_enough(policy):
    log = served(policy, (World(), 3_000))
    log["correct"][np.arange(3_000) % 20 > 0] = np.nan
    found = monitor(policy, log).table.set_index(["part", "of"])
    assert found.loc[("promise", ""), "n"] == 150
    assert 0 < found.loc[("calibration", "small"), "n"] < 150


# ---- nothing to look at


def test_without_labels_it_says_that_accuracy_was_not_looked_at(policy, tmp_path):
    """A stage may be right less often, 72% in place of 85, while its confidences are what they were."""
    log = served(policy, (World(skill=(-1.5, -1.5, -1.5)), 600))
    blind = monitor(policy, log.assign(correct=log["correct"] * np.nan))
    assert (blind.exit_code, blind.accuracy_looked_at) == (0, False)
    said = "Accuracy was not looked at (no label): a stage that is wrong more often, as confident as before, goes"
    assert said in blind.text
    assert "calibration" not in blind.text  # which would be the same again, stage by stage
    assert "Quiet, accuracy not looked at." in blind._repr_html_()
    page = blind.save(tmp_path / "watch.html").read_text(encoding="utf-8")
    assert "<h1>Quiet, accuracy not looked at</h1>" in page
    assert said in page
    found = json.loads(blind.save(tmp_path / "watch.json").read_text(encoding="utf-8"))
    assert found["accuracy_looked_at"] is False
    assert said in found["text"]


def test_what_labels_say_of_some_stages_only_is_named_first(policy):
    log = served(policy, (World(), 600)).drop_vars("latency")
    log["correct"][:, 0] = np.nan
    found = monitor(policy, log)
    assert found.accuracy_looked_at
    assert "Accuracy was not looked at" not in found.text
    assert "Not looked at: calibration of small (no label)" in found.text
    whole = monitor(policy, served(policy, (World(), 600)))
    assert whole.accuracy_looked_at
    assert whole.state == "Quiet"


def test_a_check_with_nothing_to_look_at_says_so(policy):
    log = served(policy, (World(), 100)).drop_vars("latency")
    log["cost"][:] = np.nan
    log["confidence"][:, 1:] = np.nan  # whoever is deferred gets lost
    log["correct"][:] = np.nan
    found = monitor(policy, log)
    why = dict(found.idle())
    assert why["confidence of medium"] == why["link of small > medium"] == "no query came here"
    assert why["price of small"] == "no cost is known"
    assert why["calibration of small"] == why["promise"] == "no label"
    assert found.exit_code == 0  # the first stage was looked at
    assert found.table["p"].isna().sum() == len(why)
    nothing = monitor(policy, log.assign(confidence=log["confidence"] * np.nan))
    assert (nothing.exit_code, nothing.alarms) == (2, [])
    assert nothing.text.startswith("Nothing to look at in 100 queries")
    assert "Nothing to look at" in nothing._repr_html_()


def test_a_small_log_is_no_reference(policy):
    small = policy_of(World().log(8, np.random.default_rng(1)))
    found = monitor(small, served(policy, (World(), 100)))
    assert (
        dict(found.idle())["confidence of small"] == "the policy's log has 8 queries here, too few to compare with"
    )


def test_prices_of_calls_beside_one_price_for_all(policy):
    """A log with one price for all calls says nothing of how costs of calls spread."""
    log = World().log(300, np.random.default_rng(1))
    log["cost"][:] = [0.1, 0.5, 2.5]
    one = policy_of(log)
    found = monitor(one, served(policy, (World(), 300)))
    assert dict(found.idle())["price of small"] == "the log has one price for all calls, and these differ"
    same = served(policy, (World(), 300))
    same["cost"] = same["cost"] * 0 + [0.1 + 1e-17, 0.5, 2.5]
    assert monitor(one, same).alarms == []
    same["cost"] = same["cost"] * [1.0, 1.2, 1.0]
    assert monitor(one, same).alarms == ["price of medium"]


def test_a_policy_that_abstains_is_told_to_be_verified(policy):
    reject = DecisionRule.from_any(
        bc.Policy(policy.stages, policy.thresholds, "score", reject=[-INF, -INF, -1.0]), policy.stages, "score"
    )
    manifest = {**policy.manifest, "reference": reference_of(World().log(300, np.random.default_rng(1)), reject)}
    abstaining = replace(policy, reject=[-INF, -INF, -1.0], manifest=manifest)
    found = monitor(abstaining, served(policy, (World(), 200)))
    assert "verify the policy on labelled queries" in dict(found.idle())["promise"]


def with_promise(policy, promise):
    return replace(policy, manifest={**policy.manifest, "promise": promise})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda policy: replace(policy, manifest=None), "does not say what the log showed .* tune again"),
        (lambda policy: replace(policy, manifest={}), "does not say what the log showed"),
        (
            lambda policy: replace(policy, manifest={"reference": [{"stage": "small"}]}),
            "lacks a part of its reference",
        ),
        (lambda policy: with_promise(policy, {"max_error": 1.5}), "lacks a part of its promise"),
        (lambda policy: with_promise(policy, ["max_error"]), "lacks a part of its promise"),
        (
            lambda policy: replace(policy, manifest={**policy.manifest, "expected": {}}),
            "lacks a part of its promise",
        ),
        (lambda policy: "policy.json", "policy='policy.json' is none; give a Policy"),
    ],
)
def test_policies_that_cannot_be_watched(policy, change, message):
    with pytest.raises(bc.CascadeError, match=message):
        monitor(change(policy), served(policy, (World(), 20)))


def test_logs_that_are_not_of_the_policy(policy):
    log = served(policy, (World(), 20))
    with pytest.raises(bc.CascadeError, match=r"stages .* give the log of this policy"):
        monitor(policy, log.assign_coords(stage=["a", "b", "c"]))
    with pytest.raises(bc.CascadeError, match="kind 'votes', but the policy decides on 'score'"):
        monitor(policy, log.assign_attrs(confidence_kind="votes"))
    with pytest.raises(bc.CascadeError, match="the log holds no query"):
        monitor(policy, log.isel(query=slice(0)))
    for level in (0, 1.5, True, "5%"):
        with pytest.raises(bc.CascadeError, match=r"level=.* is not allowed"):
            monitor(policy, log, level=level)


# ---- logs, tables, files


def test_the_log_of_a_running_cascade(policy, tmp_path):
    """As `Cascade` writes it: failed calls, and calls that were made to explore, which are of other queries."""
    log = World().log(400, np.random.default_rng(5))
    lines = []
    for i in range(400):
        for j, stage in enumerate(policy.stages):
            value = float(log["confidence"][i, j])
            accepts = value >= policy.thresholds[j]
            step = Step(
                stage, value, 0.1, 0.2, "accept" if accepts else "defer", None, "A", "2026-11-28T12:00:00Z"
            )
            lines.append({"query": f"q{i}", **step.to_line()})
            if accepts and i % 10:
                break  # every tenth query explores
    lines[0] |= {"confidence": None, "reason": "there are no log-probabilities"}
    path = tmp_path / "served.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)
        found = monitor(policy, path)
    n = found.table.set_index(["part", "of"])["n"]
    defers = (log["confidence"][:, 0] < policy.thresholds[0]).values
    assert n[("confidence", "small")] == 399
    assert n[("confidence", "medium")] in (defers.sum(), defers[1:].sum())
    assert not any(name.startswith("confidence") or name.startswith("link") for name in found.alarms)


def test_what_blocks_should_show_is_what_the_policy_file_expects(example_fit):
    policy = bc.tune(example_fit, max_error=0.35).to_policy()
    log = bc.simulate(900, n_stages=3, random_seed=4).assign_coords(stage=policy.stages)
    blocks = monitor(policy, log).blocks
    assert len(blocks) == 30
    assert blocks["n"].sum() == blocks["labels"].sum() == 900
    expected = policy.manifest["expected"]
    for name, mean in (("error", expected["error"]["mean"]), ("deferral", expected["deferral"]["small"]["mean"])):
        assert (blocks[f"{name}_expected"] == mean).all()
        inside = (blocks[name] >= blocks[f"{name}_low"]) & (blocks[name] <= blocks[f"{name}_high"])
        assert inside.mean() > 0.7
    total = bc.score(log, policy)
    for name in ("error", "cost"):
        assert blocks[name].mean() == pytest.approx(float(bc.score(log, policy, cost="queries")[name]))
    assert blocks["deferral"].mean() == pytest.approx(float(total["reach"][1]))


def test_tables_and_files(policy, tmp_path):
    log = served(policy, (World(), 200), (World(shift=(-1.0, 0.0, 0.0)), 400))
    named = replace(policy, stages=["<b>small</b>", "medium", "large"])
    reference = [
        {**stage, "stage": name} for stage, name in zip(policy.manifest["reference"], named.stages, strict=True)
    ]
    named = replace(named, manifest={**policy.manifest, "reference": reference})
    found = monitor(named, log.assign_coords(stage=named.stages))
    content = json.loads(found.save(tmp_path / "m.json").read_text(), parse_constant=pytest.fail)
    assert content["exit_code"] == 1
    assert content["alarms"] == found.alarms
    assert len(content["parts"]) == len(found.table)
    page = found.save(tmp_path / "m.html").read_text()
    assert "<b>" not in page
    assert "Alarm: confidence of &lt;b&gt;small&lt;/b&gt;" in page
    assert page.count("<svg") == 4
    assert "default-src 'none'" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "alarm at" in repr(found)
    assert "Alarm." in found._repr_html_()
    assert isinstance(found.blocks, pd.DataFrame)
    little = monitor(policy, log.isel(query=slice(10))).save(tmp_path / "n.html").read_text()
    assert "too few queries for a picture" in little


# ---- what is left out


def test_parts_can_be_left_out(policy):
    log = served(policy, (World(shift=(-1.5, 0.0, 0.0)), 300))
    watch = monitor(policy, log, leave_out=["latency", "price"])
    assert not set(watch.table["part"]) & {"latency", "price"}
    assert watch.alarms[0].endswith("of small")
    whole = monitor(policy, log).table.set_index(["part", "of"])["p"]
    mine = watch.table.set_index(["part", "of"])["p"]
    # the level is shared among fewer
    assert mine["confidence", "small"] / whole["confidence", "small"] == pytest.approx(len(mine) / len(whole))


@pytest.mark.parametrize(
    ("leave_out", "message"),
    [
        ("latency", "leave_out='latency'.*a list of names"),
        (["weather"], "from confidence, link, .*promise"),
        (None, "a list of names"),
        (["confidence", "link", "deferral", "price", "latency", "calibration", "promise"], "leaves none"),
    ],
)
def test_what_cannot_be_left_out(policy, leave_out, message):
    with pytest.raises(bc.CascadeError, match=message):
        monitor(policy, served(policy, (World(), 20)), leave_out=leave_out)


def test_a_stage_that_no_query_has_reached_yet(policy):
    sure = World().log(40, np.random.default_rng(5)).isel(stage=[0])
    table = sure.to_dataframe().reset_index().assign(correct=np.nan)
    watch = monitor(policy, table[table["confidence"] >= policy.thresholds[0]])
    assert "confidence of medium (no query came here)" in watch.text
