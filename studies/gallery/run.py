"""Draw the pictures of the reference pages: what each ``plot_*`` function makes of the embedded example.

Run from the project's root: ``python -m studies.gallery.run``. Writes ``docs/_static/gallery/<function>.png``, which
the pages that ``docs/api.md`` lists show, as well as ``docs/reference/examples.md``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import bayescascade as bc
from studies.common.command import ROOT, parse


def pictures(draws: int, n_simulations: int) -> dict[str, Callable[[], Any]]:
    """What draws each picture, by the name of the function."""
    log = bc.load_example()
    fit = bc.fit(log, draws=draws, random_seed=1, progressbar=False)
    solution = bc.tune(fit, max_error=0.35, prob=0.9)
    methods = ["bayes_subsets", "best_pair", "ascent_calibrated", "single_stages"]

    def label_value() -> Any:
        found = bc.label_value(
            fit, error_price=0.02, n_labels=[50, 100, 200], n_simulations=n_simulations, random_seed=1
        )
        return bc.plot_label_value(found)

    def comparison() -> Any:
        train, test = log.isel(query=slice(100, None)), log.isel(query=slice(100))
        return bc.plot_comparison(bc.compare(train, test, methods=methods, progressbar=False))

    return {
        "plot_frontier": lambda: bc.plot_frontier(fit, solution=solution),
        "plot_thresholds": lambda: bc.plot_thresholds(fit),
        "plot_flow": lambda: bc.plot_flow(solution),
        "plot_promise": lambda: bc.plot_promise(solution),
        "plot_reliability": lambda: bc.plot_reliability(fit),
        "plot_margins": lambda: bc.plot_margins(fit),
        "plot_links": lambda: bc.plot_links(fit),
        "plot_signal_quality": lambda: bc.plot_signal_quality(bc.signal_quality(log)),
        "plot_label_value": label_value,
        "plot_comparison": comparison,
    }


def main(argv: Sequence[str] | None = None) -> None:
    import matplotlib.pyplot as plt

    run = parse("gallery", __doc__, argv)
    folder = run.build / "gallery" if run.quick else ROOT / "docs" / "_static" / "gallery"
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in pictures(250 if run.quick else 1000, 4 if run.quick else 12).items():
        draw()
        # the function opens a figure of its own; no version or date inside, so that the file changes only with it
        plt.gcf().savefig(folder / f"{name}.png", dpi=100, bbox_inches="tight", metadata={"Software": None})
        plt.close("all")
        print(f"wrote {name}.png", flush=True)


if __name__ == "__main__":
    main()
