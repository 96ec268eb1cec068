"""Wide tables as RouterBench publishes them, converted, with confidences of the same models."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest

import bayescascade as bc
from bayescascade.errors import CascadeError, CascadeWarning

MODELS = ["mistralai/mistral-7b-chat", "gpt-4-1106-preview"]
N = 30


def table():
    """The columns of the published files (withmartian/routerbench, convertors/common.py), other numbers."""
    rng = np.random.default_rng(1)
    columns = {
        "sample_id": [f"mmlu-anatomy.val.{i}" for i in range(N)],
        "prompt": [f"['question {i}']" for i in range(N)],
        "eval_name": ["mmlu-anatomy" if i % 2 else "arc-challenge" for i in range(N)],
    }
    for place, model in enumerate(MODELS):
        columns[model] = (rng.random(N) < 0.5 + 0.3 * place).astype(float)
        columns[f"{model}|model_response"] = ["['A']"] * N
        columns[f"{model}|total_cost"] = rng.uniform(1e-5, 2e-5, N) * 30**place
    columns["oracle_model_to_route_to"] = [MODELS[0]] * N
    return pd.DataFrame(columns)


def sure():
    rng = np.random.default_rng(2)
    found = pd.DataFrame({"sample_id": table()["sample_id"], **{model: rng.random(N) for model in MODELS}})
    return found.sample(frac=1.0, random_state=3)  # in another order


def read(source, confidence, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CascadeWarning)
        return bc.read_routerbench(source, confidence=confidence, **{"confidence_kind": "probability", **options})


def check(log, stages=MODELS):
    wide, other = table().set_index("sample_id"), sure().set_index("sample_id")
    assert log["stage"].values.tolist() == stages
    for stage, model in zip(stages, MODELS, strict=True):
        rows = log.sel(stage=stage)
        queries = log["query"].values
        np.testing.assert_array_equal(rows["confidence"], other.loc[queries, model])
        np.testing.assert_array_equal(rows["correct"], wide.loc[queries, model])
        np.testing.assert_array_equal(rows["cost"], wide.loc[queries, f"{model}|total_cost"])


class TestForms:
    def test_a_wide_table_of_confidences(self):
        check(read(table(), sure()))

    def test_a_long_one(self):
        long = sure().melt("sample_id", var_name="model", value_name="confidence")
        check(read(table(), long))

    def test_columns_of_the_table(self):
        both = table().merge(sure().rename(columns=lambda name: name if name == "sample_id" else f"{name}|p"))
        check(read(both, "p"))

    @pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
    def test_files(self, tmp_path, suffix):
        paths = []
        for name, frame in (("bench", table()), ("sure", sure())):
            path = tmp_path / f"{name}{suffix}"
            if suffix == ".csv":
                frame.to_csv(path, index=False)
            elif suffix == ".parquet":
                frame.to_parquet(path)
            else:
                frame.to_json(path, orient="records", lines=True, double_precision=15)
            paths.append(path)
        log = read(*paths)
        np.testing.assert_allclose(log["confidence"], read(table(), sure())["confidence"], rtol=1e-12)

    def test_other_frames(self):
        pl = pytest.importorskip("polars")
        check(read(pl.from_pandas(table()), pl.from_pandas(sure()).lazy()))

    def test_stages_of_ones_own(self):
        check(read(table(), sure(), models=dict(zip(["small", "large"], MODELS, strict=True))), ["small", "large"])


def test_tasks():
    log = read(table(), sure(), task="eval_name")
    wide = table().set_index("sample_id")
    np.testing.assert_array_equal(log["task"], wide.loc[log["query"].values, "eval_name"])


def test_samples_without_a_confidence_did_not_run():
    few = sure()
    gone = few["sample_id"].iloc[:5].tolist()
    with pytest.warns(CascadeWarning, match="10 of 60 calls are left out of the log"):
        log = bc.read_routerbench(table(), confidence=few.iloc[5:], confidence_kind="probability")
    assert log.sizes["query"] == N - 5
    assert not set(gone) & set(log["query"].values)


def test_partial_scores_need_a_pass_mark():
    half = table()
    half.loc[3, MODELS[0]] = 0.25
    with pytest.raises(CascadeError, match=r"row 3 .*sample_id 'mmlu-anatomy\.val\.3'.*is 0\.25, neither right"):
        read(half, sure())
    log = read(half, sure(), pass_mark=0.5)
    assert log["correct"].sel(query="mmlu-anatomy.val.3", stage=MODELS[0]) == 0


def test_the_published_pickle_is_refused_and_not_opened(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    path = tmp_path / "routerbench_0shot.pkl"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CascadeError, match=r"routerbench_0shot\.pkl is a pickle.*read_pickle.*to_parquet"):
        read(path, sure())
    with pytest.raises(CascadeError, match="is a pickle"):
        read(table(), path)
    assert not (tmp_path / "executed").exists()


def test_it_has_no_confidences():
    with pytest.raises(CascadeError, match="holds no confidences, as no table of RouterBench does"):
        bc.read_routerbench(table(), confidence=None, confidence_kind="probability")


WRONG = {
    "no samples": (lambda t: t.drop(columns="sample_id"), {}, "has no column 'sample_id'"),
    "no models": (lambda t: t[["sample_id", "prompt"]], {}, r"has no columns '<model>' and '<model>\|total_cost'"),
    "a sample twice": (lambda t: pd.concat([t, t.iloc[:1]]), {}, r"has sample_id '.*' twice \(again in row 30"),
    "a cost that is none": (lambda t: t.assign(**{f"{MODELS[0]}|total_cost": "dear"}), {}, "is 'dear'"),
    "a score that is none": (lambda t: t.assign(**{MODELS[0]: "good"}), {}, "is 'good'; it should be a number"),
    "a model that is none": (lambda t: t, {"models": ["gpt-9", MODELS[0]]}, "models names 'gpt-9'"),
    "a set of models": (lambda t: t, {"models": set(MODELS)}, "give the names of models, cheapest first"),
    "no task": (lambda t: t, {"task": "topic"}, "has no column 'topic'"),
    "other samples": (lambda t: t.assign(sample_id=range(N)), {}, "no sample_id of the table is in"),
    "an unknown kind": (lambda t: t, {"confidence_kind": "x"}, "unknown confidence kind 'x'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_tables(what):
    change, options, sentence = WRONG[what]
    with pytest.raises(CascadeError, match=sentence):
        read(change(table()), sure(), **options)


def test_confidences_that_are_not_there():
    with pytest.raises(CascadeError, match=r"no columns '<model>\|p_true', and there is no file 'p_true'"):
        read(table(), "p_true")
    with pytest.raises(CascadeError, match="should have sample_id and a column for each model"):
        read(table(), pd.DataFrame({"sample_id": ["a"], "other": [0.5]}))
    twice = pd.DataFrame({"sample_id": ["a", "a"], "model": ["m", "m"], "confidence": [0.1, 0.2]})
    with pytest.raises(CascadeError, match="has 'a' of model 'm' twice"):
        read(table(), twice)
