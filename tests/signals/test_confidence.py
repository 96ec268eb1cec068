"""Confidences of responses: each signal against its formula, written out; what is absent gives a reason."""

import math
import pickle

import numpy as np
import pytest

from bayescascade.errors import CascadeError
from bayescascade.signals import absent
from bayescascade.signals.absent import NoConfidence
from bayescascade.signals.confidence import SIGNALS, Signal, check_signal, confidence
from bayescascade.signals.decisions import softmax
from bayescascade.signals.kinds import KINDS, to_confidence, to_signal
from bayescascade.signals.responses import text_of
from bayescascade.signals.samples import normalised

OF_TOKENS = ["mean_logprob", "sum_logprob", "min_logprob", "low_logprob"]
OF_FIRST = ["first_token_margin", "first_token_gap", "answer_probability"]


def listed(*pairs):
    return [{"token": token, "logprob": logprob} for token, logprob in pairs]


def token(text, logprob, *rivals):
    return {"token": text, "logprob": logprob, "top_logprobs": listed((text, logprob), *rivals)}


def chat(*tokens, text=None, **more):
    content = "".join(t["token"] for t in tokens) if text is None else text
    return {
        "model": "m",
        "choices": [{"message": {"content": content}, "logprobs": {"content": [*tokens]}}],
        **more,
    }


def legacy(tokens, values, top=None, **more):
    logprobs = {"tokens": tokens, "token_logprobs": values, "top_logprobs": top}
    return {"choices": [{"text": "".join(tokens), "logprobs": logprobs}], **more}


def reason(response, signal="mean_logprob", **options):
    with pytest.raises(NoConfidence) as caught:
        confidence(response, signal, **options)
    assert caught.value.reason in str(caught.value)
    return caught.value.reason


LETTER = chat(token("B", math.log(0.6), ("A", math.log(0.2)), (" B", math.log(0.1)), ("the", math.log(0.05))))
SENTENCE = chat(token("It", -0.25), token(" is", -0.5), token(" late", -3.0))


@pytest.mark.parametrize(
    ("signal", "expected"),
    [("mean_logprob", -1.25), ("sum_logprob", -3.75), ("min_logprob", -3.0), ("low_logprob", -2.5)],
)
def test_over_the_tokens(signal, expected):
    # the 10% quantile of -3, -0.5, -0.25 lies a fifth of the way from the lowest to the next
    assert confidence(SENTENCE, signal) == pytest.approx(expected)
    assert confidence([-0.25, -0.5, -3.0], signal) == confidence(SENTENCE, signal)
    assert confidence(np.array([-0.25, -0.5, -3.0], dtype=np.float32), signal) == confidence(SENTENCE, signal)
    tokens = ["It", " is", " late"]
    assert confidence(legacy(tokens, [-0.25, -0.5, -3.0]), signal) == confidence(SENTENCE, signal)
    for part in (SENTENCE["choices"][0], SENTENCE["choices"][0]["logprobs"]):
        assert confidence(part, signal) == confidence(SENTENCE, signal)


def test_quantile_is_an_option():
    assert confidence(SENTENCE, "low_logprob", quantile=0.0) == -3.0
    assert confidence(SENTENCE, "low_logprob", quantile=0.5) == -0.5


def test_a_sum_does_not_depend_on_the_order():
    values = list(-np.random.default_rng(2).exponential(size=999) * 10.0 ** np.arange(-6, 3).repeat(111))
    assert confidence(values, "sum_logprob") == confidence(values[::-1], "sum_logprob") == math.fsum(values)


@pytest.mark.parametrize(
    ("signal", "options", "expected"),
    [
        ("first_token_margin", {}, 0.6 - 0.2),
        ("first_token_gap", {}, math.log(0.6 / 0.2)),
        ("answer_probability", {}, 0.6),
        # both spellings of B count, and so does nothing but A and B
        ("first_token_margin", {"answers": ["A", "B"]}, (0.7 - 0.2) / 0.9),
        ("first_token_gap", {"answers": ["A", "B"]}, math.log(0.7 / 0.2)),
        ("answer_probability", {"answers": ["A", "B"]}, 0.7 / 0.9),
        ("answer_probability", {"answers": ["A", "B", "C"]}, 0.7 / 0.9),
        ("first_token_margin", {"answers": ["B", "C"]}, 1.0),
    ],
)
def test_the_answers_token(signal, options, expected):
    assert confidence(LETTER, signal, **options) == pytest.approx(expected)
    pairs = {t["token"]: t["logprob"] for t in LETTER["choices"][0]["logprobs"]["content"][0]["top_logprobs"]}
    assert confidence(legacy(["B"], [math.log(0.6)], [pairs]), signal, **options) == pytest.approx(expected)


@pytest.mark.parametrize("signal", ["first_token_margin", "first_token_gap"])
def test_a_sampled_answer_that_does_not_lead_has_no_lead(signal):
    assert confidence(chat(token("B", -2.0, ("A", -0.2))), signal) == 0.0
    assert confidence(chat(token("B", -2.0, ("A", -0.2))), signal, answers=["A", "B"]) == 0.0


@pytest.mark.parametrize("written", [" B", "▁B", "ĠB", "B\n"])
def test_spaces_are_no_part_of_an_answer(written):
    response = chat(token("\n", -0.1), token(written, -0.5, ("A", -1.0)))
    share = math.exp(-0.5) / (math.exp(-0.5) + math.exp(-1.0))
    assert confidence(response, "answer_probability", answers=["A", "B"]) == pytest.approx(share)


def test_an_answer_after_its_reasoning_is_the_last_one():
    response = chat(token("A", -1.5), token(" cat, so", -0.2), token(" B", -0.5, (" A", -1.0)), token(".", -0.1))
    share = math.exp(-0.5) / (math.exp(-0.5) + math.exp(-1.0))
    found = confidence(response, "answer_probability", answers=["A", "B"], place="last")
    assert found == pytest.approx(share)


def test_p_true_adds_all_ways_to_say_it():
    response = chat(token("True", math.log(0.5), (" true", math.log(0.2)), ("False", math.log(0.2))))
    assert confidence(response, "p_true") == pytest.approx(math.log(0.7))
    assert confidence(response, "p_true", true=["False"]) == pytest.approx(math.log(0.2))
    said_no = chat(token("No", math.log(0.9), ("Yes", math.log(0.1))))
    assert confidence(said_no, "p_true") == pytest.approx(math.log(0.1))


# ---- what the formats hide


@pytest.mark.parametrize("stop", ["<|im_end|>", "</s>", "<end_of_turn>", "", "<｜end▁of▁sentence｜>", "\n###"])
@pytest.mark.parametrize("signal", [*OF_TOKENS, *OF_FIRST])
def test_the_token_that_ends_a_text_is_no_part_of_it(signal, stop):
    answer = [token("B", -0.5, ("A", -2.0)), token("ee", -1.0)]
    kept = chat(*answer, token(stop, -5.0), text="Bee")
    assert confidence(kept, signal) == confidence(chat(*answer), signal)


def test_a_stop_token_is_known_by_its_name_where_there_is_no_text():
    assert confidence({"content": [token("B", -0.5), token("<|eot_id|>", -7.0)]}) == -0.5
    assert confidence(chat(token(" B", -0.5), token("</s>", -7.0), text="B")) == -0.5  # stripped by the server
    assert confidence(chat(token("a", -0.5), token("</s>", -1.5))) == -1.0  # asked to write the token itself


def test_half_a_character_is_compared_by_its_bytes():
    halves = [{"token": "�", "bytes": [b], "logprob": -0.5} for b in "é".encode()]
    assert confidence(chat(*halves, token("<|im_end|>", -9.0), text="é")) == -0.5


def test_an_echoed_prompt_is_left_out():
    tokens, values = ["2", "+", "2", "=", "4"], [None, -9.0, -8.0, -7.0, -0.5]
    usage = {"prompt_tokens": 4, "completion_tokens": 1}
    assert confidence(legacy(tokens, values, usage=usage)) == -0.5
    assert reason(legacy(tokens, values)) == absent.ABSENT


def test_newer_responses_of_openai():
    parts = [{"type": "output_text", "text": "It is", "logprobs": [token("It", -0.25), token(" is", -0.75)]}]
    thoughts = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm"}]}
    response = {"error": None, "output": [thoughts, {"type": "message", "content": parts}]}
    assert confidence(response) == -0.5
    assert text_of(response) == "It is"
    parts.append({"type": "output_text", "text": " late", "logprobs": None})
    assert reason(response) == absent.NO_LOGPROBS


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ({"choices": [{"message": {"content": "B"}, "logprobs": None}]}, absent.NO_LOGPROBS),
        ({"choices": [{"message": {"content": "B"}}]}, absent.NO_LOGPROBS),
        ({"choices": [{"message": {"content": "B"}, "logprobs": {"content": None}}]}, absent.NO_LOGPROBS),
        ({"choices": [{"message": {"content": "B"}, "logprobs": {"content": []}}]}, absent.NO_LOGPROBS),
        ({"choices": [{"text": "B", "logprobs": {"token_logprobs": None}}]}, absent.NO_LOGPROBS),
        ({"content": None}, absent.NO_LOGPROBS),
        ([], absent.NO_LOGPROBS),
        ({"error": {"code": 429, "message": "slow down"}}, absent.FAILED),
        ({"choices": []}, absent.EMPTY),
        (chat(token("<|im_end|>", -0.1), text=""), absent.EMPTY),
        (chat(token(" ", -0.1), text=" "), absent.EMPTY),
        ({"content": [token("</s>", -0.1)]}, absent.EMPTY),
        (chat(token("B", -9999.0)), absent.ABSENT),
        (chat(token("B", None)), absent.ABSENT),
        (chat(token("B", float("nan"))), absent.ABSENT),
        (chat(token("B", float("-inf"))), absent.ABSENT),
        (chat(token("B", "-0.1")), absent.ABSENT),
        (chat(token("B", True)), absent.ABSENT),
        (chat(token("B", -0.1), token("C", -9999)), absent.ABSENT),
        ([-0.1, None], absent.ABSENT),
        (chat(token("B", 0.3)), absent.OFF_SCALE),
        ([-0.1, 10**400], absent.ABSENT),
        ({"answers": {}}, absent.UNREADABLE),
        ("B", absent.UNREADABLE),
        (None, absent.UNREADABLE),
        (3, absent.UNREADABLE),
    ],
)
@pytest.mark.parametrize("signal", OF_TOKENS)
def test_nothing_to_see(response, expected, signal):
    assert reason(response, signal) == expected


def test_rounding_beyond_certainty_is_certainty():
    assert confidence(chat(token("B", 2e-7))) == 0.0


def test_reasons_of_the_answers_token():
    alone = chat(token("B", -0.1))
    assert reason(alone, "first_token_margin") == absent.NO_RIVAL
    assert reason(alone, "first_token_gap", answers=["A", "B"]) == absent.NO_RIVAL
    assert reason([-0.1], "first_token_gap") == absent.NO_RIVAL
    assert (
        reason(chat(token("Well", -0.1, ("B", -0.2))), "answer_probability", answers=["A", "B"])
        == absent.NOT_LISTED
    )
    assert reason(LETTER, "p_true") == absent.NOT_LISTED
    absent_rival = chat(token("B", -0.1, ("A", -9999.0)))
    assert reason(absent_rival, "first_token_margin") == absent.NO_RIVAL
    assert confidence(absent_rival, "first_token_margin", answers=["A", "B"]) == 1.0


# ---- decision models


NOUL = {"type": "noul", "noul": 0.13}
CHOICE = {"type": "choice", "choice": "a", "probabilities": {"b": 0.19, "a": 0.81}, "confidence": 0.62}
SCORE = {
    "type": "score",
    "score": 2.4,
    "probabilities": {"0": 0.1, "1": 0.2, "2": 0.4, "3": 0.3},
    "confidence": 0.31,
}


@pytest.mark.parametrize(("answer", "top", "gap"), [(NOUL, 0.87, 0.74), (CHOICE, 0.81, 0.62), (SCORE, 0.4, 0.1)])
def test_decisions(answer, top, gap):
    others = {"other": {"type": "noul", "noul": 0.99}}
    for response in (answer, {"answers": {"q": answer}}, {"answers": {"q": answer} | others}):
        assert confidence(response, "top_probability") == pytest.approx(top)
        assert confidence(response, "top_gap") == pytest.approx(gap)
    both = {"answers": {"q": answer} | others}
    assert confidence(both, "top_probability", question="other") == 0.99
    assert confidence(both, "top_probability", question="q") == pytest.approx(top)


@pytest.mark.parametrize(
    ("response", "signal", "expected"),
    [
        ({"answers": {}}, "top_probability", absent.EMPTY),
        ({"error": "overloaded"}, "top_probability", absent.FAILED),
        ({"answers": {"q": {"type": "choice", "choice": "a", "confidence": 0.6}}}, "top_gap", absent.UNREADABLE),
        ({"confidence": 0.6}, "top_probability", absent.UNREADABLE),
        ({"answers": {"q": {"noul": "0.87"}}}, "top_probability", absent.UNREADABLE),
        ({"answers": {"q": {"noul": 87}}}, "top_probability", absent.OFF_SCALE),
        ({"answers": {"q": {"probabilities": {"a": 0.9, "b": 0.9}}}}, "top_gap", absent.OFF_SCALE),
        ({"answers": {"q": {"probabilities": {"a": 0.9}}}}, "top_gap", absent.NO_RIVAL),
        (LETTER, "top_probability", absent.UNREADABLE),
    ],
)
def test_reasons_of_decisions(response, signal, expected):
    assert reason(response, signal) == expected
    assert reason({"answers": {"q": NOUL}}, signal, question="r") == absent.NO_QUESTION


def test_choices_by_their_likelihoods():
    values = [-1.2, -0.4, -3.0]
    weights = [math.exp(value) for value in values]
    assert softmax(values) == pytest.approx([weight / sum(weights) for weight in weights])
    assert confidence(softmax([-700.0, -703.0]), "top_probability") == pytest.approx(1 / (1 + math.exp(-3.0)))
    assert confidence(softmax(values), "top_gap") == pytest.approx((weights[1] - weights[0]) / sum(weights))
    with pytest.raises(NoConfidence):
        softmax([])


# ---- samples


def test_agreement_of_samples():
    samples = ["42", "42.", " 42", "41", ""]
    assert confidence(samples, "agreement") == 3 / 5
    assert confidence(samples, "agreement", same="exact") == 1 / 5
    assert confidence(samples, "agreement", same=lambda one, other: abs(float(one) - float(other)) < 2) == 4 / 5
    shares = [3 / 5, 1 / 5, 1 / 5]
    expected = sum(share * math.log(share) for share in shares)
    assert confidence(samples, "negative_entropy") == pytest.approx(expected)
    assert confidence(["a", "A"], "negative_entropy") == 0.0


def test_samples_in_any_shape():
    texts = ["yes", "yes", "no"]
    choices = [{"message": {"content": text}} for text in texts]
    responses = [{"choices": [choice]} for choice in choices]
    for samples in (texts, {"choices": choices}, responses):
        assert confidence(samples, "agreement") == 2 / 3
    assert confidence([{"error": "429"}, *responses], "agreement") == 2 / 4
    in_parts = {"message": {"content": [{"type": "text", "text": "y"}, {"type": "text", "text": "es"}]}}
    assert confidence({"choices": [*choices, in_parts]}, "agreement") == 3 / 4


def test_reasons_of_samples():
    assert reason(["42"], "agreement") == absent.FEW_SAMPLES
    assert reason("42", "negative_entropy") == absent.FEW_SAMPLES
    assert reason(["", " "], "agreement") == absent.EMPTY


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**Paris**", "paris"),
        ("  a  b ", "a b"),
        ("ＡＢ", "ab"),
        ("-5.", "-5"),
        ("...", "..."),
        ("Straße", "strasse"),
    ],
)
def test_normalised(text, expected):
    assert normalised(text) == expected


# ---- verbalised


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("85", 85.0),
        (" 85%. ", 85.0),
        ("62.5", 62.5),
        ("0", 0.0),
        ("0.5%", 0.5),
        ("Confidence: 85", 85.0),
        ('{"answer": "1867", "confidence": 85}', 85.0),
        ("It was 1867. Confidence (0-100): 70%", 70.0),
        ("Confidence: 90 out of 100", 90.0),
        ("90/100", 90.0),
        ("I am 95% sure that it was 1867.", 95.0),
        (85, 85.0),
    ],
)
def test_verbalised(text, expected):
    response = text if isinstance(text, int) else {"choices": [{"message": {"content": text}}]}
    assert confidence(response, "verbalised") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.85", absent.UNCLEAR),
        ("1", absent.UNCLEAR),
        ("Confidence: 0.9", absent.UNCLEAR),
        ("It was 1867. Confidence: high", absent.UNCLEAR),
        ("80-90", absent.UNCLEAR),
        ("Confidence: 80 to 90", absent.UNCLEAR),
        ("Confidence: 80. On reflection, confidence: 60", absent.UNCLEAR),
        ("1e2", absent.UNCLEAR),
        ("1,000", absent.UNCLEAR),
        ("Very sure", absent.NO_NUMBER),
        ("", absent.EMPTY),
        ("-5", absent.OFF_SCALE),
        ("140%", absent.OFF_SCALE),
        ("9" * 400, absent.OFF_SCALE),
    ],
)
def test_verbalised_without_a_number_that_is_meant(text, expected):
    assert reason(text, "verbalised") == expected


def test_ratings():
    for text in ("4", "4/5", "Rating: 4", "Confidence (1 to 5): 4.", "4 out of 5"):
        assert confidence(text, "verbalised_rating") == 4.0
    assert confidence("9", "verbalised_rating", best=10) == 9.0
    assert reason("6", "verbalised_rating") == absent.OFF_SCALE
    assert reason("4.5", "verbalised_rating") == absent.OFF_SCALE


# ---- the entry


def test_every_signal_has_a_kind_that_holds_it():
    examples = dict.fromkeys([*OF_TOKENS, *OF_FIRST], LETTER) | {"p_true": chat(token("True", -0.1))}
    examples |= dict.fromkeys(["top_probability", "top_gap"], NOUL)
    examples |= {name: ["a", "b", "b"] for name in ("agreement", "negative_entropy")}
    examples |= {"verbalised": "90", "verbalised_rating": "4"}
    assert set(examples) == set(SIGNALS)
    for name, example in examples.items():
        kind = SIGNALS[name].kind
        value = confidence(example, name)
        assert isinstance(value, float)
        assert KINDS[kind].lower <= value <= KINDS[kind].upper
        # a threshold at the value accepts it, on either scale
        assert value >= to_confidence(to_signal(value, kind), kind)


def test_a_signal_of_your_own():
    long = Signal("length", "score", lambda response, *, unit=1: len(response) / unit)
    assert long.options == ["unit"]
    assert confidence("abcd", long, unit=2) == 2.0
    assert reason("abcd", Signal("none", "score", lambda response: math.nan)) == absent.OFF_SCALE
    assert reason("abcd", Signal("more", "probability", lambda response: 1.5)) == absent.OFF_SCALE


@pytest.mark.parametrize(
    ("signal", "options", "message"),
    [
        ("logprob", {}, "unknown signal 'logprob'; choose one of 'mean_logprob', "),
        (None, {}, "unknown signal None"),
        (Signal("s", "share", len), {}, "unknown confidence kind 'share'"),
        ("mean_logprob", {"answers": ["A"]}, "signal 'mean_logprob' has no option 'answers'; it has none"),
        ("p_true", {"answers": ["A"]}, "it has 'true'"),
        ("answer_probability", {"answers": "AB"}, "answers='AB' is not allowed; give a list"),
        ("answer_probability", {"answers": []}, "answers="),
        ("answer_probability", {"place": "last"}, "place='last' is not allowed"),
        ("low_logprob", {"quantile": 10}, "quantile=10 is not allowed; give a number between 0 and 1"),
        ("agreement", {"same": "alike"}, "same='alike' is not allowed"),
        ("verbalised_rating", {"best": 1}, "best=1 is not allowed"),
    ],
)
def test_mistakes_are_no_absent_confidences(signal, options, message):
    with pytest.raises(CascadeError) as caught:
        confidence(LETTER, signal, **options)
    assert not isinstance(caught.value, NoConfidence)
    assert message in str(caught.value)


def test_an_absent_confidence_survives_a_copy():
    error = NoConfidence(absent.OFF_SCALE, ": 3")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.reason) == (str(error), absent.OFF_SCALE)


def test_checked_before_any_response():
    assert check_signal("verbalised").kind == "percent"
    with pytest.raises(CascadeError, match="no option 'place'"):
        check_signal("p_true", {"place": "last"})
