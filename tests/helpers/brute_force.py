"""Every policy of a small discrete cascade, valued path by path: what backward induction is held against."""

from itertools import product

import numpy as np

from bayescascade.cascade.forward import forward
from helpers.draws import draws_around, with_curve

DEFER, ACCEPT, ABSTAIN = range(3)


def atoms_draws(n_atoms, n_stages, seed=1, n_draws=1, spread=0.3, **options):
    """Draws whose signals are all atoms; with a wide spread of offsets a lower atom may be right more often."""
    rng = np.random.default_rng(seed)
    u = rng.uniform(size=(400, n_stages))
    draws = draws_around(np.ceil(n_atoms * u) / n_atoms, "score", rng, n_draws=n_draws, **options)
    assert all(m.is_atom.all() and len(m.low) == n_atoms for m in draws.margins)
    return with_curve(draws, atom_offset=rng.normal(0.0, spread, draws.curve["atom_offset"].shape))


def paths_of(kernel):
    """Joint probability of all paths of segments of the first draw, and P(correct) of each stage along them."""
    sizes = [len(m.low) for m in kernel.draws.margins]
    n, joint = len(sizes), kernel.mass[0, 0, : sizes[0]]
    right = [along(kernel.correct[:1, j, :size], j, n)[0] for j, size in enumerate(sizes)]
    for j in range(n - 1):
        pair = kernel.pair[j][0, : sizes[j], : sizes[j + 1]]
        joint = joint[..., None] * (pair / kernel.mass[0, j, : sizes[j], None])
    return joint, right


def path_losses(kernel, actions, price, abstain_price=0.0):
    """Loss of policies: ``actions[j]`` (policy, ...) says what stage j does on each path."""
    joint, right = paths_of(kernel)
    going, total = np.ones((1,) * (joint.ndim + 1)), np.zeros((1,) * (joint.ndim + 1))
    for j, action in enumerate(actions):
        total = total + going * (
            kernel.cost[0, j] + (action == ACCEPT) * price * (1.0 - right[j]) + (action == ABSTAIN) * abstain_price
        )
        going = going * (action == DEFER)
    assert not going.any()
    return np.sum(total * joint, axis=tuple(range(1, joint.ndim + 1)))


def along(actions, stage, n_stages):
    """Actions by a stage's own segment (policy, segment), on the axes of paths."""
    return actions.reshape(len(actions), *(1,) * stage, -1, *(1,) * (n_stages - 1 - stage))


def every_combination(choices, n_stages):
    """All policies that take one of the choices (choice, segment) at each stage."""
    picks = np.stack(np.meshgrid(*[np.arange(len(c)) for c in choices], indexing="ij"), axis=-1)
    picks = picks.reshape(-1, n_stages)
    return picks, [along(c[picks[:, j]], j, n_stages) for j, c in enumerate(choices)]


def interval_choices(n, last, abstain):
    """What thresholds can do at one stage: abstain, then defer, then accept; and the positions of each choice."""
    rows, positions = [], []
    for reject in range(n + 1) if abstain else [0]:
        for accept in [reject] if last else range(reject, n + 1):
            rows.append([ABSTAIN] * reject + [DEFER] * (accept - reject) + [ACCEPT] * (n - accept))
            positions.append((accept, reject))
    return np.array(rows), np.array(positions)


def best_by_thresholds(kernel, price, abstain_price=None):
    """Least loss of all threshold vectors of a discrete kernel."""
    sizes = [len(m.low) for m in kernel.draws.margins]
    choices = [interval_choices(n, j == len(sizes) - 1, abstain_price is not None)[0] for j, n in enumerate(sizes)]
    _, actions = every_combination(choices, len(sizes))
    return path_losses(kernel, actions, price, abstain_price or 0.0).min()


def loss_of_rows(kernel, rows, prices, abstain_price=None):
    out = forward(kernel, rows)
    return (
        out.error[0] * prices + out.cost[0] + (0.0 if out.abstained is None else out.abstained[0] * abstain_price)
    )


def grid_rows(draws, parts, abstain=False):
    """All rows with positions at so many places of each segment, but not inside atoms."""
    axes = []
    for margin in draws.margins:
        at = np.arange(len(margin.low) * parts + 1) / parts
        inside = margin.is_atom[np.minimum(at.astype(int), len(margin.low) - 1)]
        axes.append(at[(at == np.round(at)) | ~inside])
    if not abstain:
        grid = np.meshgrid(*axes[:-1], [0.0], indexing="ij")
        return np.stack([x.ravel() for x in grid], axis=1)
    grid = np.meshgrid(*axes[:-1], *axes, indexing="ij")
    flat = np.stack([x.ravel() for x in grid], axis=1)
    n = len(axes)
    flat = flat[(flat[:, : n - 1] >= flat[:, n - 1 : -1]).all(axis=1)]
    return np.concatenate([flat[:, : n - 1], flat[:, -1:], flat[:, n - 1 :]], axis=1)


def least_loss(kernel, rows, prices, abstain_price=None):
    """Least loss of any of the rows for each price, by the forward recursion."""
    parts = [
        loss_of_rows(kernel, part, prices[:, None], abstain_price)
        for part in np.array_split(rows, 1 + len(rows) // 2000)
    ]
    return np.min([part.min(axis=1) for part in parts], axis=0)


def prices_for(kernel, n=8):
    return np.geomspace(0.3, 60.0, n) * kernel.cost[0].sum()


def every_set(n, actions):
    return np.array(list(product(actions, repeat=n)))


def edges_grid(draws, per_segment=1):
    """Every vector of positions at segment edges (point, stage); with atoms never cut."""
    axes = []
    for margin in draws.margins[:-1]:
        n = len(margin.low)
        at = np.arange(n * per_segment + 1) / per_segment
        inside = np.minimum(at.astype(int), n - 1)
        axes.append(at[(at == np.round(at)) | ~margin.is_atom[inside]])
    return np.stack([x.ravel() for x in (*np.meshgrid(*axes), 0 * np.meshgrid(*axes)[0])], axis=1)
