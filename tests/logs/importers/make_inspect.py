"""Writes the logs of Inspect that the tests read, with Inspect itself and its mock model.

    pip install inspect_ai==0.3.285
    python tests/logs/importers/make_inspect.py    (with the word notebook: notebooks/evaluation)

Four files beside this one, in ``files/inspect``: two models on the same questions (``small.eval``, two epochs of
``large.eval``), a dozen questions of the first as JSON (``small.json``), and a cascade of two models in one log,
graded by a third (``cascade.eval``). Every answer, log-probability and price is drawn from a fixed seed.
"""

from __future__ import annotations

import contextlib
import math
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import inspect_ai
from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import read_eval_log, write_eval_log
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    Logprob,
    Logprobs,
    Model,
    ModelOutput,
    ModelUsage,
    TopLogprob,
    get_model,
)
from inspect_ai.scorer import CORRECT, INCORRECT, NOANSWER, PARTIAL, Score, accuracy, scorer
from inspect_ai.solver import generate, solver

VERSION = "0.3.285"
HERE = Path(__file__).parent / "files" / "inspect"
QUESTIONS = 40


def samples(count: int = QUESTIONS) -> list[Sample]:
    rng = random.Random(1)
    pairs = [(rng.randint(2, 99), rng.randint(2, 99)) for _ in range(count)]
    return [Sample(id=f"sum-{i}", input=f"{a} + {b} =", target=str(a + b)) for i, (a, b) in enumerate(pairs)]


def answering(name: str, seed: int, skill: float, price: float, silent: int | None = None) -> Model:
    """A mock model that adds, is sure of it more often when it is right, and says how sure it is."""
    rng = random.Random(seed)

    def answer(messages: list, *_: object) -> ModelOutput:
        first, second = messages[-1].text.removesuffix(" =").split(" + ")
        truth = int(first) + int(second)
        sure = rng.betavariate(5 * skill, 2)
        right = rng.random() < sure
        text = str(truth if right else truth + rng.choice([-10, -1, 1, 10]))
        return output(name, text, sure, price, silent is not None and truth % silent == 0)

    return get_model(f"mockllm/{name}", custom_outputs=answer, memoize=False)


def output(name: str, text: str, sure: float, price: float, silent: bool = False) -> ModelOutput:
    tokens = [text[:1], text[1:]] if len(text) > 1 else [text]
    content = [
        Logprob(
            token=token,
            logprob=math.log(sure) / len(tokens),
            top_logprobs=[
                TopLogprob(token=token, logprob=math.log(sure) / len(tokens)),
                TopLogprob(token="0", logprob=math.log1p(-(sure ** (1 / len(tokens)))) - 0.5),
            ],
        )
        for token in tokens
    ]
    return ModelOutput(
        model=name,
        choices=[
            ChatCompletionChoice(
                message=ChatMessageAssistant(content=text),
                stop_reason="stop",
                logprobs=None if silent else Logprobs(content=content),
            )
        ],
        usage=ModelUsage(
            input_tokens=12, output_tokens=len(tokens), total_tokens=12 + len(tokens), total_cost=price
        ),
    )


@scorer(metrics=[accuracy()])
def nearly() -> Callable:
    """Right, partly right (the last digit is), no answer, wrong; one sample is not scored."""

    async def score(state, target) -> Score:
        answer, truth = state.output.completion.strip(), target.text
        if state.sample_id == "sum-3":
            return Score.unscored(reason="grader_failed")
        if state.sample_id == "sum-5":
            return Score(value=NOANSWER, answer=answer)
        near = answer[-1:] == truth[-1:]
        return Score(value=CORRECT if answer == truth else PARTIAL if near else INCORRECT, answer=answer)

    return score


@scorer(metrics=[accuracy()])
def length() -> Callable:
    async def score(state, target) -> Score:
        return Score(value=float(len(state.output.completion) == len(target.text)))

    return score


@scorer(metrics=[accuracy()])
def graded(grader: Model) -> Callable:
    """Asks a model whether the answer is right, as model-graded scorers do."""

    async def score(state, target) -> Score:
        await grader.generate(f"{state.output.completion} = {target.text}?")
        right = state.output.completion.strip() == target.text
        return Score(value=CORRECT if right else INCORRECT)

    return score


@solver
def failing(on: str) -> Callable:
    async def solve(state, generate):
        if state.sample_id == on:
            raise RuntimeError("the provider did not answer")
        return state

    return solve


@solver
def cascade(small: Model, large: Model, threshold: float) -> Callable:
    async def solve(state, generate):
        for model in (small, large):
            state.output = await model.generate(state.messages)
            logprobs = state.output.choices[0].logprobs
            if sum(token.logprob for token in logprobs.content) >= threshold:
                break
        return state

    return solve


def grader() -> Model:
    return get_model(
        "mockllm/grader", custom_outputs=lambda *_: output("grader", "Yes", 0.99, 1e-4), memoize=False
    )


def main() -> None:
    assert inspect_ai.__version__ == VERSION, inspect_ai.__version__
    HERE.mkdir(parents=True, exist_ok=True)
    data = MemoryDataset(samples(), name="sums")
    plain = Task(dataset=data, solver=[failing("sum-7"), generate()], scorer=[nearly(), length()], name="sums")
    both = cascade(answering("small", 4, 0.7, 2e-5), answering("large", 5, 1.5, 4e-4), math.log(0.7))
    graded_task = Task(dataset=data, solver=both, scorer=graded(grader()), name="sums")
    small = {"seed": 2, "skill": 0.7, "price": 2e-5, "silent": 17}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # no word of this repository in a log
        run(plain, answering("small", **small), "small.eval")
        run(plain, answering("small", **small), "small.json", limit=12)
        run(plain, answering("large", 3, 1.5, 4e-4), "large.eval", epochs=2)
        run(graded_task, answering("small", **small), "cascade.eval")


def for_the_notebook() -> None:
    """More questions, without the events, into ``notebooks/evaluation``."""
    folder = Path(__file__).parents[3] / "notebooks" / "evaluation"
    folder.mkdir(exist_ok=True)
    task = Task(dataset=MemoryDataset(samples(120), name="sums"), solver=generate(), scorer=nearly(), name="sums")
    with tempfile.TemporaryDirectory() as here, contextlib.chdir(here):
        for model in (answering("small", 12, 0.7, 2e-5, silent=50), answering("large", 13, 1.5, 4e-4)):
            run(task, model, folder / f"{model.name}.eval", events=False)


def run(task: Task, model: Model, name: str | Path, events: bool = True, **options: Any) -> None:
    """Run, and write the log again under a plain name, without the tracebacks of this machine."""
    (log,) = eval(task, model=model, log_dir=".", display="none", fail_on_error=False, **options)
    log = read_eval_log(log.location)
    for sample in log.samples:
        if sample.error:
            sample.error.traceback = sample.error.traceback_ansi = ""
            sample.events = [event for event in sample.events if event.event != "error"]
        if not events:
            sample.events = []
    write_eval_log(log, str(HERE / name))


if __name__ == "__main__":
    for_the_notebook() if sys.argv[1:] == ["notebook"] else main()
