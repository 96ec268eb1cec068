"""Simulation-based calibration: parameters from the prior, logs from the parameters, and ranks in the posterior.

Run from the project's root: ``.venv/bin/python docs/evidence/sbc.py``. Writes ``docs/evidence/sbc.md``; results go to
``build/sbc.csv`` as they come, and a run that was stopped goes on from there. Arguments are the number of replications
and, to run a part only, names of families and margins: ``sbc.py 20 frank bernstein``.

The segments of the margins and the scalings are those of one reference log, as they are in a fit; given them the model is
generative, and every posterior must be calibrated under its prior (Talts et al. 2018, arXiv:1804.06788; the simultaneous
band is that of Säilynoja et al. 2022, doi:10.1007/s11222-022-10090-6, by ArviZ).
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.ecdf_utils import ecdf_pit

import bayescascade as bc
from bayescascade.cascade import build_kernel, forward
from bayescascade.copulas import FAMILIES, NUMPY
from bayescascade.design import Design, build_design
from bayescascade.draws import Draws
from bayescascade.margin_models import MARGIN_MODELS, get_margin_model
from bayescascade.model import model_of_design
from bayescascade.sampling import Sampling, sample
from bayescascade.simulation import replicate_draw
from bayescascade.structure import check_options

OUT, ROWS = Path(__file__).with_suffix(".md"), Path("build/sbc.csv")
N_QUERIES = 60
HOW = Sampling(draws=300, tune=250, chains=2)
THIN = 3
_OWN = ("margin_split", "tau", "intercept", "slope", "atom_offset", "intercept_mean", "log_slope_mean")


def reference(copula: str | list[str], margin: str) -> Design:
    """Segments and scalings to hold fixed: 300 queries, two stages with a top atom, one with none."""
    log = bc.simulate(300, top_atom=[0.3, 0.1, 0.0], confidence_kind="score", random_seed=5)
    options = check_options(copula, margin, "logistic", 2)
    # every family is part of the graph, so that one compiled model serves all of them
    return build_design(log, replace(options, candidates=tuple(FAMILIES)))


def exact_masses(values: dict[str, np.ndarray], design: Design) -> np.ndarray:
    """Masses of the segments (draw, stage, segment) without the bootstrap within leaves."""
    model = get_margin_model(design.options.margin)
    cells = np.asarray(model.mass(values, model.arrays(design.margins), NUMPY))
    n = max(len(m.low) for m in design.margins)
    out = np.zeros((len(cells), len(design.margins), n))
    for j, margin in enumerate(design.margins):
        at = cells[:, j, margin.leaf] * margin.share if model.by == "leaf" else cells[:, j, : len(margin.low)]
        out[:, j, : len(margin.low)] = at
    return out / out.sum(axis=2, keepdims=True)


def to_draws(values: dict[str, np.ndarray], design: Design) -> Draws:
    """Draws of the cascade from values of the model's variables (draw, ...)."""
    margin = {name: values[name] for name in get_margin_model(design.options.margin).variables}
    return Draws(
        stages=design.stages,
        kind=design.kind,
        families=design.options.families,
        margins=design.margins,
        scalings=design.scalings,
        mass=exact_masses(margin, design),
        tau=values["tau"],
        intercept=values["intercept"],
        slope=values["slope"],
        offset=values["atom_offset"],
        cost=values["cost"],
        chains=np.arange(1),
    )


def prior_draws(design: Design, n: int, seed: int) -> dict[str, np.ndarray]:
    """Draws of every variable from the prior."""
    import pymc as pm

    with model_of_design(design) as model:
        names = [v.name for v in (*model.free_RVs, *model.deterministics)]
        values = pm.draw([model[name] for name in names], draws=n, random_seed=seed)
    return dict(zip(names, values, strict=True))


def simulated_log(truth: Draws, index: int, rng: np.random.Generator) -> xr.Dataset:
    """A log from one draw."""
    confidence, correct = replicate_draw(truth, index, N_QUERIES, rng)
    cost = np.ones_like(confidence)
    dims = ("query", "stage")
    return xr.Dataset(
        {"confidence": (dims, confidence), "correct": (dims, correct), "cost": (dims, cost)},
        coords={"query": np.arange(N_QUERIES), "stage": truth.stages},
        attrs={"confidence_kind": truth.kind},
    )


def decisions(draws: Draws) -> dict[str, np.ndarray]:
    """Error, cost and last reach of three fixed threshold vectors (draw, ...)."""
    sizes = np.array([len(m.low) for m in draws.margins[:-1]])
    positions = np.array([[0.35, 0.35], [0.6, 0.5], [0.8, 0.75]]) * sizes
    error, cost, reach, *_ = forward(build_kernel(draws), np.column_stack([positions, np.zeros(3)]))
    return {"error": error, "cost": cost, "reach": reach[..., -1]}


def run(copula: str | list[str], margin: str, replications: int, seed: int = 1) -> dict[str, np.ndarray]:
    """PIT values of the truth among the posterior draws, by quantity (replication, ...)."""
    design = reference(copula, margin)
    rng = np.random.default_rng(seed)
    prior = prior_draws(design, replications, seed)
    # in place of the costs' posterior given a log: any distribution will do, the log says nothing more about it
    truth = to_draws(prior, design)
    asked = decisions(truth)
    own = [name for name in (*_OWN, *get_margin_model(margin).variables) if name in prior]
    found: dict[str, list[np.ndarray]] = {}
    for i in range(replications):
        log = simulated_log(truth, i, rng)
        again = build_design(log, design.options, given=design)
        again = replace(again, arrays=again.arrays | {"cost_known": design.arrays["cost_known"]})
        posterior = sample(again, replace(HOW, random_seed=int(rng.integers(2**31))))["posterior"].to_dataset()
        flat = (
            posterior.isel(draw=slice(None, None, THIN)).stack(sample=("chain", "draw")).transpose("sample", ...)
        )
        values = {name: flat[name].values for name in flat.data_vars}
        ours = decisions(to_draws(values, again))
        for name in dict.fromkeys(own):
            found.setdefault(name, []).append(_pit(prior[name][i], values[name], rng))
        for name, draws in ours.items():
            found.setdefault(name, []).append(_pit(asked[name][i], draws, rng))
    return {name: np.array(values) for name, values in found.items()}


def _pit(truth: np.ndarray, draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rank of the truth among the draws, spread evenly within its step and among ties."""
    below, ties = np.sum(draws < truth, axis=0), np.sum(draws == truth, axis=0)
    return (below + rng.uniform(size=np.shape(truth)) * (ties + 1.0)) / (len(draws) + 1.0)


def outside_band(pit: np.ndarray, prob: float) -> bool:
    """Whether the ECDF leaves ArviZ's simultaneous band."""
    _, ecdf, low, high = ecdf_pit(pit, prob, 1000, rng=np.random.default_rng(0))
    return bool(np.any((ecdf < low - 1e-9) | (ecdf > high + 1e-9)))


def summary(found: dict[str, np.ndarray], prob: float = 0.99) -> dict[str, tuple[int, int, float]]:
    """For each quantity: components, how many leave the band, and the coverage of their 90% intervals."""
    out = {}
    for name, values in found.items():
        columns = values.reshape(len(values), -1)
        outside = sum(outside_band(column, prob) for column in columns.T)
        out[name] = (columns.shape[1], outside, float(np.mean((columns > 0.05) & (columns < 0.95))))
    return out


def main(replications: int = 200, names: tuple[str, ...] = ()) -> None:
    """Run every family with the default margin, and every generative margin with the default family."""
    pairs = [(family, "polya_tree") for family in FAMILIES if family != "independence"]
    pairs += [("gumbel", m.name) for m in MARGIN_MODELS.values() if m.generative and m.name != "polya_tree"]
    if names:
        pairs = [pair for pair in pairs if set(pair) & set(names)]
    done = pd.read_csv(ROWS) if ROWS.exists() else pd.DataFrame(columns=["pair", "replications"])
    ROWS.parent.mkdir(exist_ok=True)
    for family, margin in pairs:
        pair = f"{family}, {margin}"
        if ((done["pair"] == pair) & (done["replications"] == replications)).any():
            continue
        start = time.perf_counter()
        found = summary(run(family, margin, replications))
        table = pd.DataFrame(
            [(pair, replications, name, *cells) for name, cells in found.items()],
            columns=["pair", "replications", "quantity", "components", "outside", "coverage"],
        )
        done = pd.concat([done, table]) if len(done) else table
        done.to_csv(ROWS, index=False)
        print(
            pair,
            f"{time.perf_counter() - start:.0f} s",
            table["outside"].sum(),
            "of",
            table["components"].sum(),
            flush=True,
        )
        write(done, replications)


def write(done: pd.DataFrame, replications: int) -> None:
    """The results as a page."""
    done = done[done["replications"] == replications]
    total, out = int(done["components"].sum()), int(done["outside"].sum())
    lines = [
        "# Simulation-based calibration",
        "",
        f"`.venv/bin/python docs/evidence/sbc.py {replications}`: {replications} replications for each family and margin, logs "
        f"of {N_QUERIES} labelled queries and three stages, {HOW.chains * HOW.draws // THIN} draws kept of each posterior. "
        f"{out} of {total} components leave ArviZ's simultaneous 99% band, where about {total / 100:.0f} would by chance.",
        "",
        "| family, margin | quantity | components | outside the 99% band | coverage of 90% intervals |",
        "|---|---|---|---|---|",
        *(
            f"| {row.pair} | {row.quantity} | {row.components} | {row.outside} | {row.coverage:.1%} |"
            for row in done.itertuples()
        ),
        "",
    ]
    OUT.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200, tuple(sys.argv[2:]))
