"""Writes the samples of lm-evaluation-harness that the tests read, with the package and two models made up here.

    pip install lm_eval==0.4.13
    python tests/logs/importers/make_lm_eval.py    (with the word notebook: notebooks/lm_eval)

For each of two models a folder in ``files/lm_eval``, as ``lm_eval --log_samples --output_path`` writes it: two
tasks of multiple choice (one also has the metric that asks for every choice twice), one that scores a given text,
and one that generates. The models' scores are drawn from a fixed seed for each document.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import lm_eval
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from lm_eval.loggers import EvaluationTracker

VERSION = "0.4.13"
HERE = Path(__file__).parent / "files" / "lm_eval"
DOCUMENTS = 40
WORDS = {"two": 2, "eleven": 11, "seventeen": 17, "three": 3, "ninety-nine": 99, "five": 5, "one hundred": 100}


class Adding(LM):
    """A model that knows sums, more often the more skilled it is."""

    def __init__(self, skill: float) -> None:
        super().__init__()
        self.skill = skill

    def _score(self, context: str, continuation: str) -> float:
        rng = random.Random(f"{self.skill}/{context}/{continuation}")
        numbers = [int(number) for number in re.findall(r"\d+", context)]
        words = continuation.strip()
        value = WORDS.get(words, int(words) if words.isdigit() else -1)
        right = sum(numbers) == value if numbers else False
        return (
            -0.35 * len(continuation)
            - rng.expovariate(0.8)
            - (0.0 if right else rng.gammavariate(self.skill, 1.0))
        )

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        scores = [self._score(*request.args) for request in requests]
        return [(score, score > -2.0) for score in scores]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        return [self._score("", request.args[0]) for request in requests]

    def generate_until(self, requests: list[Any]) -> list[str]:
        answers = []
        for request in requests:
            numbers = [int(number) for number in re.findall(r"\d+", request.args[0])]
            off = random.Random(f"{self.skill}/{request.args[0]}").choice([0, 0, 0, 1])
            answers.append(f"It is {sum(numbers) + off}.")
        return answers


def sums(words: bool, seed: int, count: int = DOCUMENTS) -> dict[str, Any]:
    rng = random.Random(seed)
    documents = []
    for _ in range(count):
        choices = rng.sample(list(WORDS), 4) if words else [str(n) for n in rng.sample(range(4, 120), 4)]
        gold = rng.randrange(4)
        total = WORDS[choices[gold]] if words else int(choices[gold])
        first = rng.randrange(1, total)
        documents.append(
            {"question": f"{first} + {total - first}", "choices": choices, "gold": gold, "sum": total}
        )
    return {"test": datasets.Dataset.from_list(documents)}


def task(name: str, words: bool, seed: int, count: int = DOCUMENTS, **config: Any) -> ConfigurableTask:
    made = ConfigurableTask(
        config={
            "task": name,
            "custom_dataset": lambda **_: sums(words, seed, count),
            "test_split": "test",
            "doc_to_text": "{{question}} =",
            **config,
        }
    )
    made.config.custom_dataset = None  # a function, which results.json cannot hold
    return made


def metric(name: str) -> dict[str, Any]:
    return {"metric": name, "aggregation": "mean", "higher_is_better": True}


CHOICE = {"output_type": "multiple_choice", "doc_to_choice": "choices", "doc_to_target": "gold"}


def tasks() -> list[ConfigurableTask]:
    extract = {"function": "regex", "regex_pattern": r"(\d+)"}
    return [
        task("sums", False, 1, metric_list=[metric("acc"), metric("acc_norm")], **CHOICE),
        task(
            "sums_in_words",
            True,
            2,
            metric_list=[metric("acc"), metric("acc_norm"), metric("acc_mutual_info")],
            **CHOICE,
        ),
        task(
            "sums_given",
            False,
            3,
            output_type="loglikelihood",
            doc_to_target="{{sum}}",
            metric_list=[
                {**metric("perplexity"), "aggregation": "perplexity", "higher_is_better": False},
                metric("acc"),
            ],
        ),
        task(
            "sums_written",
            False,
            4,
            output_type="generate_until",
            doc_to_target="{{sum}}",
            generation_kwargs={"until": ["\n"]},
            metric_list=[metric("exact_match")],
            filter_list=[
                {"name": "strict", "filter": [{"function": "take_first"}]},
                {"name": "number", "filter": [extract, {"function": "take_first"}]},
            ],
        ),
    ]


def main() -> None:
    run(HERE, tasks)


def for_the_notebook() -> None:
    """More documents of one task, into ``notebooks/lm_eval``."""
    run(
        Path(__file__).parents[3] / "notebooks" / "lm_eval",
        lambda: [task("sums", False, 5, count=120, metric_list=[metric("acc"), metric("acc_norm")], **CHOICE)],
    )


def run(folder: Path, made: Callable[[], list[ConfigurableTask]]) -> None:
    assert lm_eval.__version__ == VERSION, lm_eval.__version__
    for name, skill in (("adders/small", 1.0), ("adders/large", 3.0)):
        tracker = EvaluationTracker(output_path=str(folder))
        tracker.general_config_tracker.log_experiment_args(
            model_source="adding",
            model_args=f"pretrained={name}",
            system_instruction=None,
            chat_template=None,
            fewshot_as_multiturn=False,
        )
        results = lm_eval.simple_evaluate(
            Adding(skill), tasks=made(), bootstrap_iters=0, log_samples=True, random_seed=1, verbosity="ERROR"
        )
        samples = results.pop("samples")
        tracker.save_results_aggregated(results=results, samples=samples)
        for each, lines in samples.items():
            tracker.save_results_samples(task_name=each, samples=lines)


if __name__ == "__main__":
    for_the_notebook() if sys.argv[1:] == ["notebook"] else main()
