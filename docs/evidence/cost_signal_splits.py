"""How well a few hundred queries tell what thresholds cost, without any fit: by means, by themselves, by a gamma regression.

Run from the project's root: ``.venv/bin/python docs/evidence/cost_signal_splits.py``, with the logs in ``../shared/data``.
Train and test of each log are pooled and split at random 200 times: 300 queries (150 of gsm8k) are known, the others held out.
Every stage accepts what is above its quantile 0.3, 0.5, 0.7 or 0.85. The gamma regression is that of ``cost="signal"``.
"""

import numpy as np
import xarray as xr
from protocol import DATA

import bayescascade as bc
from bayescascade.signals import to_signal

LOGS = {
    **dict.fromkeys(("mmlu.llama", "mmlu.qwen_oai", "medmcqa.llama"), "logprob"),
    **dict.fromkeys(("triviaqa.llama", "triviaqa.qwen_oai", "gsm8k.llama", "gsm8k.qwen_oai"), "p_true"),
}
QUANTILES, N_SPLITS = (0.3, 0.5, 0.7, 0.85), 200


def gamma_regression(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coefficients of a gamma regression with a log link, by iterated least squares."""
    beta = np.zeros(x.shape[1])
    beta[0] = np.log(y.mean())
    for _ in range(25):
        eta = x @ beta
        beta = np.linalg.lstsq(x, eta + y / np.exp(np.clip(eta, -50.0, 5.0)) - 1.0, rcond=None)[0]
    return beta


def regressed(signal: np.ndarray, cost: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Costs by a stage's signal and the one before (query, stage), fitted to the known queries."""
    z = np.clip((signal - signal[known].mean(axis=0)) / (signal[known].std(axis=0) + 1e-9), -4.0, 4.0)
    out = np.empty_like(cost)
    for j in range(cost.shape[1]):
        x, mean = np.column_stack([np.ones(len(z)), z[:, max(j - 1, 0) : j + 1]]), cost[known, j].mean()
        out[:, j] = mean * np.exp(np.clip(x @ gamma_regression(x[known], cost[known, j] / mean), -8.0, 4.0))
    return out


def biases(log: xr.Dataset) -> np.ndarray:
    """Relative bias of the three estimates (split, quantile, estimate)."""
    confidence, cost = (log[name].transpose("query", "stage").values for name in ("confidence", "cost"))
    signal = np.clip(to_signal(confidence, str(log.attrs["confidence_kind"])), -16.0, 16.0)
    rng, n = np.random.default_rng(1), min(300, len(cost) // 2)
    out = np.empty((N_SPLITS, len(QUANTILES), 3))
    for i in range(N_SPLITS):
        order = rng.permutation(len(cost))
        known, rest = order[:n], order[n:]
        fitted = regressed(signal, cost, known)
        for k, q in enumerate(QUANTILES):
            deferred = confidence < np.quantile(confidence[known], q, axis=0)
            ran = np.cumprod(np.column_stack([np.ones(len(cost)), deferred[:, :-1]]), axis=1)
            estimates = [
                np.sum(ran[known] * c, axis=1).mean()
                for c in (cost[known].mean(axis=0), cost[known], fitted[known])
            ]
            out[i, k] = np.array(estimates) / np.sum(ran[rest] * cost[rest], axis=1).mean() - 1.0
    return out


def main() -> None:
    print(
        "| log | n | bias: by means | by the queries' own | by gamma regression | signed: by means | own | gamma |\n"
        + "|---" * 8
        + "|"
    )
    for name, kind in LOGS.items():
        paths = [DATA / f"{name}.{part}.parquet" for part in ("train", "test")]
        parts = [bc.read_log(p, confidence_kind=kind, cost="answer_cost") for p in paths if p.is_file()]
        log = xr.concat(parts, "query").assign_attrs(parts[0].attrs)
        found = biases(log)
        size, signed = abs(found).mean(axis=(0, 1)), found.mean(axis=(0, 1))
        cells = [*(f"{v:.1%}" for v in size), *(f"{v:+.1%}" for v in signed)]
        print(f"| {name} | {min(300, log.sizes['query'] // 2)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
