"""A real inference server, llama.cpp, with a random model of 0.3 MB.

It needs `xllamacpp` and `gguf`. Different seeds are different models.
"""

import tempfile
from contextlib import contextmanager
from pathlib import Path

import tiny_llama

WIDTH, HIDDEN = 64, 128
# capital letters only: a byte that is half a character would come without log-probabilities
LETTERS = {
    "max_tokens": 1,
    "temperature": 0,
    "logit_bias": [[tiny_llama.FIRST_BYTE + ord(c), 8.0] for c in "ABCDEFGHIJKLMNOP"],
}


def write_model(path: str, seed: int) -> None:
    """One layer of the llama architecture, with a token for each byte."""
    import numpy as np

    rng = np.random.default_rng(seed)
    tokens = tiny_llama.FIRST_WORD + 1
    shapes = {"token_embd": (tokens, WIDTH), "output": (tokens, WIDTH)}
    shapes |= {f"blk.0.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
    shapes |= {
        "blk.0.ffn_gate": (HIDDEN, WIDTH),
        "blk.0.ffn_up": (HIDDEN, WIDTH),
        "blk.0.ffn_down": (WIDTH, HIDDEN),
    }
    tiny_llama.write_model(path, {name: rng.normal(0.0, 0.3, shape) for name, shape in shapes.items()}, ["▁"])


@contextmanager
def running(*seeds: int):
    """Addresses of servers, up to ``/v1``."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{seed}.gguf") for seed in seeds]
        for path, seed in zip(paths, seeds, strict=True):
            write_model(path, seed)
        with tiny_llama.running(*paths) as urls:
            yield urls
