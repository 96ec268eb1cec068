"""Tiny language models that add two numbers, trained in NumPy.

Each is one layer of the llama architecture, with a token for each number. Its attention looks at all tokens alike.
The network behind it and the output are trained, in about a second.
"""

import numpy as np
from tiny_llama import EPSILON, FIRST_WORD, write_model

NUMBERS = 50  # what is added is below this
WORDS = [str(n) for n in range(2 * NUMBERS - 1)] + ["+", "="]
WIDTH = 64


# for each model: hidden units, steps of training, and the share of sums of numbers below 20 among what it sees
MODELS = {"small": (2, 300, 1.0), "medium": (16, 300, 0.1), "large": (48, 300, 0.03)}


def prompts(n, seed, below=NUMBERS, above=0):
    """Sums of two numbers, no two alike, and what they come to; the larger number is from ``above`` on."""
    first, second = np.divmod(np.arange(below * below), below)
    there = np.flatnonzero(np.maximum(first, second) >= above)
    chosen = np.random.default_rng(seed).choice(there, n, replace=False)
    return {f"{first[i]}+{second[i]}=": str(first[i] + second[i]) for i in chosen}


def write_models(folder, seed=3):
    """Train the models and write them; their paths."""
    paths = [folder / f"{name}.gguf" for name in MODELS]
    for path, (hidden, steps, easy) in zip(paths, MODELS.values(), strict=True):
        write_model(str(path), train(hidden, steps, {20: easy, NUMBERS: 1.0 - easy}, seed), WORDS)
    return paths


def train(hidden, steps, shares, seed):
    """Weights of a model with so many hidden units; ``shares`` says how much sums below a number count."""
    rng = np.random.default_rng(seed)
    weights = _untrained(hidden, rng)
    first, second = np.divmod(np.arange(NUMBERS * NUMBERS), NUMBERS)
    chance = sum(
        share * np.where(np.maximum(first, second) < below, below**-2.0, 0.0) for below, share in shares.items()
    )
    seen = _attended(weights, first, second)
    target = FIRST_WORD + first + second
    trained = ("blk.0.ffn_gate", "blk.0.ffn_up", "blk.0.ffn_down", "output")
    moments = {name: [np.zeros_like(weights[name]), np.zeros_like(weights[name])] for name in trained}
    for step in range(1, steps + 1):
        batch = rng.choice(len(target), 256, p=chance / chance.sum())
        slopes = _slopes(weights, seen[batch], target[batch])
        rate = 0.01 * min(1.0, 2.0 * (1.0 - step / (steps + 1)))
        for name, slope in zip(trained, slopes, strict=True):  # Adam
            mean, square = moments[name]
            mean += 0.1 * (slope - mean)
            square += 0.01 * (slope**2 - square)
            scale = np.sqrt(square / (1.0 - 0.99**step)) + 1e-8
            weights[name] -= (rate / (1.0 - 0.9**step) * mean / scale).astype(np.float32)
    return weights


def _untrained(hidden, rng):
    tokens = FIRST_WORD + len(WORDS)
    shapes = {"token_embd": (tokens, WIDTH), "output": (tokens, WIDTH)}
    shapes |= {f"blk.0.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
    shapes |= {
        "blk.0.ffn_gate": (hidden, WIDTH),
        "blk.0.ffn_up": (hidden, WIDTH),
        "blk.0.ffn_down": (WIDTH, hidden),
    }
    weights = {name: rng.normal(0.0, shape[1] ** -0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    weights |= {name: np.zeros((WIDTH, WIDTH), np.float32) for name in ("blk.0.attn_q", "blk.0.attn_k")}
    # numbers are points on circles, so that neighbours are alike
    angle = np.arange(len(WORDS) - 2)[:, None] * 2.0 * np.pi / (2 * NUMBERS) * np.arange(1, WIDTH // 2 + 1)
    circles = np.concatenate([np.cos(angle), np.sin(angle)], 1) / np.sqrt(1.0 + np.arange(WIDTH) % (WIDTH // 2))
    weights["token_embd"][FIRST_WORD:-2] = circles
    return weights


def _normed(x):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON)


def _attended(weights, first, second):
    """What the last token of `a+b=` has seen, after attention."""
    vectors = weights["token_embd"]
    begin, plus, equals = vectors[1], vectors[-2], vectors[-1]
    a, b = vectors[FIRST_WORD + first], vectors[FIRST_WORD + second]
    mean = sum(_normed(each) for each in (begin, a, plus, b, equals)) / 5.0
    return equals + mean @ weights["blk.0.attn_v"].T @ weights["blk.0.attn_output"].T


def _slopes(weights, seen, target):
    """Derivatives of the mean log loss by the trained weights."""
    gate, up, down, out = (weights[n] for n in ("blk.0.ffn_gate", "blk.0.ffn_up", "blk.0.ffn_down", "output"))
    x = _normed(seen)
    a, b = x @ gate.T, x @ up.T
    sigmoid = 1.0 / (1.0 + np.exp(-a))
    product = a * sigmoid * b
    h = seen + product @ down.T
    size = np.sqrt((h**2).mean(1, keepdims=True) + EPSILON)
    y = h / size
    logits = y @ out.T
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(p)), target] -= 1.0
    p /= len(p)
    dy = p @ out
    dh = (dy - y * (dy * y).mean(1, keepdims=True)) / size
    dproduct = dh @ down
    da = dproduct * b * sigmoid * (1.0 + a * (1.0 - sigmoid))
    db = dproduct * a * sigmoid
    return da.T @ x, db.T @ x, dh.T @ product, p.T @ y
