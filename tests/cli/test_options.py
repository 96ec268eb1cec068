"""Options of the command line for the model, for tasks and for updates, and its own words for Python's."""

import gzip
import re
import shlex
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import typer
import xarray as xr
from helpers.cli_fakes import STAGES, assert_one_sentence, make_log, run
from typer.testing import CliRunner

import bayescascade as bc
from bayescascade.cli import app as cli
from bayescascade.cli import options as _arguments
from bayescascade.cli import parsing
from bayescascade.cli.face import CommandLine
from bayescascade.errors import TO_FILL_IN, CascadeError, CascadeWarning, call, option
from bayescascade.model.calibration import CALIBRATIONS
from bayescascade.model.copulas.family import FAMILIES
from bayescascade.model.margins.models import MARGIN_MODELS
from bayescascade.runtime import policy

FIT = ("fit", "log.csv", "--kind", "probability", "-o", "new.nc")


def with_tasks(name="task"):
    """The log of the working folder, of two tasks whose query ids repeat."""
    log = make_log().assign_coords(task=("query", ["law"] * 8 + ["maths"] * 4))
    bc.write_log(log, Path("tasks.csv"))
    text = Path("tasks.csv").read_text().replace("task", name, 1)
    for query in range(8, 12):
        text = text.replace(f"\n{query},maths", f"\n{query - 8},maths")
    Path("tasks.csv").write_text(text)


# ---- the model


@pytest.mark.parametrize("names", [FAMILIES, MARGIN_MODELS, CALIBRATIONS, ("auto",)])
def test_help_names_every_choice(names):
    text = run("fit", "--help").output
    assert [name for name in names if name not in text] == []


def test_help_follows_the_registries(monkeypatch):
    monkeypatch.setitem(MARGIN_MODELS, "spline", None)
    assert "spline" in run("fit", "--help").output


def test_no_help_shows_a_placeholder():
    for command in ("demo", "fit", "tune", "score", "report", "simulate"):
        text = run(command, "--help").output
        assert [key for key in _arguments._choices() if f"{{{key}}}" in text] == []


@pytest.mark.parametrize(
    ("typed", "passed"),
    [
        ("auto", "auto"),
        ("clayton_180", "clayton_180"),
        ("frank,gumbel", ["frank", "gumbel"]),
        (" frank , joe ", ["frank", "joe"]),
    ],
)
def test_copula_is_one_name_or_one_for_each_link(calls, folder, typed, passed):
    assert run(*FIT, "--copula", typed).exit_code == 0
    assert calls["fit"][1]["copula"] == passed


@pytest.mark.parametrize(
    ("typed", "passed"), [((), True), (("--difficulty",), True), (("--no-difficulty",), False)]
)
def test_difficulty_is_a_switch(calls, folder, typed, passed):
    assert run(*FIT, *typed).exit_code == 0
    assert (calls["fit"][1]["difficulty"], calls["fit"][1]["copula"]) == (passed, None)


def test_difficulty_is_named_as_it_is_typed():
    face = CommandLine(typer.main.get_command(cli.app).commands.values())
    assert (face.option("difficulty", True), face.option("difficulty", False)) == (
        "--difficulty",
        "--no-difficulty",
    )


def test_model_options_are_passed_on(calls, folder):
    options = ("--margin", "bernstein", "--calibration", "monotone")
    result = run(*FIT, *options, "--target-accept", 0.95)
    assert result.exit_code == 0, result.output
    kwargs = calls["fit"][1]
    assert {name: kwargs[name] for name in ("margin", "calibration", "target_accept")} == {
        "margin": "bernstein",
        "calibration": "monotone",
        "target_accept": 0.95,
    }


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--copula", "box"), "--copula box is not a known family"),
        (("--copula", "frank,joe"), "copula has 2 families, but the log has 1 links"),
        (("--margin", "box"), "--margin box is not known; choose one of 'polya_tree'"),
        (("--calibration", "box"), "--calibration box is not known; choose one of 'logistic'"),
        (("--target-accept", "2"), "--target-accept 2.0 is not allowed"),
    ],
)
def test_unknown_choices_stop_before_sampling(calls, folder, monkeypatch, options, sentence):
    from bayescascade.inference import fit as inference
    from bayescascade.inference import sampling

    def sample(*_):
        raise AssertionError("sampled")

    monkeypatch.setattr(sampling, "sample", sample)
    monkeypatch.setitem(vars(bc), "fit", inference.fit)
    assert_one_sentence(run(*FIT, *options), sentence)
    assert not Path("new.nc").exists()


def test_prices_in_place_of_a_column(calls, folder):
    result = run(*FIT, "--cost", "small=1e-4, large=0.5")
    assert result.exit_code == 0, result.output
    log = calls["fit"][0][0]
    np.testing.assert_array_equal(log["cost"], np.tile([1e-4, 0.5], (12, 1)))
    scored = run("score", "log.csv", "--policy", "policy.json", "--cost", "small=2,large=3")
    assert scored.exit_code == 0, scored.output
    np.testing.assert_array_equal(calls["score"][0][0]["cost"][0], [2.0, 3.0])


@pytest.mark.parametrize(
    ("cost", "sentence"),
    [
        ("small=1,large", "'large' has no number; write e.g. --cost small=1e-4,large=1e-3"),
        ("small=1,large=", "'large=' has no number"),
        ("small=cheap,large=1", "'small=cheap' has no number"),
        ("small=1,large=nan", "the price of stage 'large' should be a finite number"),
        ("small=1", "cost gives no price for stage 'large'"),
        ("price", "with --cost COLUMN, or give the price of a call to each stage: --cost small=1e-4,large=1e-3"),
    ],
)
def test_bad_prices(calls, folder, cost, sentence):
    assert_one_sentence(run(*FIT, "--cost", cost), sentence)


# ---- the comparison of families


def comparison():
    elpd = [[-210.0, -200.5, -205.25], [-300.0, -310.0, -299.0]]
    table = xr.Dataset(
        {
            "elpd": (("link", "family"), elpd),
            "elpd_diff": (("link", "family"), [[-9.5, 0.0, -4.75], [-1.0, -11.0, 0.0]]),
            "dse": (("link", "family"), [[3.125, 0.0, 2.5], [0.75, 4.5, 0.0]]),
        },
        coords={"link": ["small > medium", "medium > large"], "family": ["gumbel", "frank", "joe"]},
    )
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs={"confidence_kind": "probability"}), "comparison": table})


def test_fit_shows_the_comparison(calls, folder, monkeypatch):
    monkeypatch.setitem(vars(bc), "fit", lambda *_, **__: comparison())
    result = run(*FIT, "--copula", "auto")
    assert result.exit_code == 0, result.output
    rows = [re.split(r"\s{2,}", line.strip()) for line in result.stdout.splitlines() if " > " in line]
    assert rows == [
        ["small > medium", "frank", "-200.5", "0.0", "0.0"],
        ["small > medium", "joe", "-205.2", "-4.8", "2.5"],
        ["small > medium", "gumbel", "-210.0", "-9.5", "3.1"],
        ["medium > large", "joe", "-299.0", "0.0", "0.0"],
        ["medium > large", "gumbel", "-300.0", "-1.0", "0.8"],
        ["medium > large", "frank", "-310.0", "-11.0", "4.5"],
    ]


def test_fit_shows_no_comparison_where_there_is_none(calls, folder):
    assert "elpd" not in run(*FIT).stdout


# ---- updates


@pytest.fixture
def updated(calls, monkeypatch):
    """Stand-in for a fit that was brought up to date; set its attributes."""
    attrs = {"confidence_kind": "probability", "update_old": 30, "update_new": 12, "update_labelled": 7}

    def fit(*args, **kwargs):
        calls["fit"] = (args, kwargs)
        return xr.DataTree(xr.Dataset(attrs=attrs))

    monkeypatch.setitem(vars(bc), "fit", fit)
    return attrs


def test_previous_updates_a_fit(calls, folder, updated):
    updated |= {"update": "reweighted", "update_k": 0.3125, "update_share": 0.714}
    result = run(*FIT, "--previous", "fit.nc", "--seed", 3)
    assert result.exit_code == 0, result.output
    kwargs = calls["fit"][1]
    assert kwargs.pop("previous") is bc.load_fit()
    assert kwargs == {"random_seed": 3, "tune": 200, "target_accept": None, "progressbar": False}
    assert calls["fit"][0][0].sizes["query"] == 12
    told = (
        "Updated with 12 new queries, 7 of them labelled, beside 30 earlier ones: the earlier draws were "
        "reweighted (Pareto k-hat 0.31; 71% of them count).\n"
    )
    assert told in result.stdout
    assert Path("new.nc").read_text() == "a fit"


def test_an_update_says_when_it_sampled_anew(calls, folder, updated):
    updated |= {"update": "sampled anew", "update_k": 1.25}
    result = run(*FIT, "--previous", "fit.nc")
    assert "all queries were sampled again (Pareto k-hat 1.25)." in result.stdout


def test_an_update_reads_the_stages_of_the_fit(calls, folder, updated):
    """New queries may cost otherwise on average, which must not reorder the stages."""
    updated |= {"update": "sampled anew", "update_k": 1.25}
    log = make_log()
    log["cost"][:] = log["cost"].values[:, ::-1]
    bc.write_log(log, Path("log.csv"))
    text = Path("log.csv").read_text().splitlines()
    Path("log.csv").write_text(
        "\n".join(line.replace(",0,small", ",small").replace(",1,large", ",large") for line in text).replace(
            "stage,", "", 1
        )
    )
    assert run(*FIT, "--previous", "fit.nc").exit_code == 0
    assert calls["fit"][0][0]["stage"].values.tolist() == STAGES
    assert run(*FIT).exit_code == 0
    assert calls["fit"][0][0]["stage"].values.tolist() == STAGES[::-1]


def test_an_update_does_not_replace_the_earlier_fit(calls, folder, updated):
    updated |= {"update": "sampled anew", "update_k": 1.25}
    before = Path("fit.nc").read_bytes()
    result = run(*FIT[:-1], "fit.nc", "--previous", "fit.nc")
    assert result.exit_code == 2
    assert "is the input itself" in result.output
    assert Path("fit.nc").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        (("--copula", "gumbel"), "--copula cannot go with --previous"),
        (("--margin", "bernstein", "--draws", "50"), "--margin and --draws cannot go with --previous"),
        (("--calibration", "monotone", "--chains", "3"), "--calibration and --chains cannot go with --previous"),
    ],
)
def test_an_update_keeps_the_model(calls, folder, options, fragment):
    assert_one_sentence(run(*FIT, "--previous", "fit.nc", *options), fragment)
    assert "fit" not in calls


def test_previous_must_be_a_fit(calls, folder, monkeypatch):
    from bayescascade.posterior import storage

    assert_one_sentence(run(*FIT, "--previous", "missing.nc"), "missing.nc")
    monkeypatch.setitem(vars(bc), "load_fit", storage.load_fit)
    assert_one_sentence(run(*FIT, "--previous", "fit.nc"), "fit.nc")


# ---- tasks


@pytest.mark.parametrize(("name", "options"), [("task", ()), ("domain", ("--task-column", "domain"))])
def test_fit_reads_tasks(calls, folder, name, options):
    with_tasks(name)
    result = run("fit", "tasks.csv", *FIT[2:], *options)
    assert result.exit_code == 0, result.output
    log = calls["fit"][0][0]
    assert log["task"].values.tolist() == ["law"] * 8 + ["maths"] * 4
    assert log["query"].values[[0, 8]].tolist() == ["law/0", "maths/0"]
    assert "12 queries; stages as given: small, large; tasks: law (8), maths (4)" in result.stderr
    assert "tune new.nc --task law --max-error" in result.stdout


def test_missing_task_column(calls, folder):
    said = assert_one_sentence(run(*FIT, "--task-column", "domain"), "missing task column 'domain'")
    assert "Name the column with --task-column COLUMN" in said


def test_tune_takes_one_task(calls, folder):
    result = run("tune", "fit.nc", "--max-error", 0.2, "--task", "law")
    assert result.exit_code == 0, result.output
    assert calls["select_task"] == ((bc.load_fit(), "law"), {})
    assert calls["tune"][0][0].attrs["task"] == "law"
    assert run("tune", "fit.nc", "--max-error", 0.2).exit_code == 0
    assert "task" not in calls["tune"][0][0].attrs


def test_a_fit_of_several_tasks_names_the_option(calls, folder, monkeypatch):
    def refuse(*_, **__):
        raise CascadeError("choose one first, with " + call("select_task", "fit", "my law") + ".")

    monkeypatch.setitem(vars(bc), "tune", refuse)
    assert_one_sentence(run("tune", "fit.nc", "--max-error", 0.2), "choose one first, with --task 'my law'.")


def test_report_takes_one_task(calls, folder):
    with_tasks()
    options = ("--policy", "policy.json", "--test", "tasks.csv", "--task", "law")
    result = run("report", "fit.nc", "-o", "page.html", *options)
    assert result.exit_code == 0, result.output
    args, kwargs = calls["report"]
    assert args[0].attrs["task"] == "law"
    assert kwargs["test"]["query"].values.tolist() == [f"law/{i}" for i in range(8)]


def test_a_test_log_without_tasks_is_taken_whole(calls, folder):
    options = ("--policy", "policy.json", "--test", "log.csv", "--task", "law")
    assert run("report", "fit.nc", "-o", "page.html", *options).exit_code == 0
    assert calls["report"][1]["test"].sizes["query"] == 12


def test_score_takes_one_task(calls, folder):
    with_tasks("domain")
    score = ("score", "tasks.csv", "--policy", "policy.json", "--task-column", "domain")
    assert run(*score, "--task", "maths").exit_code == 0
    assert calls["score"][0][0]["query"].values.tolist() == [f"maths/{i}" for i in range(4)]
    assert run(*score).exit_code == 0
    assert calls["score"][0][0].sizes["query"] == 12
    assert_one_sentence(run(*score, "--task", "physics"), "no query of the task 'physics'; it has 'law', 'maths'")


def test_score_keeps_to_the_task_of_the_policy(calls, folder):
    with_tasks()
    policy.Policy(STAGES, [0.5, -np.inf], "probability", {"task": "maths"}).save("maths.json")
    result = run("score", "tasks.csv", "--policy", "maths.json")
    assert result.exit_code == 0, result.output
    assert calls["score"][0][0].sizes["query"] == 4
    assert "The policy is of the task 'maths': the queries of other tasks are left out." in result.stderr
    chosen = run("score", "tasks.csv", "--policy", "maths.json", "--task", "law")
    assert calls["score"][0][0].sizes["query"] == 8
    assert "left out" not in chosen.stderr
    assert run("score", "log.csv", "--policy", "maths.json").exit_code == 0
    assert calls["score"][0][0].sizes["query"] == 12


def test_report_tells_the_worth_of_labels_where_asked(calls, folder):
    assert run("report", "fit.nc", "-o", "page.html", "--policy", "policy.json", "--label-value").exit_code == 0
    kwargs = calls["report"][1]
    assert kwargs["labels"] is True
    assert kwargs["thresholds"].thresholds == [0.5, -np.inf]
    assert run("report", "fit.nc", "-o", "page.html", "--policy", "policy.json").exit_code == 0
    assert not calls["report"][1].get("labels", False)
    assert_one_sentence(
        run("report", "fit.nc", "-o", "page.html", "--label-value"), "--label-value goes with --policy"
    )


# ---- the report's name


@pytest.mark.parametrize("name", ["r.pdf", "report", "r.html.zip"])
def test_a_report_is_a_page(calls, folder, name):
    said = assert_one_sentence(run("report", "fit.nc", "-o", name), "end in .html or .htm")
    assert name in said
    assert "report" not in calls


@pytest.mark.parametrize("name", ["r.html", "r.htm", "R.HTML"])
def test_names_of_pages(calls, folder, name):
    assert run("report", "fit.nc", "-o", name).exit_code == 0
    assert Path(name).read_text() == "a page"


# ---- Python's words, in the command line's


def test_remarks_and_results_speak_of_options(calls, folder, monkeypatch):
    def tune(*_, **__):
        stages = option("stages", [TO_FILL_IN])
        warnings.warn("the prior decides; give " + stages, CascadeWarning, stacklevel=1)
        return SimpleNamespace(feasible=False, text="leave it out with " + stages)

    monkeypatch.setitem(vars(bc), "tune", tune)
    result = run("tune", "fit.nc", "--max-error", 0.2)
    assert "Note: the prior decides; give --stages A,B,...\n" in result.stderr
    assert "leave it out with --stages A,B,...\n" in result.stderr


# ---- the real thing


@pytest.mark.slow
@pytest.mark.long
def test_tasks_from_log_to_policy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = {"maths": bc.simulate(80, random_seed=1), "law": bc.simulate(50, random_seed=2)}
    bc.write_log(bc.combine_tasks(parts), Path("log.csv"))
    bc.write_log(bc.combine_tasks({"law": bc.simulate(30, random_seed=3)}), Path("new.csv"))
    unseen = {"maths": bc.simulate(30, random_seed=4), "law": bc.simulate(40, random_seed=5)}
    bc.write_log(bc.combine_tasks(unseen), Path("test.csv"))
    text = Path("new.csv").read_text().replace("\n", "\nnew")
    Path("new.csv").write_text(text.removesuffix("new"))
    sampling = ("--draws", 100, "--tune", 200, "--chains", 2, "--seed", 1)
    kind = ("--kind", "probability")
    assert run("fit", "log.csv", *kind, *sampling, "-o", "fit.nc").exit_code == 0
    assert_one_sentence(run("tune", "fit.nc", "--error-price", 0.1), "choose one first, with --task maths")
    for step in (
        ("tune", "fit.nc", "--task", "law", "--error-price", 0.1, "-o", "policy.json"),
        ("report", "fit.nc", "--task", "law", "--policy", "policy.json", "--test", "test.csv", "-o", "page.html"),
    ):
        result = run(*step)
        assert result.exit_code == 0, result.output
    scored = run("score", "log.csv", "--policy", "policy.json")
    assert ": 50 queries" in scored.stdout
    assert "The policy is of the task 'law'" in scored.stderr
    result = run("fit", "new.csv", *kind, "--previous", "fit.nc", "-o", "updated.nc", "--seed", 1)
    assert result.exit_code == 0, result.output
    assert "Updated with 30 new queries" in result.stdout
    assert bc.load_fit("updated.nc").attrs["n_queries"] == 160


# ---- goals


@pytest.mark.parametrize(
    ("typed", "passed"),
    [
        (("--max-error", 0.1, "--max-cost", 2), {"max_error": 0.1, "max_cost": 2.0}),
        (("--max-error", 0.1, "--batch", 500), {"max_error": 0.1, "batch": 500}),
        (
            ("--error-price", 3, "--risk", "cvar", "--alpha", 0.2),
            {"error_price": 3.0, "risk": "cvar", "alpha": 0.2},
        ),
        (("--error-price", 3, "--abstain-price", 1), {"error_price": 3.0, "abstain_price": 1.0}),
        (("--max-latency", 2, "--prob", 0.8), {"max_latency": 2.0, "prob": 0.8}),
        (("--error-price", 3, "--latency-price", 1), {"error_price": 3.0, "latency_price": 1.0}),
        (("--error-price", 3, "--stages", "small,large"), {"error_price": 3.0, "stages": ["small", "large"]}),
    ],
)
def test_goals_are_passed_on(calls, folder, typed, passed):
    result = run("tune", "fit.nc", *typed)
    assert result.exit_code == 0, result.output
    assert calls["tune"][1] == passed


def test_tune_takes_every_argument_of_the_function():
    import inspect

    from bayescascade.cli import choosing as _deciding
    from bayescascade.tuning import tune as tuning

    theirs, ours = (set(inspect.signature(f).parameters) for f in (tuning.tune, _deciding.tune))
    assert theirs - {"fit"} <= ours


# ---- what a decision is worth


def test_verdict_shows_the_rivals_and_the_words(calls, folder, monkeypatch):
    import pandas as pd

    table = pd.DataFrame(
        {
            "rival": ["this cascade", "small alone"],
            "kind": ["cascade", "single stage"],
            "loss": [5.0, 7.5],
            "saving": [0.0, 2.5],
            "saving_low": [0.0, 1.25],
            "saving_high": [0.0, 3.75],
            "p_beats": [0.0, 0.987],
        }
    )
    seen = {}

    def stand_in(fit, **options):
        seen.update(options)
        return SimpleNamespace(table=table, text="Run this cascade: " + option("error_price", 3) + " says so.")

    monkeypatch.setitem(vars(bc), "verdict", stand_in)
    result = run("verdict", "fit.nc", "--error-price", 3)
    assert result.exit_code == 0, result.output
    assert seen == {"error_price": 3.0, "abstain_price": None}
    assert "99%" in result.stdout
    assert "1.25 to 3.75" in result.stdout
    assert "--error-price 3 says so" in result.stdout


def test_a_verdict_by_a_limit_is_of_what_tune_finds_for_it(calls, folder, monkeypatch):
    seen = {}
    table = pd.DataFrame({"rival": ["this cascade"], "kind": ["cascade"], "loss": [5.0], "kept": [0.92]})
    table = table.assign(saving=0.0, saving_low=0.0, saving_high=0.0, p_beats=float("nan"))

    def stand_in(fit, **options):
        seen.update(options)
        return SimpleNamespace(table=table, text="Run this cascade.")

    monkeypatch.setitem(vars(bc), "verdict", stand_in)
    result = run("verdict", "fit.nc", "--max-error", 0.2, "--prob", 0.8)
    assert result.exit_code == 0, result.output
    assert calls["tune"][1] == {"max_error": 0.2, "prob": 0.8}
    assert list(seen) == ["solution"]
    assert "limit" in result.stdout
    assert "92%" in result.stdout
    assert run("verdict", "fit.nc").exit_code == 2


def test_labels_takes_numbers_and_stages(calls, folder, monkeypatch):
    import pandas as pd

    columns = ("evsi", "evsi_mcse", "label_cost", "error_width", "cost_width")
    table = pd.DataFrame({"labelled": ["large"], "n_labels": [50], **{name: [0.125] for name in columns}})
    seen = {}

    def stand_in(fit, **options):
        seen.update(options)
        return SimpleNamespace(table=table, text="50 labels pay.")

    monkeypatch.setitem(vars(bc), "label_value", stand_in)
    typed = ("labels", "fit.nc", "--error-price", 3, "--n-labels", "50,100", "--stages", "large", "--seed", 4)
    result = run(*typed)
    assert result.exit_code == 0, result.output
    assert seen["n_labels"] == [50, 100]
    assert (seen["stages"], seen["random_seed"], seen["horizon"]) == (["large"], 4, None)
    assert "50 labels pay." in result.stdout
    assert (seen["error_price"], "max_error" in seen) == (3.0, False)
    assert_one_sentence(run(*typed[:5], "many"), "is not a list of whole numbers")
    table = table.assign(limit=0.3, limit_mcse=0.001, lowest=0.28, cost=1.25, cost_mcse=0.01, p_kept=0.75)
    seen.clear()
    result = run("labels", "fit.nc", "--max-error", 0.3, "--prob", 0.8, "--n-labels", 50)
    assert result.exit_code == 0, result.output
    assert (seen["max_error"], seen["prob"], "error_price" in seen) == (0.3, 0.8, False)
    for shown in ("30.0% ± 0.1", "28.0%", "1.25 ± 0.01", "75%"):
        assert shown in result.stdout
    assert seen["queries"] == "new"


def test_labels_writes_ids_of_queries_to_label(calls, folder, monkeypatch):
    import pandas as pd

    columns = ("evsi", "evsi_mcse", "label_cost", "error_width", "cost_width")
    table = pd.DataFrame({"labelled": ["large"], "n_labels": [3], **{name: [0.125] for name in columns}})
    seen, asked = {}, []

    def stand_in(fit, **options):
        seen.update(options)
        return SimpleNamespace(table=table, text="3 labels pay.")

    def drawn(fit, n, *, stages, random_seed):
        asked.append((n, stages, random_seed))
        return np.array(["q7", "q2", "q5"])

    monkeypatch.setitem(vars(bc), "label_value", stand_in)
    monkeypatch.setattr("bayescascade.analysis.label_choice.draw_queries", drawn)
    typed = ("labels", "fit.nc", "--error-price", 3, "--n-labels", "2,3", "--seed", 4, "-o", "queries.csv")
    result = run(*typed)
    assert result.exit_code == 0, result.output
    assert asked == [(3, None, 4)]
    assert seen["queries"] == "logged"  # what these labels are worth, not those of new queries
    assert Path("queries.csv").read_text() == "query\nq7\nq2\nq5\n"
    assert "Wrote queries.csv: 3 queries, drawn at random." in result.stdout
    run(*typed, "--stages", "large")
    assert asked[-1] == (3, ["large"], 4)


def test_sensitivity_tunes_first(calls, folder, monkeypatch):
    import pandas as pd

    index = pd.MultiIndex.from_tuples([("as tuned", "", 1.0), ("price", "large", 2.0), ("drift", "queries", 0.25)])
    columns = ("error", "cost", "new_error", "new_cost", "lost")
    table = pd.DataFrame({name: [0.125, 0.25, float("nan")] for name in columns}, index=index)
    monkeypatch.setitem(
        vars(bc), "sensitivity", lambda fit, solution: SimpleNamespace(table=table, text="Steady.")
    )
    result = run("sensitivity", "fit.nc", "--max-error", 0.2, "--prob", 0.8)
    assert result.exit_code == 0, result.output
    assert calls["tune"][1] == {"max_error": 0.2, "prob": 0.8}
    assert "large costs × 2" in result.stdout
    assert "queries harder by 25%" in result.stdout
    assert "nan" not in result.stdout
    assert_one_sentence(run("sensitivity", "fit.nc", "--prob", 0.8), "No goal given")


def test_update_says_that_an_old_proposal_is_still_there(calls, folder, monkeypatch):
    """Where the goal can no longer be met, the file of an earlier proposal must not look like the new one."""
    bc.Policy(["small", "large"], [0.8, float("-inf")], "probability").save("policy.json")
    attrs = {"update": "sampled anew", "update_k": 1.25, "update_new": 2, "update_old": 3, "update_labelled": 2}
    found = SimpleNamespace(policy=None, diff=None, text="Not possible.", fit=SimpleNamespace(attrs=attrs))
    monkeypatch.setitem(vars(bc), "propose", lambda *arguments, **options: found)
    monkeypatch.setitem(vars(bc), "read_log", lambda *arguments, **options: bc.load_example())
    typed = ("update", "policy.json", "log.csv", "--fit", "fit.nc", "-o", "new.json")
    assert "new.json was not written." in run(*typed).stderr
    Path("new.json").write_text("{}")
    result = run(*typed)
    assert result.exit_code == 3
    assert "new.json was left as it was, from an earlier run." in result.stderr
    assert Path("new.json").read_text() == "{}"


# ---- reading logs


@pytest.mark.parametrize("packed", [False, True])
def test_a_log_from_standard_input(calls, folder, packed):
    content = Path("log.csv").read_bytes()
    content = gzip.compress(content) if packed else content
    result = CliRunner().invoke(cli.app, ["fit", "-", *FIT[2:]], input=content)
    assert result.exit_code == 0, result.output
    xr.testing.assert_identical(calls["fit"][0][0], bc.read_log("log.csv", confidence_kind="probability"))


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("a,b", ["a", "b"]),
        (" a , ,b,", ["a", "b"]),
        ('"a,1",b', ["a,1", "b"]),
        ("", []),
    ],
)
def test_names_with_commas(typed, names):
    assert parsing.names_of(typed) == names
    said = option("stages", names).render(CommandLine(typer.main.get_command(cli.app).commands.values()))
    assert parsing.names_of(shlex.split(f"{said} ''")[1]) == names


def test_prices_of_names_with_commas():
    assert parsing.cost_of('"a,1"=1e-4,b=2') == {"a,1": 1e-4, "b": 2.0}


def test_stages_by_number(calls, folder):
    for typed in ("0,1", "small,1"):
        assert run(*FIT, "--stages", typed).exit_code == 0
        assert calls.pop("fit")[0][0]["stage"].values.tolist() == STAGES
    assert_one_sentence(
        run(*FIT, "--stages", "0,7"), "there is no stage 7 in the log; it has 'small', 'large', 0, 1"
    )


@pytest.mark.parametrize(
    ("typed", "grades"),
    [("C=1,I=0,P=0.5,N=", {"C": 1.0, "I": 0.0, "P": 0.5, "N": None}), ("a=b=1", {"a=b": 1.0}), (None, None)],
)
def test_grades(typed, grades):
    assert parsing.grades_of(typed) == grades


@pytest.mark.parametrize("typed", ["C", "C=yes", "=1", "C=1,I"])
def test_grades_that_are_none(calls, folder, typed):
    assert_one_sentence(run(*FIT, "--grades", typed), "write e.g. --grades C=1,I=0,N=")


def test_letters_on_request(calls, folder):
    table = pd.read_csv("log.csv")
    table.assign(correct=table["correct"].map({1: "C", 0: "I"})).to_csv("log.csv", index=False)
    sentence = assert_one_sentence(run(*FIT), "correct is 'I' at row 0")
    assert sentence.endswith("if texts are grades, say what they stand for: --grades C=1,I=0,N=")
    assert run(*FIT, "--grades", "C=1,I=0,N=").exit_code == 0


def test_tune_says_what_the_policy_file_should_know(calls, folder):
    Path("prompt.txt").write_bytes(b"Answer: {question}\xff")
    more = ("--models", "small=small-1b 2026-10-01,large=large-2", "--template", "prompt.txt", "--currency", "USD")
    assert run("tune", "fit.nc", "--max-error", 0.2, "-o", "new.json", *more).exit_code == 0
    assert bc.tune().more == {
        "models": {"small": "small-1b 2026-10-01", "large": "large-2"},
        "prompts": "Answer: {question}\udcff",
        "currency": "USD",
    }


@pytest.mark.parametrize(
    ("more", "fragment"),
    [
        (("--models", "small", "-o", "new.json"), "--models small is not a list of models by stage"),
        (("--models", "small=a"), "go into the policy file; name one with -o"),
        (("--template", "fit.nc", "-o", "fit.nc"), "the output fit.nc is the input itself"),
    ],
)
def test_what_goes_into_the_policy_file_is_checked(calls, folder, more, fragment):
    assert_one_sentence(run("tune", "fit.nc", "--max-error", 0.2, *more), fragment)
