"""A real inference server, llama.cpp, with a random model of 0.3 MB: run as a program, or by `running`.

It needs `xllamacpp` and `gguf`. Different seeds are different models.
"""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

WIDTH, HEADS, HIDDEN = 64, 4, 128
FIRST_BYTE = 3  # the token of byte b is FIRST_BYTE + b
# capital letters only: a byte that is half a character would come without log-probabilities
LETTERS = {
    "max_tokens": 1,
    "temperature": 0,
    "logit_bias": [[FIRST_BYTE + ord(c), 8.0] for c in "ABCDEFGHIJKLMNOP"],
}


def write_model(path: str, seed: int) -> None:
    """One layer of the llama architecture, with a token for each byte."""
    import gguf
    import numpy as np

    rng = np.random.default_rng(seed)
    tokens = [b"<unk>", b"<s>", b"</s>", *(f"<0x{byte:02X}>".encode() for byte in range(256)), "▁".encode()]
    kinds = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([*kinds, gguf.TokenType.NORMAL])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    shapes = {"token_embd": (len(tokens), WIDTH), "output": (len(tokens), WIDTH)}
    shapes |= {f"blk.0.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
    shapes |= {
        "blk.0.ffn_gate": (HIDDEN, WIDTH),
        "blk.0.ffn_up": (HIDDEN, WIDTH),
        "blk.0.ffn_down": (WIDTH, HIDDEN),
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", rng.normal(0.0, 0.3, shape).astype(np.float32))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def serve(seed: int) -> None:
    """Serve a model until killed; the address is the one line on stdout that begins with http."""
    import xllamacpp

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.gguf")
        write_model(path, seed)
        parameters = xllamacpp.CommonParams()
        parameters.model.path, parameters.n_ctx, parameters.n_parallel, parameters.port = path, 512, 1, 0
        parameters.cpuparams.n_threads = 1
        server = xllamacpp.Server(parameters)
        while not server.listening_address:
            time.sleep(0.02)
        print(f"\n{server.listening_address}", flush=True)
        sys.stdin.read()  # until whoever started this has ended


@contextmanager
def running(*seeds: int):
    """Addresses of servers, up to ``/v1``."""
    command = [sys.executable, __file__]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    servers = [subprocess.Popen([*command, str(seed)], env=environment, **pipes) for seed in seeds]
    try:
        lines = [next(line for line in server.stdout if line.startswith("http")) for server in servers]
        yield [f"{line.strip()}/v1" for line in lines]
    finally:
        for server in servers:
            server.kill()
            server.communicate()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
