"""Policies: decide, save, load."""

import json
import math
import os
import stat
import subprocess
import sys

import numpy as np
import pytest

from bayescascade.errors import CascadeError
from bayescascade.runtime.policy import Policy

INF = math.inf
HEAVY = ["pymc", "pytensor", "arviz", "xarray", "pandas", "scipy", "matplotlib", "nutpie", "pyarrow"]


@pytest.fixture
def policy():
    return Policy(["small", "middle", "large"], [-0.1, INF, -INF], "logprob", {"goal": {"max_error": 0.2}})


def test_decide(policy):
    assert policy.decide("small", -0.05) == "accept"
    assert policy.decide("small", -0.1) == "accept"
    assert policy.decide("small", np.nextafter(-0.1, -1)) == "defer"
    assert policy.decide("small", -INF) == "defer"
    assert policy.decide("middle", 0.0) == "defer"
    assert policy.decide("large", -50.0) == "accept"


@pytest.mark.parametrize("stage", ["small", 0, np.int64(0), np.str_("small")])
def test_decide_takes_names_and_positions(policy, stage):
    assert policy.decide(stage, np.float32(-0.5)) == "defer"


def test_a_threshold_of_minus_infinity_accepts_all():
    policy = Policy(["only", "never"], [-INF, -INF], "p_true")
    assert policy.decide("only", -INF) == "accept"


def test_name_wins_over_position():
    policy = Policy(["1", "0"], [-0.1, -INF], "logprob")
    assert policy.decide("1", -5.0) == "defer"
    assert policy.decide(1, -5.0) == "accept"


def test_rounding_is_forgiven(policy):
    assert policy.decide("small", 2.4e-7) == "accept"
    never_but_top = Policy(["a", "b"], [1.0, -INF], "probability")
    assert never_but_top.decide("a", 1.0000001) == "accept"


def test_last_stage_needs_no_confidence(policy):
    assert policy.decide("large", math.nan) == "accept"


@pytest.mark.parametrize(
    ("stage", "confidence", "message"),
    [
        ("small", math.nan, "confidence at stage 'small' is NaN.*pass the number"),
        ("small", 0.3, "confidence 0.3 at stage 'small' is off the scale.*'logprob'.*at most 0"),
        ("large", 0.3, "confidence 0.3 at stage 'large' is off the scale"),
        ("small", "high", "confidence at stage 'small' should be a number but is 'high'"),
        ("small", None, "should be a number but is None"),
        ("small", [-0.1, -0.2], "should be a number but is"),
        ("small", "-0.1", "should be a number but is '-0.1'"),
        ("small", b"-0.1", "should be a number but is b'-0.1'"),
        ("small", False, "should be a number but is False"),
        ("small", -(10**400), "should be a number but is -1000"),
        ("tiny", -0.3, "unknown stage 'tiny'; this policy has 'small', 'middle', 'large'"),
        (3, -0.3, "there is no stage 3.*from 0 to 2"),
        (-1, -0.3, "there is no stage -1"),
        (True, -0.3, "there is no stage True"),
        (0.0, -0.3, "there is no stage 0.0"),
    ],
)
def test_decide_refuses(policy, stage, confidence, message):
    with pytest.raises(CascadeError, match=message):
        policy.decide(stage, confidence)


@pytest.mark.parametrize(
    ("stages", "thresholds", "kind", "message"),
    [
        (["a", "b"], [-INF], "logprob", "got 1 thresholds for 2 stages .a, b.; give one per stage"),
        (["a", "b"], [-0.1, -0.2], "logprob", "last stage .'b'. always accepts.*should be -inf but is -0.2"),
        (["a", "b"], [0.8, -INF], "logprob", "threshold 0.8 of stage 'a' is off the scale of 'logprob'"),
        (["a", "b"], [-0.1, -INF], "votes", "threshold -0.1 of stage 'a' is off the scale of 'votes'"),
        (["a", "b"], [math.nan, -INF], "score", "threshold nan of stage 'a'"),
        (["a", "b"], ["-0.1", -INF], "logprob", "thresholds should be a list of numbers"),
        (["a", "b"], [True, -INF], "probability", "thresholds should be a list of numbers"),
        (["a", "b"], None, "logprob", "thresholds should be a list of numbers but is None"),
        (["a", "a"], [-0.1, -INF], "logprob", "stage names should differ"),
        (["a\x1b[2J", "b"], [-0.1, -INF], "logprob", "stage .* holds the control character"),
        (["a\ud800", "b"], [-0.1, -INF], "logprob", "stage .* holds the control character"),
        (["a", "b"], [-(10**400), -INF], "logprob", "thresholds should be a list of numbers"),
        (["a", 1], [-0.1, -INF], "logprob", "name should be a non-empty string but is 1"),
        ([], [], "logprob", "stages should be a list of one or more names"),
        ("ab", [-0.1, -INF], "logprob", "stages should be a list of one or more names but is 'ab'"),
        (["a", "b"], [-0.1, -INF], "logits", "unknown confidence kind 'logits'"),
    ],
)
def test_parts_are_checked(stages, thresholds, kind, message):
    with pytest.raises(CascadeError, match=message):
        Policy(stages, thresholds, kind)


def test_metadata_is_checked():
    with pytest.raises(CascadeError, match="metadata should be a dict but is 'note'"):
        Policy(["a"], [-INF], "logprob", "note")


def test_parts_are_copied_and_plain():
    stages, thresholds = [np.str_("a"), np.str_("b")], np.array([0.5, -INF])
    policy = Policy(stages, thresholds, "score")
    stages[0] = "z"
    thresholds[0] = 9.0
    assert policy.stages == ["a", "b"]
    assert policy.thresholds == [0.5, -INF]
    assert type(policy.thresholds[0]) is float
    assert type(policy.stages[0]) is str
    with pytest.raises(AttributeError):
        policy.thresholds = [0.1, -INF]


def test_round_trip_is_exact(tmp_path):
    rng = np.random.default_rng(8)
    thresholds = [*(-rng.exponential(size=5)).tolist(), INF, -5e-324, -0.1 - 0.2, -INF]
    names = [f"stage {i} ∑" for i in range(len(thresholds))]
    policy = Policy(names, thresholds, "logprob", {"error": [0.1, None], "text": "é", "deep": {"a": True}})
    policy.save(tmp_path / "policy.json")
    loaded = Policy.load(str(tmp_path / "policy.json"))
    assert loaded == policy
    assert loaded.thresholds == thresholds


def test_file_is_strict_json(policy, tmp_path):
    path = tmp_path / "policy.json"
    policy.save(path)
    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert content == {
        "format": "bayescascade-policy",
        "version": 1,
        "confidence_kind": "logprob",
        "stages": ["small", "middle", "large"],
        "thresholds": [-0.1, "inf", "-inf"],
        "metadata": {"goal": {"max_error": 0.2}},
    }


def test_metadata_of_numpy_and_infinities(tmp_path):
    values = {"a": np.float64(0.5), "b": np.arange(2), "c": math.nan, "d": (1, -INF), "e": np.bool_(True)}
    Policy(["a"], [-INF], "score", values).save(tmp_path / "p.json")
    kept = {"a": 0.5, "b": [0, 1], "c": "nan", "d": [1, "-inf"], "e": True}
    assert Policy.load(tmp_path / "p.json").metadata == kept


def test_metadata_that_json_cannot_hold(tmp_path):
    policy = Policy(["a"], [-INF], "score", {"fit": object()})
    with pytest.raises(CascadeError, match="metadata holds <object"):
        policy.save(tmp_path / "p.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_interrupted_save_leaves_the_old_file(policy, tmp_path, monkeypatch, failure):
    path = tmp_path / "policy.json"
    policy.save(path)
    before = path.read_bytes()

    def fail(descriptor):
        raise failure

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((KeyboardInterrupt, CascadeError)):
        Policy(["other"], [-INF], "logprob").save(path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["policy.json"]


def test_save_into_a_folder_that_is_not_there(policy, tmp_path):
    with pytest.raises(CascadeError, match=r"cannot be written to .*nowhere.*No such file"):
        policy.save(tmp_path / "nowhere" / "policy.json")


@pytest.mark.skipif(os.name == "nt", reason="modes and links of POSIX")
def test_save_keeps_mode_and_link(policy, tmp_path):
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    policy.save(real)
    real.chmod(0o640)
    link.symlink_to(real)
    Policy(["other"], [-INF], "logprob").save(link)
    assert link.is_symlink()
    assert Policy.load(real).stages == ["other"]
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def saved(policy, path, **changes):
    policy.save(path)
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, 'is not a policy file: it does not say "format": "bayescascade-policy"'),
        ({"format": ...}, "is not a policy file"),
        ({"version": 4}, "is a policy of version 4, but this bayescascade reads versions 1, 2, 3; upgrade"),
        ({"version": 3}, "is not a whole policy: missing manifest, content_hash; write it again"),
        ({"manifest": {}}, "says version 1 but holds a manifest; write it again"),
        ({"content_hash": "sha256:0"}, "says version 1 but holds a manifest; write it again"),
        ({"version": 2}, "says version 2 but holds no reject; write it again"),
        ({"reject": ["-inf", -3.0, "-inf"]}, "says version 1 but holds reject; write it again"),
        ({"version": ...}, "is a policy of version None"),
        ({"version": True}, "is a policy of version True"),
        ({"stages": ..., "metadata": ...}, "is not a whole policy: missing stages, metadata"),
        (
            {"thresholds": ["low", "inf", "-inf"]},
            "is not a valid policy: thresholds should be a list of numbers",
        ),
        ({"thresholds": [-0.1, "-inf"]}, "is not a valid policy: got 2 thresholds for 3 stages"),
        ({"thresholds": "-inf"}, "is not a valid policy: thresholds should be"),
        ({"thresholds": {"small": -0.1}}, "is not a valid policy: thresholds should be"),
        ({"thresholds": [0.5, "inf", "-inf"]}, "threshold 0.5 of stage 'small' is off the scale"),
        ({"stages": "small"}, "is not a valid policy: stages should be"),
        ({"stages": ["a", "a", "b"]}, "is not a valid policy: stage names should differ"),
        ({"confidence_kind": "odds"}, "is not a valid policy: unknown confidence kind 'odds'"),
        ({"confidence_kind": ["logprob"]}, "is not a valid policy: unknown confidence kind"),
        ({"metadata": [1]}, "is not a valid policy: metadata should be a dict"),
        ({"version": 1.0}, "is a policy of version 1.0"),
        ({"rejects": [1]}, "is not a valid policy: it holds 'rejects', where only .*'reject'.* are known"),
        ({"thresholds": [-(10**400), "inf", "-inf"]}, "thresholds should be a list of numbers"),
    ],
)
def test_load_checks_every_part(policy, tmp_path, changes, message):
    path = tmp_path / "policy.json"
    saved(policy, path, **changes)
    with pytest.raises(CascadeError, match=message):
        Policy.load(path)


def test_a_number_that_python_does_not_write(policy):
    with pytest.raises(CascadeError, match="should be a number but is a int that cannot be written out"):
        policy.decide("small", -(10**9000))


def test_load_never_waits(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    for path in (tmp_path / "pipe.json", "/dev/zero"):
        with pytest.raises(CascadeError, match="is not a regular file"):
            Policy.load(path)
    with pytest.raises(CascadeError, match="it holds a NUL"):
        Policy.load("a\0")


def test_metadata_of_half_a_character(tmp_path):
    policy = Policy(["a", "b"], [0.5, -INF], "votes", {"note": "co\ud800st"})
    policy.save(tmp_path / "policy.json")
    assert Policy.load(tmp_path / "policy.json") == policy


def test_load_refuses_every_truncation(policy, tmp_path):
    path = tmp_path / "policy.json"
    policy.save(path)
    whole = path.read_bytes().rstrip()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(CascadeError, match=r"is empty|is truncated or damaged"):
            Policy.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"\x89HDF\r\n\x1a\n\xff\xfe", "holds binary data, not JSON"),
        (
            b"stages: [a, b]\n",
            "is not a policy file: it is not JSON; make one with Policy.save or `bayescascade tune",
        ),
        (b"[1, 2]", "is not a policy file"),
        (b'"text"', "is not a policy file"),
        (b"{}", "is not a policy file"),
        (b"[" * 100_000, "is not a policy file: it is not JSON"),
        (b'{"a": 1}\n{"a": 2}\n', "is not a policy file: it is not JSON"),
        (b'{"format": 1, "format": 2}', "is not a valid policy: it has 'format' twice; keep one"),
    ],
)
def test_load_refuses_foreign_files(tmp_path, content, message):
    path = tmp_path / "policy.json"
    path.write_bytes(content)
    with pytest.raises(CascadeError, match=message):
        Policy.load(path)


def test_load_missing_file_and_folder(tmp_path):
    with pytest.raises(CascadeError, match=r"there is no policy file .*absent.json"):
        Policy.load(tmp_path / "absent.json")
    with pytest.raises(CascadeError, match=r"cannot be read from .*: it is not a regular file"):
        Policy.load(tmp_path)


def test_repr(policy):
    assert repr(policy) == (
        "Policy(stages=['small', 'middle', 'large'], thresholds=[-0.1, inf, -inf], "
        "confidence_kind='logprob', metadata={'goal': {'max_error': 0.2}})"
    )
    assert "metadata" not in repr(Policy(["a"], [-INF], "score"))


def test_repr_html():
    text = Policy(["<b>small</b>", "middle", "large"], [0.25, INF, -INF], "score")._repr_html_()
    assert "&lt;b&gt;small&lt;/b&gt;" in text
    assert "<b>" not in text
    assert "confidence ≥ 0.25" in text
    assert "never" in text
    assert "always" in text


ABSTAINING = ([0.8, INF, -INF], [0.2, -INF, 0.6])


def test_decide_abstains():
    thresholds, reject = ABSTAINING
    policy = Policy(["small", "middle", "large"], thresholds, "probability", reject=reject)
    decided = [policy.decide("small", x) for x in (0.1999, 0.2, 0.7999, 0.8)]
    assert decided == ["abstain", "defer", "defer", "accept"]
    assert policy.decide("middle", 0.0) == "defer"
    assert [policy.decide("large", x) for x in (0.5999, 0.6)] == ["abstain", "accept"]
    # a last stage that may abstain has to know
    with pytest.raises(CascadeError, match="confidence at stage 'large' is NaN"):
        policy.decide("large", math.nan)


def test_a_rejecting_threshold_may_meet_the_accepting_one():
    policy = Policy(["a", "b"], [0.5, -INF], "probability", reject=[0.5, INF])
    assert [policy.decide("a", x) for x in (0.49, 0.5)] == ["abstain", "accept"]
    assert policy.decide("b", 1.0) == "abstain"


def test_never_to_abstain_is_to_have_no_rejecting_thresholds():
    assert Policy(["a", "b"], [0.5, -INF], "score", reject=[-INF, -INF]) == Policy(
        ["a", "b"], [0.5, -INF], "score"
    )


@pytest.fixture
def plain():
    return Policy(["small", "middle", "large"], [0.7, 0.75, -INF], "probability")


def test_run_decides_at_the_last_stage_that_has_run(plain):
    rng = np.random.default_rng(3)
    for a, b, c in rng.uniform(0, 1, (50, 3)):
        assert plain.run([a]) == plain.decide("small", a)
        assert plain.run(np.array([a, b])) == plain.decide("middle", b)
        assert plain.run({"middle": b, "small": a}) == plain.decide("middle", b)
        assert plain.run((a, b, c)) == "accept"


@pytest.mark.parametrize(
    ("confidences", "message"),
    [
        ([], "got 0 confidences; give those of the stages that have run, from 1 to 3"),
        ([0.1] * 4, "got 4 confidences"),
        ({}, "got 0 confidences"),
        ({"middle": 0.5}, "without that of 'small'"),
        ({"small": 0.5, "large": 0.5}, "without that of 'middle'"),
        ({"tiny": 0.5}, "unknown stage 'tiny'"),
        ({3: 0.5}, "unknown stage '3'"),
        ("0.5", "confidences should be a list or a dict but are '0.5'"),
        ({0.5}, "confidences should be a list or a dict but are {0.5}"),
        (0.5, "confidences should be a list or a dict but are 0.5"),
        ([0.5, math.nan], "confidence at stage 'middle' is NaN"),
    ],
)
def test_run_refuses(plain, confidences, message):
    with pytest.raises(CascadeError, match=message):
        plain.run(confidences)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reject": [0.5]}, "got 1 rejecting thresholds for 2 stages"),
        ({"reject": [0.9, -INF]}, "stage 'a' would accept from 0.8 on but abstain below 0.9"),
        ({"reject": [1.5, -INF]}, "rejecting threshold 1.5 of stage 'a' is off the scale of 'probability'"),
        ({"reject": [math.nan, -INF]}, "rejecting threshold nan of stage 'a'"),
        ({"reject": "low"}, "rejecting thresholds should be a list of numbers but is 'low'"),
    ],
)
def test_new_parts_are_checked(options, message):
    with pytest.raises(CascadeError, match=message):
        Policy(["a", "b"], [0.8, -INF], "probability", **options)


def test_round_trip_of_what_is_new(tmp_path):
    thresholds, reject = ABSTAINING
    policy = Policy(["small", "middle", "large"], thresholds, "probability", {"a": 1}, reject=reject)
    path = tmp_path / "policy.json"
    policy.save(path)
    content = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert content["version"] == 2
    loaded = Policy.load(path)
    assert loaded == policy
    assert repr(loaded) == repr(policy)
    assert eval(repr(loaded), {"Policy": Policy, "inf": INF}) == policy
    content["version"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(CascadeError, match="says version 1 but holds"):
        Policy.load(path)


def test_a_policy_that_decides_by_history_is_refused(tmp_path):
    """As an older version wrote it: its thresholds are on P(correct), and are no thresholds on confidences."""
    curve = {"centre": 1.0, "scale": 1.4, "floor": -2.5, "ceiling": 2.5, "intercept": 0.3, "slope": 1.1}
    content = {
        "format": "bayescascade-policy",
        "version": 2,
        "confidence_kind": "probability",
        "stages": ["small", "large"],
        "thresholds": [0.7, "-inf"],
        "history": [{**curve, "previous_slope": 0.0, "atoms": [[16.6, 1.5]]}],
        "metadata": {},
    }
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CascadeError, match=r"policy\.json is .* by history.* no longer supported; tune again"):
        Policy.load(path)
    path.write_text(json.dumps({**content, "version": 1, "history": None}))
    assert Policy.load(path) == Policy(["small", "large"], [0.7, -INF], "probability")


def test_html_of_what_is_new():
    thresholds, reject = ABSTAINING
    text = Policy(["small", "middle", "large"], thresholds, "probability", reject=reject)._repr_html_()
    assert "confidence &lt; 0.2" in text
    assert '<th scope="col">abstains</th>' in text


def test_import_is_light():
    """A service that only applies thresholds must not wait for PyMC, nor have it installed."""
    code = (
        "import sys; from bayescascade.runtime.policy import Policy; "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_policy_is_a_value():
    """What was checked stays as it is, and equal policies are one key."""
    policy = Policy(["small", "large"], [0.8, float("-inf")], "probability", {"goal": {}}, reject=[0.1, 0.2])
    for part in (policy.stages, policy.thresholds, policy.reject):
        with pytest.raises(TypeError, match="cannot be changed"):
            part[0] = part[1]
    same = Policy(["small", "large"], (0.8, float("-inf")), "probability", {"goal": {}}, reject=[0.1, 0.2])
    assert {policy: 1}[same] == 1
    other = Policy(["small", "large"], [0.7, float("-inf")], "probability")
    assert len({policy, same, other}) == 2
