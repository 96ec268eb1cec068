"""How likely a model found each choice of a document, as a metric of lm-evaluation-harness weighs them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bayescascade._common.messages import show
from bayescascade.logs.importers.calls import fault
from bayescascade.logs.spelling import plain_number
from bayescascade.signals.responses import number

TRUE_FALSE = (True, False, "True", "False")
MUTUAL = "acc_mutual_info"


def is_pair(value: Any) -> bool:
    """Whether this is a log-likelihood and whether its text is the likeliest; it could be two generated texts."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and value[1] in TRUE_FALSE
        and not math.isnan(_number(value[0]))
    )


def choice_scores(line: Mapping[str, Any], pairs: list[Any], metric: str, where: str) -> list[float]:
    """A score for each choice, the largest of which is what the metric takes for the model's answer.

    Examples
    --------
    >>> line = {"arguments": [["2 + 2 =", " 4"], ["2 + 2 =", " five"]], "metrics": ["acc", "acc_norm"]}
    >>> pairs = [["-1.5", "False"], ["-4.0", "False"]]
    >>> choice_scores(line, pairs, "acc", "line 1"), choice_scores(line, pairs, "acc_norm", "line 1")
    ([-1.5, -4.0], [-1.5, -1.0])

    Raises
    ------
    CascadeError
        If a log-likelihood is none, or the metric needs texts of the choices that the line does not have.
    """
    values = [_likelihood(pair, where) for pair in pairs]
    if MUTUAL in (line.get("metrics") or ()) or metric == MUTUAL:  # every choice once more, without the question
        half = len(values) // 2
        if 2 * half != len(values):
            raise fault(
                where, f"has {len(values)} log-likelihoods; with {MUTUAL} there should be two for each choice"
            )
        values, alone = values[:half], values[half:]
        if metric == MUTUAL:
            return [
                value - less if value > -math.inf else value for value, less in zip(values, alone, strict=True)
            ]
    if metric == "acc_norm":
        return [
            value / length for value, length in zip(values, _lengths(line, len(values), where, False), strict=True)
        ]
    if metric == "acc_bytes":
        return [
            value / length for value, length in zip(values, _lengths(line, len(values), where, True), strict=True)
        ]
    return values


def _likelihood(pair: Any, where: str) -> float:
    value = pair[0] if is_pair(pair) else pair
    found = _number(value)
    if math.isnan(found) or found == math.inf:
        raise fault(where, f"'filtered_resps' holds {show(value)}; it should be the log-likelihood of a choice")
    return found


def _number(value: Any) -> float:
    """A number, also as text and also infinite; NaN for anything else."""
    try:
        if isinstance(value, str):
            return plain_number(value)
        return value if isinstance(value, float) else number(value)
    except ValueError:
        return math.nan


def _lengths(line: Mapping[str, Any], count: int, where: str, in_bytes: bool) -> list[float]:
    """The lengths of the choices, without the space that stands before each."""
    texts = [_continuation(line, place) for place in range(count)]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise fault(where, "'arguments' should hold the text of each choice, whose length the metric needs")
    spaced = all(text.startswith(" ") for text in texts)
    bare = [text[1:] if spaced else text for text in texts]
    return [float(len(text.encode("utf-8", "surrogatepass") if in_bytes else text)) for text in bare]


def _continuation(line: Mapping[str, Any], place: int) -> Any:
    """The text of a choice in the request: under ``gen_args_0: {arg_1}``, in older versions in a list."""
    arguments = line.get("arguments")
    if isinstance(arguments, dict):
        request = arguments.get(f"gen_args_{place}")
        return request.get("arg_1") if isinstance(request, dict) else None
    if isinstance(arguments, list) and place < len(arguments):
        request = arguments[place]
        return request[1] if isinstance(request, list) and len(request) == 2 else None
    return None
