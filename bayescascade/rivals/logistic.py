"""A logistic curve of one signal by maximum (penalised) likelihood."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit


def fit_logistic(
    signal: np.ndarray,
    correct: np.ndarray,
    *,
    ridge: float = 0.0,
    slope_bounds: tuple[float, float] = (0.0, np.inf),
    intercept_bound: float = np.inf,
) -> tuple[float, float]:
    """Intercept and slope of logit P(correct | signal), by L-BFGS-B on standardised signals.

    scikit-learn's `LogisticRegression` would not do: it comes with the extra ``compare``, which learn-then-test
    works without, and knows no bounds on a slope, which has to rise for a threshold on the signal to exist.

    Examples
    --------
    >>> import numpy as np
    >>> intercept, slope = fit_logistic(np.array([0.0, 0.0, 1.0, 1.0, 1.0]), np.array([0.0, 1.0, 1.0, 1.0, 0.0]))
    >>> bool(abs(intercept) < 1e-4), bool(abs(slope - np.log(2.0)) < 1e-4)  # odds of 1 at 0, of 2 at 1
    (True, True)

    Parameters
    ----------
    signal : ndarray (query,)
    correct : ndarray (query,)
        0 or 1.
    ridge : float
        Weight of half the squared intercept and slope, beside the log-likelihood of all queries: 1 / variance of
        a normal prior.
    slope_bounds : tuple of float
        Of the slope, by standardised signal.
    intercept_bound : float
        Of the intercept's size, at the mean signal.
    """
    centre, width, n = signal.mean(), signal.std() or 1.0, len(signal)
    z, sign = (signal - centre) / width, 2.0 * correct - 1.0

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean penalised negative log-likelihood, and its gradient."""
        eta = sign * (x[0] + x[1] * z)
        miss = -sign * expit(-eta)
        grad = np.array([miss.mean(), miss @ z / n]) + ridge / n * x
        return float(np.logaddexp(0.0, -eta).mean() + 0.5 * ridge / n * x @ x), grad

    bounds = [(-intercept_bound, intercept_bound), slope_bounds]
    options = {"ftol": 1e-13, "gtol": 1e-8}
    best = minimize(loss, [0.0, 1.0], jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    slope = float(best[1] / width)
    return float(best[0] - slope * centre), slope
