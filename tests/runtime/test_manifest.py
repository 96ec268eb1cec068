"""Policy files with a manifest: the published schema, and the hash that tells a change."""

import json
from pathlib import Path

import jsonschema
import pytest

import bayescascade as bc
from bayescascade.runtime import policy_file
from bayescascade.runtime.cascade import Cascade, _policy_id
from bayescascade.runtime.endpoint import Endpoint
from bayescascade.runtime.explain import explain
from bayescascade.signals.confidence import Signal
from bayescascade.signals.kinds import KINDS

SCHEMA = json.loads(Path(policy_file.__file__).with_name("policy.schema.json").read_text(encoding="utf-8"))
FILES = sorted((Path(__file__).parents[1] / "files").glob("policy-*.json"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@pytest.fixture(scope="module")
def tuned(example_fit):
    return bc.tune(example_fit, max_error=0.35)


@pytest.fixture(scope="module")
def made(example_fit):
    """Thresholds from a log that says which signal made its confidences."""
    fit = example_fit.copy()
    fit.attrs["signal"] = "answer_probability"
    return bc.tune(fit, max_error=0.35)


@pytest.fixture
def path(tuned, tmp_path):
    more = {"models": {"small": "small-1b 2026-10-01"}, "prompts": "Answer: {question}", "currency": "USD"}
    tuned.to_policy(tmp_path / "policy.json", **more)
    return tmp_path / "policy.json"


def test_what_is_written_is_what_the_schema_says(path):
    VALIDATOR.check_schema(SCHEMA)
    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    VALIDATOR.validate(content)
    assert content["version"] == 3
    assert SCHEMA["properties"]["confidence_kind"]["enum"] == list(KINDS)
    manifest = content["manifest"]
    assert manifest["models"] == {"small": "small-1b 2026-10-01", "medium": None, "large": None}
    assert manifest["prompts"].startswith("sha256:")
    assert "question" not in json.dumps(manifest)
    assert (manifest["currency"], manifest["promise"]["max_error"]) == ("USD", 0.35)


@pytest.mark.parametrize(
    "file", [file for file in FILES if "history" not in file.name], ids=lambda file: file.stem
)
def test_the_schema_knows_the_older_versions(file):
    VALIDATOR.validate(json.loads(file.read_text(encoding="utf-8")))
    bc.Policy.load(file)


def test_the_schema_refuses_what_the_reader_refuses(path):
    content = json.loads(path.read_text())
    for change in ({"version": 1}, {"version": 4}, {"content_hash": "md5:0"}, {"extra": 1}, {"stages": []}):
        assert not VALIDATOR.is_valid(content | change), change


def test_expected_rates_are_those_of_the_solution(path, tuned):
    expected = bc.Policy.load(path).manifest["expected"]
    assert expected["error"]["mean"] == float(tuned.error.mean())
    assert expected["cost"]["low"] == pytest.approx(float(tuned.cost.quantile(0.05)))
    reach = tuned.reach.mean(("chain", "draw"))
    assert expected["reach"]["large"]["mean"] == pytest.approx(float(reach.sel(stage="large")))
    assert list(expected["deferral"]) == ["small", "medium"]


def test_it_comes_back_as_it_was(path, tmp_path):
    policy = bc.Policy.load(path)
    policy.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == path.read_text()
    assert bc.Policy.load(tmp_path / "again.json") == policy
    assert "manifest=<bayescascade, data_hash" in repr(policy)
    bare = bc.Policy(policy.stages, policy.thresholds, policy.confidence_kind)
    assert _policy_id(policy) == _policy_id(bare)  # names what is decided, whatever is known of it


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["thresholds"].__setitem__(0, 0.2),
        lambda content: content["manifest"]["promise"].update(max_error=0.5),
        lambda content: content["metadata"].update(note="reviewed"),
        lambda content: content.update(content_hash="sha256:" + "0" * 64),
    ],
)
def test_a_changed_file_is_refused(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(bc.CascadeError, match=r"was changed after it was written: .* tune again"):
        bc.Policy.load(path)


def test_layout_and_order_are_no_change(path):
    before = bc.Policy.load(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(content.items())), ensure_ascii=True))
    assert bc.Policy.load(path) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": {"tiny": "x"}}, "models name the stage 'tiny', but the policy runs small, medium, large"),
        ({"models": ["x"]}, "models=.* is not allowed; give a dict from stage"),
        ({"models": {"small": 1}}, "models=.* is not allowed; give a dict from stage"),
        ({"currency": 1}, "currency=1 is not allowed; give a text"),
    ],
)
def test_what_the_manifest_is_told_is_checked(tuned, options, message):
    with pytest.raises(bc.CascadeError, match=message):
        tuned.to_policy(**options)


def test_no_manifest_that_is_no_dict():
    with pytest.raises(bc.CascadeError, match=r"manifest should be a dict but is 'note'"):
        bc.Policy(["a"], [-float("inf")], "score", manifest="note")


def test_a_fit_moved_to_other_queries_has_no_log_to_compare_with(example_fit):
    policy = bc.tune(bc.drift(example_fit, 0.5), error_price=0.01).to_policy()
    assert policy.manifest["reference"] is None
    assert policy.manifest["promise"] is None


class TestSignal:
    """How confidences were made of responses goes from the log to the policy, which refuses others."""

    def test_the_file_keeps_it(self, made, tmp_path):
        made.to_policy(tmp_path / "policy.json")
        VALIDATOR.validate(json.loads((tmp_path / "policy.json").read_text()))
        policy = bc.Policy.load(tmp_path / "policy.json")
        assert policy.signal == "answer_probability"
        assert ("Confidence", "made by answer_probability") in explain(policy).facts

    def test_where_nobody_knows_it_nothing_is_refused(self, tuned, made, example_log):
        assert tuned.to_policy().signal is None
        assert bc.score(example_log.assign_attrs(signal="p_true"), tuned.to_policy()).sizes
        assert bc.score(example_log, made).sizes

    @pytest.mark.parametrize("use", [bc.score, lambda log, policy: bc.monitor(policy, log)])
    def test_a_log_of_another_signal_is_refused(self, made, example_log, use):
        log = example_log.assign_attrs(signal="top_probability")
        with pytest.raises(bc.CascadeError, match=r"by the signal 'top_probability', .* for 'answer_probability'"):
            use(log, made.to_policy())

    def test_an_endpoint_of_another_signal_is_refused(self, made):
        policy = made.to_policy()
        stages = {name: Endpoint("m", signal="answer_probability", api_key_env=None) for name in policy.stages}
        Cascade(policy, stages)
        other = Signal("mine", "probability", lambda response: 0.5)
        with pytest.raises(bc.CascadeError, match=r"stage 'medium' are made by the signal 'mine'"):
            Cascade(policy, stages | {"medium": Endpoint("m", signal=other, api_key_env=None)})
