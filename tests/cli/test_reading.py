"""`bayescascade read`: files of responses to a log, and a summary in any case."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from helpers.cli_fakes import assert_one_sentence, run

import bayescascade as bc

PRICES = "small=1e-4,large=2.5/10"


def line(i, logprob, answer="B", model="m"):
    content = [{"token": answer, "logprob": logprob}]
    choice = {"message": {"content": answer}, "logprobs": {"content": content}}
    usage = {"prompt_tokens": 100, "completion_tokens": 1}
    body = {"model": model, "choices": [choice], "usage": usage}
    return {"custom_id": f"q{i}", "response": {"status_code": 200, "body": body}, "error": None}


@pytest.fixture
def files(folder):
    """Files of 20 queries in the working folder, and the true answers."""
    rng = np.random.default_rng(1)
    for name in ("small", "large"):
        rows = [line(i, -float(rng.uniform(0.01, 1)), "AB"[int(rng.integers(2))], name) for i in range(20)]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("gold.csv").write_text("query,answer\n" + "".join(f"q{i},B\n" for i in range(20)))
    return ("small=small.jsonl", "large=large.jsonl")


def test_a_log_that_says_what_its_confidences_are(files):
    result = run("read", *files, "--labels", "gold.csv", "--prices", PRICES, "-o", "log.parquet")
    assert result.exit_code == 0, result.output
    assert result.stdout == "Wrote log.parquet. Next: bayescascade fit log.parquet -o fit.nc\n"
    again = run("read", *files, "--labels", "gold.csv", "--prices", PRICES, "-o", "log.parquet")
    assert again.stdout.startswith("Replaced log.parquet. Next: ")
    told = result.stderr.splitlines()
    assert told.pop(4).startswith("Right, of the labelled answers: small ")
    assert told == [
        "Format: responses.",
        "Confidence: mean_logprob, of the kind logprob.",
        "small: 20 of 20 calls are in the log; 20 are labelled, 20 have a cost.",
        "large: 20 of 20 calls are in the log; 20 are labelled, 20 have a cost.",
        "20 queries; every stage ran 20 of them.",
        "40 calls of a batch cost 0.5 of the price (batch discount).",
    ]
    log = bc.read_log("log.parquet")
    assert log.attrs["confidence_kind"] == "logprob"
    assert log["stage"].values.tolist() == ["small", "large"]
    np.testing.assert_allclose(log["cost"], [[0.5e-4, 0.5 * (250 + 10) / 1e6]] * 20)  # batches cost half


def test_csv_is_named_with_its_kind(files):
    result = run("read", *files, "--labels", "gold.csv", "--prices", PRICES, "-o", "log.csv")
    assert "bayescascade fit log.csv --kind logprob -o fit.nc" in result.stdout
    assert bc.read_log("log.csv", confidence_kind="logprob").sizes["query"] == 20


def test_files_that_name_their_models(files):
    run("read", *files, "--labels", "gold.csv", "--prices", PRICES, "-o", "one.parquet")
    run("read", "small.jsonl", "large.jsonl", "--labels", "gold.csv", "--prices", PRICES, "-o", "two.parquet")
    assert bc.read_log("one.parquet").identical(bc.read_log("two.parquet"))


SPREAD = {
    "patterns": ("small=days/small-*.jsonl", "large=days/large-*.jsonl"),
    "paths": ("small=days/small-0.jsonl", "small=days/small-1.jsonl", "large=large.jsonl"),
    "folders": ("small=days/small", "large=days/large"),
    "a pattern of files that name their models": ("days/*.jsonl",),
}


@pytest.mark.parametrize("case", SPREAD)
def test_a_stage_may_have_many_files(files, case):
    for name in ("small", "large"):
        lines = Path(f"{name}.jsonl").read_text().splitlines(keepends=True)
        Path(f"days/{name}").mkdir(parents=True)
        for day, part in enumerate((lines[:7], lines[7:])):
            for path in (f"days/{name}-{day}.jsonl", f"days/{name}/{day}.jsonl"):
                Path(path).write_text("".join(part))
    asked = ("--labels", "gold.csv", "--prices", PRICES, "-o")
    run("read", *files, *asked, "one.parquet")
    result = run("read", *SPREAD[case], *asked, "many.parquet")
    assert result.exit_code == 0, result.output
    one, many = (bc.read_log(f"{name}.parquet") for name in ("one", "many"))
    xr.testing.assert_identical(one.sortby("query"), many.sortby("query"))


def test_lines_without_ids_are_counted_on_from_file_to_file(files):
    """Line 7 of a stage's two files is the seventh query, as it is in one file."""
    for name in ("small", "large"):
        lines = [json.loads(text) for text in Path(f"{name}.jsonl").read_text().splitlines()]
        bare = [json.dumps(entry["response"]["body"]) + "\n" for entry in lines]
        Path(f"{name}.jsonl").write_text("".join(bare))
        for day, part in enumerate((bare[:7], bare[7:])):
            Path(f"{name}-{day}.jsonl").write_text("".join(part))
    Path("gold.csv").write_text("query,answer\n" + "".join(f"{i},B\n" for i in range(20)))
    asked = ("--labels", "gold.csv", "--prices", PRICES, "-o")
    run("read", *files, *asked, "one.parquet")
    result = run("read", "small=small-*.jsonl", "large=large-*.jsonl", *asked, "many.parquet")
    assert result.exit_code == 0, result.output
    assert bc.read_log("one.parquet").identical(bc.read_log("many.parquet"))
    shorter = run("read", "small=small-*.jsonl", "large=large-0.jsonl", *asked, "many.parquet")
    assert_one_sentence(shorter, "cannot be joined: small (20), large-0.jsonl (7)")


def test_a_log_needs_no_reading(files):
    bc.write_log(bc.simulate(20), "log.parquet")
    assert_one_sentence(run("read", "log.parquet", "-o", "new.parquet"), "it is a log already; give it to bayesc")


def test_a_dry_run_writes_nothing(files):
    result = run("read", *files, "--dry-run", "--signal", "min_logprob")
    assert result.exit_code == 0
    assert "Confidence: min_logprob, of the kind log_likelihood." in result.stdout
    assert "lacking: no label (20, first at small.jsonl, line 1)" in result.stdout
    assert not list(Path().glob("*.parquet"))


@pytest.mark.parametrize("where", [("--dry-run",), ("-o", "log.parquet")])
def test_json_has_the_summary_as_fields(files, where):
    result = run("read", *files, "--labels", "gold.csv", "--prices", PRICES, "--json", *where)
    found = json.loads(result.stdout)
    assert (found["signal"], found["confidence_kind"], found["queries"]) == ("mean_logprob", "logprob", 20)
    small = found["stages"]["small"]
    assert (small["calls"], small["kept"], small["labelled"], small["priced"]) == (20, 20, 20, 20)
    assert found["log"] == (None if where == ("--dry-run",) else "log.parquet")
    lacking = json.loads(run("read", *files, "--dry-run", "--json").stdout)["stages"]["small"]["lacking"]
    assert {"reason": "no label", "count": 20, "first_at": "small.jsonl, line 1"} in lacking


def test_the_summary_comes_before_what_is_wrong(files):
    result = run("read", *files, "--prices", PRICES, "-o", "log.parquet")
    assert result.exit_code == 2
    assert "small: 20 of 20 calls are in the log; 0 are labelled" in result.stderr
    assert "nothing says which answers are right" in result.stderr
    assert "--labels gold.csv" in result.stderr
    assert not Path("log.parquet").exists()


def test_a_table_of_prices(files):
    Path("prices.csv").write_text("model,input,output\nsmall,1,2\nlarge,10,20\n")
    result = run("read", *files, "--labels", "gold.csv", "--prices", "prices.csv", "-o", "log.parquet")
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(bc.read_log("log.parquet")["cost"], [[51e-6, 510e-6]] * 20)


MISTAKES = {
    "no output": ((), "-o log.parquet, or --dry-run"),
    "no file": (("tiny=tiny.jsonl", "-o", "log.parquet"), "there is no file 'tiny.jsonl'"),
    "some named": (("small.jsonl", "-o", "log.parquet"), "name the stage of each, or of none"),
    "no match": (("tiny=tiny-*.jsonl", "-o", "log.parquet"), "there is no file 'tiny-*.jsonl'"),
    "no response inside": (
        ("small=empty", "-o", "log.parquet"),
        "the folder empty has no file that ends in .jsonl",
    ),
    "format": (("--format", "xml", "-o", "log.parquet"), "xml"),
    "signal": (("--signal", "vibes", "-o", "log.parquet"), "unknown signal 'vibes'"),
    "prices": (("--prices", "cheap", "-o", "log.parquet"), "neither a table nor a list of prices"),
    "no price": (("--prices", "small=much", "-o", "log.parquet"), "no number for 'small=much'"),
    "suffix": (("-o", "log.txt"), "a log is written as .parquet or .csv"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(files, name):
    options, fragment = MISTAKES[name]
    Path("empty").mkdir()
    assert_one_sentence(run("read", *files, *options), fragment)


def test_a_file_of_no_known_format(files):
    Path("odd.jsonl").write_text('{"a": 1}\n')
    sentence = assert_one_sentence(
        run("read", "odd.jsonl", "-o", "log.parquet"), "odd.jsonl is of no known format"
    )
    assert "responses" in sentence


def test_the_output_is_not_an_input(files):
    Path("a.csv").write_text("x\n")
    assert_one_sentence(run("read", "a.csv", "-o", "a.csv"), "is the input itself")
