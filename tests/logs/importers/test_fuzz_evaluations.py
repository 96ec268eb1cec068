"""Damaged evaluation runs end in a log whose other rows are as they were, or in a sentence that names the file."""

import io
import json
import warnings
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers.fuzz import places, replaced

import bayescascade as bc
from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.logs.importers.archive import opened_archive

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

FILES = Path(__file__).parent / "files"
PRICES = {"small": 1e-4, "large": 1e-3}
LONGEST = 3000  # of a sentence

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
odd = st.sampled_from(
    ["C", "-inf", "1e999", "\ud800", "\x00", -9999.0, 10**400, 1e308, -1, "attachment://x", [], {}]
)
values = st.recursive(
    scalars | odd,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
quick = hypothesis.settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    derandomize=True,
    database=None,
)


def lm_eval_lines():
    path = next((FILES / "lm_eval" / "adders__small").glob("samples_sums_2*.jsonl"))
    return [json.loads(line) for line in path.read_text().splitlines()[:6]]


def inspect_samples():
    samples = json.loads((FILES / "inspect" / "small.json").read_text())["samples"][:6]
    return [
        sample for sample in samples if not sample.get("error") and sample["output"]["choices"][0].get("logprobs")
    ]


def promptfoo_results():
    results = json.loads((FILES / "promptfoo" / "results.json").read_text())["results"]["results"]
    return [result for result in results if result["provider"]["label"] == "large"][:6]


def as_lines(records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def as_log(samples):
    return json.dumps({"version": 2, "status": "success", "eval": {"model": "m"}, "samples": samples}).encode()


def as_results(results):
    return json.dumps({"results": {"version": 3, "results": results}}).encode()


READERS = {
    "lm-eval": (lm_eval_lines(), as_lines, bc.read_lm_eval, ".jsonl"),
    "inspect": (inspect_samples(), as_log, partial(bc.read_inspect, score="length"), ".json"),
    "promptfoo": (promptfoo_results(), as_results, bc.read_promptfoo, ".json"),
}


def read(reader, folder, suffix, content, whole):
    """A log of a damaged file and a whole one, or None where a sentence came, which names the damaged file."""
    small, large = folder / f"small{suffix}", folder / f"large{suffix}"
    small.write_bytes(content)
    large.write_bytes(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CascadeWarning)
        try:
            return reader({"small": small, "large": large}, prices=PRICES)
        except CascadeError as error:
            sentence = str(error)
    assert small.name in sentence or "'small'" in sentence or "quer" in sentence
    assert len(sentence) < LONGEST
    return None


@pytest.mark.parametrize("name", READERS)
@quick
@hypothesis.given(data=st.data())
def test_a_wrong_value_anywhere(tmp_path_factory, name, data):
    records, write, reader, suffix = READERS[name]
    row = data.draw(st.integers(0, len(records) - 1))
    path = data.draw(st.sampled_from([path for path in places(records[row]) if path]))
    damaged = [*records]
    damaged[row] = replaced(records[row], path, data.draw(values))
    folder = tmp_path_factory.mktemp("fuzz")
    log = read(reader, folder, suffix, write(damaged), write(records))
    if log is None:
        return
    plain = read(reader, folder, suffix, write(records), write(records))
    others = np.delete(plain["query"].values, row)
    for variable in ("confidence", "correct", "cost"):
        np.testing.assert_array_equal(log[variable].sel(query=others), plain[variable].sel(query=others))


@pytest.mark.parametrize("name", READERS)
@quick
@hypothesis.given(data=st.data())
def test_bytes_that_are_cut_or_changed(tmp_path_factory, name, data):
    records, write, reader, suffix = READERS[name]
    content = write(records)
    place = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.binary(max_size=4))
    damaged = content[:place] + other + (content[place + len(other) :] if data.draw(st.booleans()) else b"")
    read(reader, tmp_path_factory.mktemp("fuzz"), suffix, damaged, content)


def small_archive():
    made = io.BytesIO()
    with opened_archive(FILES / "inspect" / "small.eval") as archive, zipfile.ZipFile(made, "w") as written:
        for name in archive.names:
            if name == "header.json" or name.startswith(("samples/sum-1", "samples/sum-4_")):
                written.writestr(name, archive.read(name), zipfile.ZIP_DEFLATED)
    return made.getvalue()


@pytest.mark.parametrize("packed", ["by zstd", "by deflate"])
@quick
@hypothesis.given(data=st.data())
def test_archives(tmp_path_factory, packed, data):
    content = (FILES / "inspect" / "large.eval").read_bytes() if packed == "by zstd" else small_archive()
    place = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.binary(min_size=1, max_size=4))
    damaged = content[:place] + other + content[place + len(other) :]
    if data.draw(st.booleans()):
        damaged = damaged[: data.draw(st.integers(0, len(content)))]
    reader = partial(bc.read_inspect, score="length")
    read(reader, tmp_path_factory.mktemp("fuzz"), ".eval", damaged, small_archive())


@quick
@hypothesis.given(data=st.data())
def test_tables_of_routerbench(data):
    import pandas as pd

    columns = {"sample_id": ["a", "b", "c"], "s": [0, 1, 1], "l": [1, 1, 0]}
    columns |= {"s|total_cost": [1e-4] * 3, "l|total_cost": [1e-3] * 3, "s|p": [0.1, 0.5, 0.9], "l|p": [0.9] * 3}
    name, row = data.draw(st.sampled_from([*columns])), data.draw(st.integers(0, 2))
    columns[name] = [data.draw(values) if i == row else value for i, value in enumerate(columns[name])]
    table = pd.DataFrame(columns, dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CascadeWarning)
        try:
            log = bc.read_routerbench(table, confidence="p", confidence_kind="probability")
        except CascadeError as error:
            log, sentence = None, str(error)
    if log is None:
        assert len(sentence) < LONGEST
        return
    assert np.nanmax(log["confidence"]) <= 1
    assert np.nanmin(log["cost"]) >= 0
