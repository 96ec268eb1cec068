"""Whatever a file holds, a confidence is a number on its scale, or a reason; what stands beside is no matter."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from bayescascade.signals import absent
from bayescascade.signals.absent import NoConfidence
from bayescascade.signals.confidence import SIGNALS, confidence
from bayescascade.signals.kinds import off_scale

OPTIONS = {
    name: {"answers": ["A", "B"]} for name in ("first_token_margin", "first_token_gap", "answer_probability")
}
CASES = [(name, {}) for name in SIGNALS] + [*OPTIONS.items()]
CASES.append(("answer_probability", {"answers": ["A", "B"], "place": "last"}))
REASONS = {value for name, value in vars(absent).items() if name.isupper() and isinstance(value, str)}

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def often(strategy):
    """Nearly always what should be there, at times anything."""
    return st.integers(0, 19).flatmap(lambda chance: anything if chance == 19 else strategy)


logprobs = st.integers(0, 9).flatmap(
    lambda chance: st.sampled_from([0.0, -9999.0, 2e-7, None, -1]) if chance == 9 else st.floats(-30, 0)
)
words = st.sampled_from(["A", "B", " A", "▁B", "True", "no", "\n", "", "</s>", "<|im_end|>", "é"]) | st.text(
    max_size=3
)
entry = st.fixed_dictionaries({"token": often(words), "logprob": often(logprobs)})
tokens = st.fixed_dictionaries(
    {"token": often(words), "logprob": often(logprobs)},
    optional={
        "top_logprobs": often(st.lists(often(entry), max_size=4)),
        "bytes": often(st.lists(st.integers(0, 255))),
    },
)
contents = st.fixed_dictionaries({"content": often(st.lists(often(tokens), min_size=1, max_size=4))})
legacies = st.fixed_dictionaries(
    {
        "tokens": often(st.lists(often(words), max_size=4)),
        "token_logprobs": often(st.lists(often(logprobs), max_size=4)),
        "top_logprobs": often(st.lists(often(st.dictionaries(words, logprobs, max_size=3)), max_size=4)),
    }
)
texts = st.text(max_size=12) | st.sampled_from(["A", "85", "Confidence: 85%", "4/5", "0.9", "sure", "-3", "1e400"])
choices = st.fixed_dictionaries(
    {"logprobs": often(contents | legacies)},
    optional={
        "message": often(st.fixed_dictionaries({"content": often(texts | st.none())})),
        "text": often(texts),
    },
)
completions = st.fixed_dictionaries(
    {"choices": often(st.lists(often(choices), min_size=1, max_size=3))},
    optional={"error": often(st.none()), "usage": often(st.fixed_dictionaries({"completion_tokens": anything}))},
)
shares = st.floats(0, 1) | st.integers(0, 1)
named = st.text(max_size=3)
decided = st.one_of(
    st.fixed_dictionaries({"noul": often(shares)}),
    st.fixed_dictionaries({"type": st.sampled_from(["predicate", "refusal"]), "probability": often(shares)}),
    st.fixed_dictionaries({"probabilities": often(st.dictionaries(named, often(shares), max_size=4))}),
)
decisions = st.fixed_dictionaries(
    {"answers": often(st.dictionaries(named, often(decided), min_size=1, max_size=3))}
)
part = st.fixed_dictionaries(
    {"type": st.just("output_text"), "text": often(texts), "logprobs": often(st.lists(tokens, max_size=3))}
)
messages = st.fixed_dictionaries({"type": st.just("message"), "content": often(st.lists(part, max_size=2))})
newer = st.fixed_dictionaries({"output": st.lists(messages, max_size=2)})
numbers = st.lists(often(logprobs), max_size=5)
samples = st.lists(often(texts | completions), max_size=4)
shaped = st.one_of(completions, contents, legacies, decisions, decided, newer, numbers, samples, texts)


def outcome(response, signal, options):
    """The confidence, or the reason why there is none."""
    try:
        return confidence(response, signal, **options)
    except NoConfidence as error:
        return error.reason


def check_everything(response):
    for signal, options in CASES:
        found = outcome(response, signal, options)
        if isinstance(found, str):
            assert found in REASONS
        else:
            assert isinstance(found, float)
            assert math.isfinite(found)
            assert not off_scale(found, SIGNALS[signal].kind)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(response=shaped)
def test_a_number_on_the_scale_or_a_reason(response):
    check_everything(response)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(response=anything)
def test_a_number_or_a_reason_whatever_the_shape(response):
    check_everything(response)


likely = st.floats(-20, 0)
sound = st.lists(st.tuples(st.sampled_from(["A", "B", " A", "so", "é"]), likely, likely), min_size=1, max_size=4)


def response_of(drawn, stop=(), more=None):
    more = more or {}
    content = [
        {"token": text, "logprob": own, "top_logprobs": [{"token": "B", "logprob": rival, **more}], **more}
        for text, own, rival in drawn
    ]
    content += [{"token": text, "logprob": -7.0, "top_logprobs": [], **more} for text in stop]
    message = {"content": "".join(text for text, *_ in drawn), **more}
    return {"choices": [{"message": message, "logprobs": {"content": content, **more}, **more}], **more}


extra = st.dictionaries(st.text("xyz_", min_size=1, max_size=4), anything, max_size=2)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(drawn=sound, stop=st.lists(st.sampled_from(["</s>", "<|im_end|>", ""]), max_size=2), more=extra)
def test_stop_tokens_and_unknown_keys_change_nothing(drawn, stop, more):
    for case in CASES:
        assert outcome(response_of(drawn, stop, more), *case) == outcome(response_of(drawn), *case)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(drawn=sound)
def test_the_two_shapes_of_openai_say_the_same(drawn):
    modern = response_of(drawn)
    logprobs = {
        "tokens": [text for text, *_ in drawn],
        "token_logprobs": [own for _, own, _ in drawn],
        "top_logprobs": [{"B": rival} for _, _, rival in drawn],
    }
    old = {"choices": [{"text": "".join(text for text, *_ in drawn), "logprobs": logprobs}]}
    for signal, options in CASES:
        assert outcome(old, signal, options) == outcome(modern, signal, options)
