"""Replicated queries from one posterior draw."""

from __future__ import annotations

import numpy as np

from bayescascade.model.simulate import draw_uniforms
from bayescascade.posterior.draws import Draws
from bayescascade.signals.kinds import to_confidence


def replicate_draw(draws: Draws, index: int, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw confidences and correctness of ``n`` new queries (query, stage) from one posterior draw."""
    one = draws.take(slice(index, index + 1))
    edges = one.edges()[0]
    atoms = [
        [(edge[s], edge[s + 1]) for s in np.flatnonzero(m.is_atom)]
        for edge, m in zip(edges, one.margins, strict=True)
    ]
    links = [one.link(j) for j in range(len(one.stages) - 1)]
    ease = None if one.loading is None else rng.standard_normal(n)
    u = draw_uniforms(links, n, rng, atoms, None if one.loading is None else one.loading[0], ease)
    confidence, correct = np.empty_like(u), np.empty_like(u)
    given, answerable = one.draw_answerable(n, rng)
    for j in range(len(one.stages)):
        signal = one.quantile(j, u[:, j][None])[0]
        correct[:, j] = answerable[0] & (rng.uniform(size=n) < given.p_correct(j, signal, ease)[0])
        confidence[:, j] = to_confidence(signal, one.kind)
    return confidence, correct
