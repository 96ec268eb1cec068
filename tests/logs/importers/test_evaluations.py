"""Formats of evaluation runs as the command line meets them: told from what a file holds, with their options."""

from pathlib import Path

import numpy as np
import pytest

import bayescascade as bc
from bayescascade.errors import CascadeError
from bayescascade.logs.importers.collect import Options
from bayescascade.logs.importers.formats import check_format, guess_format, refuse_options
from bayescascade.logs.importers.prices import Prices

FILES = Path(__file__).parent / "files"
FORMAT = {"inspect": "inspect", "lm_eval": "lm-eval", "promptfoo": "promptfoo"}
PATHS = sorted(
    path
    for folder in FORMAT
    for path in (FILES / folder).rglob("*")
    if path.is_file() and not path.name.startswith("results_")
)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_every_file_shows_its_format(path):
    assert guess_format(path) == FORMAT[path.relative_to(FILES).parts[0]]


def test_a_folder_shows_the_format_of_its_files():
    assert guess_format(FILES / "lm_eval") == "lm-eval"
    assert guess_format(FILES / "inspect") == "inspect"


def test_a_table_of_routerbench(tmp_path):
    path = tmp_path / "bench.csv"
    path.write_text("sample_id,m,m|total_cost\na,1,0.1\n")
    assert guess_format(path) == "routerbench"


def test_the_metric_is_called_a_score():
    found = {path.parent.name: path for path in FILES.rglob("samples_sums_2*.jsonl")}
    options = Options(prices=Prices({"adders__small": 1, "adders__large": 2}))
    log = check_format("lm-eval").collect(found, options, score="acc_norm").to_dataset()
    direct = bc.read_lm_eval(found, metric="acc_norm", prices={"adders__small": 1, "adders__large": 2})
    np.testing.assert_array_equal(log["correct"], direct["correct"])


def test_options_of_other_formats_are_refused():
    refuse_options("inspect", check_format("inspect"), ["score", "pass_mark"])
    with pytest.raises(CascadeError, match="filter is not for the format inspect, only for lm-eval"):
        refuse_options("inspect", check_format("inspect"), ["filter"])
    with pytest.raises(CascadeError, match="say themselves what their queries are"):
        check_format("inspect").collect(FILES / "inspect" / "small.eval", Options(), "id")
