"""What unlabelled queries and thinned logs are worth.

Run from the project's root: ``python -m studies.partial.run``. Writes ``docs/evidence/partial.md``; the real logs are read from ``../shared/data``.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

import bayescascade as bc
from bayescascade.posterior.draws import get_draws
from bayescascade.signals.kinds import to_signal
from studies.common.command import parse
from studies.common.logs import read, require_logs
from studies.common.protocol import frontier_auc, paired

HOW: dict[str, Any] = {"draws": 500, "chains": 2, "progressbar": False, "log_likelihood": False}
N_LABELS, N_UNLABELLED = 40, 2000
TAU = [0.5, 0.4]


def unlabelled(log: xr.Dataset) -> xr.Dataset:
    """The same queries without labels."""
    return log.assign(correct=log["correct"] * np.nan)


def widths(fit: xr.DataTree, thresholds: np.ndarray) -> dict[str, float]:
    """Mean width of the 90% intervals of error, cost and last reach over some thresholds."""
    out = bc.evaluate(fit, thresholds)
    quantities = {"error": out["error"], "cost": out["cost"], "reach": out["reach"][..., -1]}
    return {
        name: float((x.quantile(0.95, ("chain", "draw")) - x.quantile(0.05, ("chain", "draw"))).mean())
        for name, x in quantities.items()
    }


def fixed_thresholds(log: xr.Dataset) -> np.ndarray:
    """Three threshold vectors at quantiles of the confidences."""
    points = [np.nanquantile(log["confidence"].values, q, axis=0) for q in (0.3, 0.5, 0.7)]
    return np.array([[*point[:-1], -np.inf] for point in points])


def compare(labelled: xr.Dataset, more: xr.Dataset, test: xr.Dataset, seed: int) -> list[dict[str, float]]:
    """Held-out area and widths, from the labelled queries alone and with the unlabelled ones."""
    both = xr.concat([labelled, unlabelled(more)], dim="query").assign_coords(
        query=np.arange(labelled.sizes["query"] + more.sizes["query"])
    )
    at = fixed_thresholds(test)
    fits = [bc.fit(log, random_seed=seed, **HOW) for log in (labelled, both)]
    return [{"AUC": frontier_auc(fit, test)} | widths(fit, at) for fit in fits]


def table(title: str, pairs: list[list[dict[str, float]]]) -> list[str]:
    """Means of both, and the mean difference with its standard error."""
    lines = [title, "", "| | labels alone | with unlabelled | difference | better in |", "|---|---|---|---|---|"]
    for name in pairs[0][0]:
        first, second = ([pair[i][name] for pair in pairs] for i in (0, 1))
        better = sum(b < a for a, b in zip(first, second, strict=True))
        scale, what = (1e3, "width of cost, per 1,000") if name == "cost" else (1.0, f"width of {name}")
        cells = [f"{scale * np.mean(x):.4f}" for x in (first, second)]
        gap = paired([scale * x for x in first], [scale * x for x in second])
        lines.append(
            f"| {name if name == 'AUC' else what} | {' | '.join(cells)} | {gap} | {better} of {len(pairs)} |"
        )
    return [*lines, ""]


def simulated(seeds: range) -> list[str]:
    pairs = []
    for seed in seeds:
        whole = bc.simulate(N_LABELS + N_UNLABELLED, tau=TAU, top_atom=[0.3, 0.2, 0.0], random_seed=seed)
        test = bc.simulate(20_000, tau=TAU, top_atom=[0.3, 0.2, 0.0], random_seed=10_000 + seed)
        labelled, more = whole.isel(query=slice(0, N_LABELS)), whole.isel(query=slice(N_LABELS, None))
        pairs.append(compare(labelled, more, test, seed))
        print("simulated", seed, flush=True)
    title = (
        f"## Simulated: {N_LABELS} labels, {N_UNLABELLED:,} unlabelled queries\n\n{len(seeds)} logs of three stages, "
        "each judged on 20,000 further queries. Widths are those of 90% intervals at three fixed threshold vectors."
    )
    return table(title, pairs)


def real(seeds: range) -> list[str]:
    lines = []
    for name in ("mmlu.llama", "triviaqa.llama"):
        train, test = (read(name, split, [0, 2, 4]) for split in ("train", "test"))
        pairs = []
        for seed in seeds:
            rng = np.random.default_rng(seed)
            order = rng.permutation(train.sizes["query"])
            held = rng.permutation(test.sizes["query"])
            half = len(held) // 2
            more = xr.concat(
                [train.isel(query=order[N_LABELS:]), test.isel(query=held[:half])], dim="query", join="override"
            )
            pairs.append(compare(train.isel(query=order[:N_LABELS]), more, test.isel(query=held[half:]), seed))
            print(name, seed, flush=True)
        title = (
            f"## {name}, stages 0, 2, 4: {N_LABELS} labels, {more.sizes['query']:,} unlabelled queries\n\n"
            f"{len(seeds)} random halves of `test`: one unlabelled beside the rest of `train`, the other to judge."
        )
        lines += table(title, pairs)
    return lines


def thin(log: xr.Dataset, thresholds: np.ndarray) -> xr.Dataset:
    """Later stages only after a deferral, as production would log it."""
    stopped = (log["confidence"] >= xr.DataArray(thresholds, dims="stage")).transpose("query", "stage").values
    ran = np.column_stack([np.ones(len(stopped), dtype=bool), ~np.logical_or.accumulate(stopped, axis=1)[:, :-1]])
    keep = xr.DataArray(ran, dims=("query", "stage"))
    return log.assign({name: log[name].where(keep) for name in ("confidence", "correct", "cost")})


def thinned() -> list[str]:
    lines = [
        "## A log thinned as production thins it",
        "",
        "Simulated, 2,000 queries, three stages; in the thinned log a stage runs only where the one before stayed below "
        "the threshold. Posterior mean ± standard deviation of the full log and of the thinned one. P(correct) is that at "
        "the median confidence of the stage in the full log; slopes themselves are per standard deviation of what was "
        "seen, and so not comparable.",
        "",
        "| quantity | truth | full | thinned | gap in sd |",
        "|---|---|---|---|---|",
    ]
    log = bc.simulate(2000, tau=TAU, random_seed=11)
    thresholds = np.array([0.8, 0.95, np.inf])
    at = np.array([0.8, 0.95, -np.inf])
    fits = [
        bc.fit(x, random_seed=3, draws=1000, chains=2, progressbar=False) for x in (log, thin(log, thresholds))
    ]
    many = bc.score(bc.simulate(400_000, tau=TAU, random_seed=12), at)
    for j, value in enumerate(TAU):
        lines.append(
            _row(f"tau {j}", value, [f["posterior"].to_dataset()["tau"].values[..., j].ravel() for f in fits])
        )
    middle = to_signal(np.median(log["confidence"].values, axis=0), "probability")
    for j in range(3):
        # the simulated curve: 1.2 per unit of the signal, about its mean of 1 + 0.8 j
        truth = 1.0 / (1.0 + np.exp(-(0.2 + 0.9 * j + 1.2 * (middle[j] - 1.0 - 0.8 * j))))
        lines.append(_row(f"P(correct), stage {j}", truth, [get_draws(f).p_correct(j, middle[j]) for f in fits]))
    for name in ("error", "cost"):
        scale = 1e3 if name == "cost" else 1.0
        draws = [scale * bc.evaluate(fit, at)[name].values.ravel() for fit in fits]
        lines.append(_row(f"{name}{', per 1,000' if name == 'cost' else ''}", scale * float(many[name]), draws))
    reach = [float(np.isfinite(thin(log, thresholds)["confidence"][:, j]).mean()) for j in range(3)]
    return [
        *lines,
        "",
        f"Stages ran for {', '.join(f'{r:.0%}' for r in reach)} of the queries in the thinned log.",
        "",
    ]


def _row(name: str, truth: float | None, draws: list[np.ndarray]) -> str:
    means, sds = [d.mean() for d in draws], [d.std() for d in draws]
    cells = [f"{m:.4f} ± {s:.4f}" for m, s in zip(means, sds, strict=True)]
    return f"| {name} | {'' if truth is None else f'{truth:.4f}'} | {' | '.join(cells)} | {(means[1] - means[0]) / sds[1]:+.2f} |"


def main(argv: Sequence[str] | None = None) -> None:
    """Run all three and write the page; a quick run leaves out the real logs and the thinned one."""
    run = parse("partial", __doc__, argv, seeds=range(20))
    if not run.quick:
        require_logs()
    warnings.simplefilter("ignore", bc.CascadeWarning)
    lines = [
        "# Unlabelled queries and thinned logs",
        "",
        "`python -m studies.partial.run`",
        "",
        *simulated(run.seeds[:1] if run.quick else run.seeds),
        *([] if run.quick else [*real(run.seeds), *thinned()]),
    ]
    run.write("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
