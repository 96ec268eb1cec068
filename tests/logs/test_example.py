"""The embedded example logs."""

import importlib.util
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from bayescascade.errors import CascadeError
from bayescascade.logs.example import load_example


def test_the_simulated_one_is_the_default():
    assert load_example().identical(load_example("simulated"))
    assert load_example().sizes == {"query": 300, "stage": 3}


class TestDigits:
    def test_every_cell_is_there(self):
        log = load_example("digits")
        assert log["stage"].values.tolist() == ["thumbnail", "networks", "forest"]
        assert all(log[name].notnull().all() for name in ("confidence", "correct", "cost", "latency"))
        assert log.attrs["confidence_kind"] == "probability"

    def test_dearer_stages_are_right_more_often(self):
        log = load_example("digits")
        assert (log["correct"].mean("query").diff("stage") > 0).all()
        assert (log["cost"].mean("query").diff("stage") > 0).all()
        np.testing.assert_allclose(1000 * log["latency"], log["cost"])

    def test_confidences_tell_right_from_wrong(self):
        log = load_example("digits")
        for stage in log["stage"].values:
            one = log.sel(stage=stage)
            right = one["correct"].values == 1
            assert one["confidence"].values[right].mean() > one["confidence"].values[~right].mean() + 0.1

    def test_is_small_enough_to_ship(self):
        assert len(files("bayescascade.logs").joinpath("example_digits.csv").read_bytes()) < 500_000

    def test_the_page_says_what_the_log_holds(self):
        log = load_example("digits")
        page = Path(__file__).parents[2].joinpath("docs", "reference", "examples.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| `(\w+)` \| .* \| (\d+)% \| ([\d.]+) ms \|$", page, re.M)
        assert [name for name, *_ in rows] == log["stage"].values.tolist()
        for name, wrong, milliseconds in rows:
            one = log.sel(stage=name)
            assert f"{1 - float(one['correct'].mean()):.0%}" == f"{wrong}%"
            assert float(f"{float(one['cost'].mean()):.1g}") == float(milliseconds)

    @pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="scikit-learn has the images")
    def test_ids_are_images_of_scikit_learn_and_the_first_stage_can_be_recorded_again(self):
        from sklearn.datasets import load_digits
        from sklearn.linear_model import LogisticRegression

        from studies.digits.run import thumbnail

        images, digits = load_digits(return_X_y=True)
        log = load_example("digits")
        logged = log["query"].values
        assert len(np.unique(logged)) == len(logged)
        training = np.setdiff1d(np.arange(len(digits)), logged)
        assert len(training) == 200
        first = LogisticRegression(max_iter=1000).fit(thumbnail(images[training] / 16), digits[training])
        probability = first.predict_proba(thumbnail(images[logged] / 16))
        one = log.sel(stage="thumbnail")
        np.testing.assert_allclose(one["confidence"], probability.max(axis=1), atol=1e-3)
        np.testing.assert_array_equal(one["correct"], probability.argmax(axis=1) == digits[logged])


@pytest.mark.parametrize("name", ["digit", "", None, ["digits"]])
def test_other_names_are_refused(name):
    with pytest.raises(CascadeError, match="choose one of 'simulated', 'digits'") as caught:
        load_example(name)
    assert caught.value.parameter == "name"
