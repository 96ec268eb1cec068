"""A stand-in for refits after labels, which take a sampler."""

from dataclasses import replace

import numpy as np


class Shrunk:
    """In place of refits: the fit's own draws, drawn towards one of them by what the labels tell."""

    n_free = 100

    def __init__(self, fit, draws, options, queries, seed):
        self.draws, self.options = draws.thin(100), options

    def after(self, index, m, number):
        for option in self.options:
            centre = self.draws.take(slice(index % 100, index % 100 + 1))
            left = np.sqrt(1.0 - m / (m + 100.0 * 3 / len(option)))

            def shrunk(all_draws, one, left=left):
                return one + left * (all_draws - one)

            drawn = {
                name: shrunk(getattr(self.draws, name), getattr(centre, name)) for name in ("tau", "mass", "cost")
            }
            curve = {name: shrunk(self.draws.curve[name], centre.curve[name]) for name in ("intercept", "slope")}
            yield replace(self.draws, **drawn, curve=self.draws.curve | curve)
