"""The picture of several signals shows the table's numbers."""

import numpy as np
import pandas as pd
import pytest

import bayescascade as bc
from bayescascade.errors import CascadeError


@pytest.fixture(scope="module")
def quality():
    rng = np.random.default_rng(3)
    n = 300
    truth = rng.normal(size=n)
    table = pd.DataFrame(
        {
            "stage": np.repeat(["small", "la$rge"], n // 2),
            "mean_logprob": truth,
            "noise": rng.normal(size=n),
            "correct": (truth + rng.normal(size=n) > 0).astype(float),
        }
    )
    return bc.signal_quality(table)


@pytest.mark.parametrize("measure", ["auroc", "auarc"])
def test_points_bars_and_the_line_of_nothing(quality, measure):
    axes = bc.plot_signal_quality(quality, measure=measure)
    assert [ax.get_title() for ax in axes] == ["small", r"la\$rge"]
    for ax, stage in zip(axes, ["small", "la$rge"], strict=True):
        part = quality.loc[stage]
        assert [text.get_text() for text in ax.get_yticklabels()] == ["mean_logprob", "noise"]
        points, _, (bars,) = ax.containers[0]
        assert points.get_xdata().tolist() == part[measure].tolist()
        ends = np.array([segment[:, 0] for segment in bars.get_segments()])
        np.testing.assert_allclose(ends, part[[f"{measure}_low", f"{measure}_high"]])
        nothing = 0.5 if measure == "auroc" else part["accuracy"].iloc[0]
        assert any(line.get_xdata()[0] == nothing for line in ax.lines if len(line.get_xdata()) == 2)
        assert ax.yaxis_inverted()  # the best on top


def test_on_axes_of_ones_own(quality):
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(1, 2)
    assert bc.plot_signal_quality(quality, ax=axes)[0] is axes[0]


@pytest.mark.parametrize(
    ("table", "measure", "message"),
    [
        (None, "auroc", "NoneType came"),
        (pd.DataFrame({"a": [1]}), "auroc", "DataFrame came"),
        (None, "ece", "choose"),
    ],
)
def test_mistakes(table, measure, message):
    with pytest.raises(CascadeError, match=message):
        bc.plot_signal_quality(table, measure=measure)
