"""A million responses: memory stays bounded. `make bench` prints how much, and how long it takes."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.benchmark

N = 500_000  # for each of two stages
READ = """
import resource, sys, time
import bayescascade as bc
start = time.perf_counter()
files = {name: f"{name}.jsonl" for name in ("small", "large")}
prices = {"small": (0.15, 0.6), "large": (5.0, 20.0)}
log = bc.read_responses(files, labels="gold.csv", prices=prices)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(log.sizes["query"], round(peak), round(time.perf_counter() - start))
"""


def write(folder, n):
    """Lines of a batch's output, ten tokens each with their two likeliest: 1.8 kB a line."""
    for stage, logprob in (("small", -0.21), ("large", -0.04)):
        tokens = [
            {
                "token": f" t{i}",
                "logprob": logprob * (1 + i / 10),
                "bytes": [32, 116, 48 + i],
                "top_logprobs": [{"token": f" t{i}", "logprob": logprob}, {"token": " u", "logprob": -2.5}],
            }
            for i in range(10)
        ]
        message = {"role": "assistant", "content": "".join(token["token"] for token in tokens)}
        body = {
            "id": "chatcmpl-1",
            "model": f"{stage}-2026-08-01",
            "choices": [{"index": 0, "message": message, "logprobs": {"content": tokens}}],
            "usage": {"prompt_tokens": 200, "completion_tokens": 10, "total_tokens": 210},
        }
        rest = json.dumps({"response": {"status_code": 200, "body": body}, "error": None})[1:]
        with open(folder / f"{stage}.jsonl", "w") as lines:
            lines.writelines(f'{{"custom_id": "query-{i:07d}", {rest}\n' for i in range(n))
    answer = message["content"].strip()
    with open(folder / "gold.csv", "w") as labels:
        labels.write("query,answer\n")
        labels.writelines(f"query-{i:07d},{answer if i % 3 else 'other'}\n" for i in range(n))


@pytest.mark.parametrize("n", [N // 10, N])
def test_memory_of_a_million_responses(tmp_path, n, capsys):
    write(tmp_path, n)
    done = subprocess.run([sys.executable, "-c", READ], cwd=tmp_path, capture_output=True, text=True, check=True)
    queries, peak, seconds = map(int, done.stdout.split())
    size = sum(path.stat().st_size for path in tmp_path.glob("*.jsonl")) / 2**20
    with capsys.disabled():
        print(f"\n{2 * n} responses of {size:.0f} MB in {seconds} s, peak {peak} MB")
    assert queries == n
    assert peak < 2000
