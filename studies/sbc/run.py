"""Simulation-based calibration: parameters from the prior, logs from the parameters, and ranks in the posterior.

Run from the project's root: ``python -m studies.sbc.run``. Writes ``docs/evidence/sbc.md``; results go to ``build/sbc.csv``
as they come, and a run that was stopped goes on from there. Parts are names of families and margins.

The segments of the margins and the scalings are those of one reference log, as they are in a fit; given them the model is
generative, and every posterior must be calibrated under its prior (Talts et al. 2018, arXiv:1804.06788; the simultaneous
band is that of Säilynoja et al. 2022, doi:10.1007/s11222-022-10090-6, by ArviZ).
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.ecdf_utils import ecdf_pit

import bayescascade as bc
from bayescascade.cascade.forward import forward
from bayescascade.inference.margin_draws import draw_margins
from bayescascade.inference.sampling import SamplerConfig, sample
from bayescascade.model.build import model_of_design
from bayescascade.model.calibration import get_calibration
from bayescascade.model.copulas.family import FAMILIES
from bayescascade.model.copulas.namespace import NUMPY
from bayescascade.model.design import Design, build_design
from bayescascade.model.margins.models import MARGIN_MODELS, get_margin_model
from bayescascade.model.options import check_options
from bayescascade.posterior.draws import Draws
from bayescascade.posterior.kernel import build_kernel
from bayescascade.posterior.replicate import replicate_draw
from studies.common.command import parse

N_QUERIES = 60
HOW = SamplerConfig(draws=300, tune=250, chains=2)
THIN = 3
_OWN = (
    *("margin_split", "tau", "intercept", "slope", "atom_offset", "intercept_mean", "log_slope_mean"),
    *("loading", "discrimination", "unanswerable"),
)


def reference(copula: str | list[str], margin: str, difficulty: bool = False) -> Design:
    """Segments and scalings to hold fixed: 300 queries, two stages with a top atom, one with none."""
    log = bc.simulate(300, top_atom=[0.3, 0.1, 0.0], confidence_kind="score", random_seed=5)
    options = check_options(copula, margin, "logistic", 2, difficulty)
    # every family is part of the graph, so that one compiled model serves all of them
    return build_design(log, options if difficulty else replace(options, candidates=tuple(FAMILIES)))


def exact_masses(split: np.ndarray, design: Design) -> np.ndarray:
    """Masses of the segments (draw, stage, segment) without the bootstrap within leaves."""
    model = get_margin_model(design.options.margin)
    cells = np.asarray(model.mass(split, model.arrays(design.margins), NUMPY))
    n = max(len(m.low) for m in design.margins)
    out = np.zeros((len(cells), len(design.margins), n))
    for j, margin in enumerate(design.margins):
        at = cells[:, j, margin.leaf] * margin.share if model.by == "leaf" else cells[:, j, : len(margin.low)]
        out[:, j, : len(margin.low)] = at
    return out / out.sum(axis=2, keepdims=True)


def to_draws(values: dict[str, np.ndarray], design: Design) -> Draws:
    """Draws of the cascade from values of the model's variables (draw, ...)."""
    calibration = get_calibration(design.options.calibration)
    return Draws(
        stages=design.stages,
        kind=design.kind,
        families=design.options.families,
        margins=design.margins,
        scalings=design.scalings,
        mass=exact_masses(values["margin_split"], design),
        tau=values["tau"],
        loading=values.get("loading"),
        discrimination=values.get("discrimination"),
        unanswerable=values["unanswerable"][:, None] if "unanswerable" in values else None,
        cost=values["cost"],
        calibration=calibration,
        curve={name: values[name] for name in calibration.variables},
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


def run(
    copula: str | list[str], margin: str, replications: int, seed: int = 1, difficulty: bool = False
) -> dict[str, np.ndarray]:
    """PIT values of the truth among the posterior draws, by quantity (replication, ...)."""
    design = reference(copula, margin, difficulty)
    rng = np.random.default_rng(seed)
    prior = prior_draws(design, replications, seed)
    # in place of the costs' posterior given a log: any distribution will do, the log says nothing more about it
    truth = to_draws(prior, design)
    asked = decisions(truth)
    own = [name for name in _OWN if name in prior]
    found: dict[str, list[np.ndarray]] = {}
    for i in range(replications):
        log = simulated_log(truth, i, rng)
        again = build_design(log, design.options, segments_of=design)
        again = replace(again, arrays=again.arrays | {"cost_known": design.arrays["cost_known"]})
        posterior = sample(again, replace(HOW, random_seed=int(rng.integers(2**31))))["posterior"].to_dataset()
        posterior = posterior.isel(draw=slice(None, None, THIN))
        flat = posterior.stack(sample=("chain", "draw")).transpose("sample", ...)
        values = {str(name): flat[name].values for name in flat.data_vars}
        values["margin_split"], _ = draw_margins(
            posterior, again, rng
        )  # with weights shared by stages, as in a fit
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


def pairs_of(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Every family with the default margin, every margin with the default family, a difficulty: of these names."""
    pairs: list[tuple[str, ...]] = [(family, "polya_tree") for family in FAMILIES if family != "independence"]
    pairs += [("gumbel", name) for name in MARGIN_MODELS if name != "polya_tree"]
    pairs += [("gaussian", "polya_tree", "difficulty")]
    return [pair for pair in pairs if set(pair) & set(names)]


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is not in the table yet, and write the summary."""
    names = dict.fromkeys(name for pair in pairs_of((*FAMILIES, *MARGIN_MODELS, "difficulty")) for name in pair)
    asked = parse("sbc", __doc__, argv, parts=names, replications=200)
    pairs, replications = pairs_of(asked.parts), asked.replications
    if asked.quick:
        pairs, replications = [("gumbel", "polya_tree")], 3
    rows = asked.rows(("pair", "replications"))
    for pair in pairs:
        family, margin, *difficulty = pair
        cell = ", ".join(pair), replications
        if cell in rows:
            continue
        start = time.perf_counter()
        found = summary(run(family, margin, replications, difficulty=bool(difficulty)))
        names_of = ("quantity", "components", "outside", "coverage")
        rows.add(cell, [dict(zip(names_of, (name, *cells), strict=True)) for name, cells in found.items()])
        outside, components = (sum(cells[i] for cells in found.values()) for i in (1, 0))
        print(cell[0], f"{time.perf_counter() - start:.0f} s", outside, "of", components, flush=True)
    asked.write(page(rows.table, replications))


def page(done: pd.DataFrame, replications: int) -> str:
    """The results."""
    done = done[done["replications"] == replications]
    total, out = int(done["components"].sum()), int(done["outside"].sum())
    lines = [
        "# Simulation-based calibration",
        "",
        f"`python -m studies.sbc.run --replications {replications}`: {replications} replications for each family and margin, logs "
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
    return "\n".join(lines)


if __name__ == "__main__":
    main()
