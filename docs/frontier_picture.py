"""Draw the picture in the README from the embedded example.

Run from the project's root: ``.venv/bin/python docs/frontier_picture.py``. Writes ``docs/_static/frontier.png``.
"""

from pathlib import Path

import matplotlib.pyplot as plt

import bayescascade as bc

OUT = Path(__file__).parent / "_static" / "frontier.png"


def main() -> None:
    fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    _, ax = plt.subplots(figsize=(7.0, 4.2), layout="constrained")
    bc.plot_frontier(fit, solution=bc.tune(fit, max_error=0.3, prob=0.9), ax=ax)
    ax.set_title("Embedded example: P(error <= 0.3) >= 0.9 at the least cost", fontsize="medium")
    OUT.parent.mkdir(exist_ok=True)
    # no version or date inside, so that the file changes only when the picture does
    ax.figure.savefig(OUT, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()
