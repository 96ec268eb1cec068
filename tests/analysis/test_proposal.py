"""Two policies side by side, and what new queries make of the one in use."""

import json
import warnings

import numpy as np
import pytest
from typer.testing import CliRunner

import bayescascade as bc
from bayescascade.analysis import proposal
from bayescascade.cli.app import app
from bayescascade.errors import CascadeError

run = CliRunner().invoke


@pytest.fixture(scope="module")
def policies(example_fit):
    return [bc.tune(example_fit, error_price=price).to_policy() for price in (10.0, 40.0)]


@pytest.fixture(scope="module")
def new_log(example_log):
    """Queries like the old ones, under ids of their own, half of them labelled."""
    new = example_log.isel(query=slice(60)).copy(deep=True)
    new["correct"][30:] = np.nan
    return new.assign_coords(query=1000 + np.arange(60))


def quiet(function, *given, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)
        return function(*given, **options)


# --- diff


def test_amounts_are_those_of_evaluate(example_fit, policies):
    old, new = policies
    found = bc.diff(old, new, fit=example_fit)
    before, after = (bc.evaluate(example_fit, policy) for policy in policies)
    for name in ("error", "cost"):
        by = (after[name] - before[name]).values.ravel()
        row = found.change.loc[name]
        assert row["old"] == pytest.approx(float(before[name].mean()))
        assert row["new"] == pytest.approx(float(after[name].mean()))
        assert row["change"] == pytest.approx(by.mean())
        assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(by, [0.05, 0.95])))
        assert row["p_lower"] == pytest.approx((by < 0).mean())
    loss = [40.0 * of["error"] + of["cost"] for of in (before, after)]
    assert found.p_better == pytest.approx(float((loss[1] < loss[0]).mean()))
    assert list(found.thresholds["old"]) == old.thresholds
    assert list(found.thresholds["new"]) == new.thresholds


def test_limits_are_judged_as_limits(example_fit, policies):
    old, new = policies[0], bc.tune(example_fit, max_error=0.3, doubt=0.0).to_policy()
    found = bc.diff(old, new, fit=example_fit)
    before, after = (bc.evaluate(example_fit, policy) for policy in (old, new))
    assert found.kept == (float((before["error"] <= 0.3).mean()), float((after["error"] <= 0.3).mean()))
    better = (after["error"] <= 0.3) & ((before["error"] > 0.3) | (after["cost"] < before["cost"]))
    assert found.p_better == pytest.approx(float(better.mean()))
    assert "keeps its limits with probability" in found.text


def test_a_policy_beside_itself_changes_nothing(example_fit, policies):
    found = bc.diff(policies[0], policies[0], fit=example_fit)
    assert found.text == "Both policies decide alike: nothing changes."
    assert found.p_better == 0.0
    assert found.thresholds["same"].all()


def test_without_a_fit_the_files_speak(policies):
    found = bc.diff(*policies)
    assert np.isnan(found.p_better)
    assert found.change.loc["error", "old"] == policies[0].metadata["error_mean"]
    assert "takes a fit to judge both by" in found.text
    assert json.loads(json.dumps(found.to_dict()))["p_better"] is None


def test_stages_that_come_and_go_and_abstaining(example_fit):
    old = bc.Policy(["small", "large"], [0.8, -np.inf], "probability")
    new = bc.Policy(["small", "medium"], [0.8, -np.inf], "probability", reject=[0.2, 0.1])
    found = bc.diff(old, new, fit=example_fit)
    assert "Stage medium is new" in found.text
    assert "Stage large is no longer run." in found.text
    assert "Stage small abstains below another threshold." in found.text
    assert found.change.loc["abstained", "old"] == 0.0 < found.change.loc["abstained", "new"]
    assert np.isnan(found.p_better)  # no goal is known
    assert "no longer run" in repr(found)
    assert "<table>" in found._repr_html_()


@pytest.mark.parametrize(
    ("new", "text"),
    [
        ("policy.json", "not a policy; load one with Policy.load"),
        (bc.Policy(["small", "large"], [-0.1, -np.inf], "logprob"), "kind 'probability' and the new one on kind"),
    ],
)
def test_what_cannot_be_compared(policies, new, text):
    with pytest.raises(CascadeError, match=text):
        bc.diff(policies[0], new)


# --- propose


def test_the_proposal_is_tuned_for_the_policys_goal(example_fit, policies, new_log):
    found = quiet(bc.propose, example_fit, new_log, policies[0], random_seed=1, progressbar=False)
    assert found.solution.goal["error_price"] == 10.0
    assert found.fit["observed_data"].sizes["query"] == 360
    assert found.diff.change.loc["error", "new"] == pytest.approx(float(found.solution.error.mean()))
    assert found.text == found.diff.text
    assert found.policy.thresholds == found.solution.to_policy().thresholds


def test_the_proposal_says_what_no_fit_knows(example_fit, new_log):
    """Models, prompts and currency are those of the policy in use."""
    said = {"models": {"small": "small-1b", "large": "large-2"}, "prompts": "Answer: {x}", "currency": "USD"}
    old = bc.tune(example_fit, error_price=10.0).to_policy(**said)
    found = quiet(bc.propose, example_fit, new_log, old, random_seed=1, progressbar=False)
    for name in ("models", "prompts", "currency"):
        assert found.policy.manifest[name] == old.manifest[name]
    assert found.policy.manifest["models"]["small"] == "small-1b"
    assert found.policy.manifest["currency"] == "USD"
    assert found.policy.manifest["data_hash"] != old.manifest["data_hash"]


def test_old_queries_can_count_for_less(example_fit, policies, new_log):
    options = {"old_share": 0.5, "random_seed": 1, "progressbar": False}
    found = quiet(bc.propose, example_fit, new_log, policies[0], **options)
    kept = found.fit["observed_data"]["query"].values
    assert len(kept) == 150 + 60
    assert found.fit.attrs["update"] == "sampled anew"
    assert found.fit.attrs["old_share"] == 0.5
    assert len(set(kept) & set(example_fit["observed_data"]["query"].values)) == 150


def test_ids_that_are_names_beside_ids_that_are_numbers(example_fit, policies, new_log, tmp_path):
    named = new_log.assign_coords(query=[f"n{i}" for i in new_log["query"].values])
    found = quiet(bc.propose, example_fit, named, policies[0], random_seed=1, progressbar=False)
    bc.save_fit(found.fit, tmp_path / "fit.nc")
    ids = set(bc.load_fit(tmp_path / "fit.nc")["observed_data"].to_dataset()["query"].values.tolist())
    assert {"0", "n1000"} <= ids
    same = new_log.assign_coords(query=[str(i) for i in range(60)])
    with pytest.raises(CascadeError, match="60 of the new queries are part of the fit already"):
        bc.propose(example_fit, same, policies[0])


def test_a_goal_out_of_reach_is_no_proposal(example_fit, policies, new_log):
    metadata = {"goal": {"max_error": 0.001, "prob": 0.99, "doubt": 0.0}}
    policy = bc.Policy(policies[0].stages, policies[0].thresholds, "probability", metadata)
    found = quiet(bc.propose, example_fit, new_log, policy, random_seed=1, progressbar=False)
    assert found.diff is None
    assert found.policy is None
    assert found.text.startswith("The goal can no longer be met.")


def test_a_policy_without_a_goal_has_no_proposal(example_fit, policies, new_log):
    policy = bc.Policy(policies[0].stages, policies[0].thresholds, "probability")
    with pytest.raises(CascadeError, match="does not say what it was tuned for"):
        bc.propose(example_fit, new_log, policy)


@pytest.mark.parametrize("share", [0.0, 1.5, "half"])
def test_a_share_that_is_none(example_fit, policies, new_log, share):
    with pytest.raises(CascadeError, match="old_share"):
        bc.propose(example_fit, new_log, policies[0], old_share=share)


def test_a_share_of_no_earlier_queries(example_log):
    with pytest.raises(CascadeError, match="old_share"):
        bc.fit(example_log, old_share=0.5)


# --- on the command line


def test_an_amount_of_0_is_known_without_a_fit():
    policies = [
        bc.Policy(["a", "b"], [at, -np.inf], "probability", metadata={"error_mean": error, "cost_mean": 0.0})
        for at, error in ((0.5, 0.2), (0.6, 0.0))
    ]
    change = bc.diff(*policies).change
    assert change.loc["error", ["old", "new", "change"]].tolist() == [0.2, 0.0, -0.2]
    assert change.loc["cost", ["old", "new", "change"]].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("named", [True, False])
def test_stages_that_were_named_are_not_chosen_again(example_fit, new_log, monkeypatch, named):
    stages = ["small", "large"]
    policy = bc.tune(example_fit, error_price=10.0, stages=stages if named else None).to_policy()
    assert policy.metadata.get("stages_named") == (True if named else None)
    asked = {}
    monkeypatch.setattr(proposal, "sample", lambda new, previous, **options: previous)

    def tune(fit, **goal):
        asked.update(goal)
        return bc.tune(fit, **goal)

    monkeypatch.setattr(proposal, "tune", tune)
    bc.propose(example_fit, new_log, policy)
    assert asked["stages"] == (stages if named else None)


@pytest.fixture
def files(tmp_path, example_fit, policies, new_log):
    bc.save_fit(example_fit, tmp_path / "fit.nc")
    for name, policy in zip(("old", "new"), policies, strict=True):
        policy.save(tmp_path / f"{name}.json")
    bc.write_log(new_log, tmp_path / "served.csv")
    return tmp_path


def test_diff_on_the_command_line(files):
    given = ["diff", str(files / "old.json"), str(files / "new.json")]
    result = run(app, [*given, "--fit", str(files / "fit.nc")])
    assert result.exit_code == 0, result.output
    assert "The new policy is better with probability" in " ".join(result.output.split())
    found = run(app, [*given, "--fit", str(files / "fit.nc"), "--json"])
    assert json.loads(found.stdout)["goal"]["error_price"] == 40.0
    assert run(app, given).exit_code == 0


def test_update_on_the_command_line(files):
    before = (files / "old.json").read_text()
    outputs = ["-o", str(files / "proposed.json"), "--fit-output", str(files / "fit2.nc")]
    given = ["update", str(files / "old.json"), str(files / "served.csv"), "--fit", str(files / "fit.nc")]
    result = run(app, [*given, *outputs, "--seed", "1"])
    assert result.exit_code == 0, result.output
    assert "The policy in use is unchanged" in " ".join(result.output.split())
    assert (files / "old.json").read_text() == before
    assert bc.Policy.load(files / "proposed.json").metadata["goal"]["error_price"] == 10.0
    assert bc.load_fit(files / "fit2.nc")["observed_data"].sizes["query"] == 360


def test_the_policy_in_use_is_never_written_over(files):
    given = ["update", str(files / "old.json"), str(files / "served.csv"), "--fit", str(files / "fit.nc")]
    result = run(app, [*given, "-o", str(files / "old.json")])
    assert result.exit_code != 0
