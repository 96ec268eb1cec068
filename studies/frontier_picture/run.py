"""Draw the picture in the README from the embedded log of a real cascade.

Run from the project's root: ``python -m studies.frontier_picture.run``. Writes ``docs/_static/frontier.png``,
which is part of no page of evidence; a quick run writes ``build/quick/frontier.png``.
"""

from collections.abc import Sequence

import bayescascade as bc
from studies.common.command import ROOT, parse


def main(argv: Sequence[str] | None = None) -> None:
    import matplotlib.pyplot as plt

    run = parse("frontier_picture", __doc__, argv)
    out = (run.build if run.quick else ROOT / "docs" / "_static") / "frontier.png"
    log = bc.load_example("digits").isel(query=slice(400))
    fit = bc.fit(log, draws=250 if run.quick else 1000, random_seed=1, progressbar=False)
    figure, ax = plt.subplots(figsize=(7.0, 4.2), layout="constrained")
    title = "Reading digits: 90% sure of at most 6% errors, at the lowest cost"
    bc.plot_frontier(fit, solution=bc.tune(fit, max_error=0.06, prob=0.9), ax=ax, title=title)
    ax.set_xlabel("milliseconds per 1,000 queries")
    out.parent.mkdir(parents=True, exist_ok=True)
    # no version or date inside, so that the file changes only when the picture does
    figure.savefig(out, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()
