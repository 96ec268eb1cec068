"""Tiny models of the llama architecture, written as GGUF and served by llama.cpp.

It needs `xllamacpp` and `gguf`.
"""

import os
import subprocess
import sys
import time
from contextlib import contextmanager

HEADS = 4
EPSILON = 1e-5
FIRST_BYTE = 3  # the token of byte b is FIRST_BYTE + b
FIRST_WORD = FIRST_BYTE + 256


def write_model(path, weights, words):
    """One layer, with a token for each byte and one for each word; ``weights`` are called as in a GGUF."""
    import gguf
    import numpy as np

    control = [b"<unk>", b"<s>", b"</s>"]
    tokens = [*control, *(f"<0x{byte:02X}>".encode() for byte in range(256)), *(word.encode() for word in words)]
    kinds = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256]
    width, hidden = weights["blk.0.ffn_down"].shape
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(256)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_rope_dimension_count(width // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([*kinds, *[gguf.TokenType.NORMAL] * len(words)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(False)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    for name, values in weights.items():
        writer.add_tensor(f"{name}.weight", values.astype(np.float32))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def serve(path):
    """Serve a model until killed; the address is the one line on stdout that begins with http."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.n_ctx, parameters.n_parallel, parameters.port = path, 512, 1, 0
    parameters.cpuparams.n_threads = 1
    server = xllamacpp.Server(parameters)
    while not server.listening_address:
        time.sleep(0.02)
    print(f"\n{server.listening_address}", flush=True)
    sys.stdin.read()  # until whoever started this has ended


@contextmanager
def running(*paths):
    """Addresses of servers, up to ``/v1``."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    servers = [subprocess.Popen([sys.executable, __file__, str(path)], env=environment, **pipes) for path in paths]
    try:
        lines = [next(line for line in server.stdout if line.startswith("http")) for server in servers]
        yield [f"{line.strip()}/v1" for line in lines]
    finally:
        for server in servers:
            server.kill()
            server.communicate()


if __name__ == "__main__":
    serve(sys.argv[1])
