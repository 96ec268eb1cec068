"""The cascade as middleware of LangChain's agents, in an agent of LangChain."""

import asyncio
import math
import warnings

import pytest

from bayescascade import CascadeError, Policy

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("langchain", reason="the adapter of LangChain needs langchain")
    from langchain.agents import create_agent
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, ChatResult
    from langchain_core.tools import tool

    from bayescascade.serving.adapters.langchain_middleware import CascadeMiddleware

pytestmark = pytest.mark.filterwarnings("ignore")
INF = math.inf


class Scripted(BaseChatModel):
    """Says what it is told to, one message after another; a message that is an error is raised."""

    said: list
    asked: list

    @property
    def _llm_type(self):
        return "scripted"

    def bind_tools(self, tools, **more):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **more):
        self.asked.append(messages)
        message = self.said[min(len(self.asked), len(self.said)) - 1]
        if isinstance(message, Exception):
            raise message
        return ChatResult(generations=[ChatGeneration(message=message)])


def message(text="A", logprob=-0.1, **more):
    content = None if logprob is None else {"content": [{"token": text, "logprob": logprob, "top_logprobs": []}]}
    return AIMessage(content=text, response_metadata={"logprobs": content}, **more)


def run(small, large, policy=None, tools=(), is_async=False, **options):
    models = {"small": Scripted(said=small, asked=[]), "large": Scripted(said=large, asked=[])}
    policy = policy or Policy(["small", "large"], [-0.5, -INF], "logprob")
    agent = create_agent(models["large"], list(tools), middleware=[CascadeMiddleware(policy, models, **options)])
    asked = {"messages": [{"role": "user", "content": "Is a tomato a fruit?"}]}
    found = asyncio.run(agent.ainvoke(asked)) if is_async else agent.invoke(asked)
    return found["messages"], [len(model.asked) for model in models.values()]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("small", "text", "stage", "calls"),
    [
        (message(), "A", "small", [1, 0]),
        (message(logprob=-0.5), "A", "small", [1, 0]),
        (message(logprob=-0.9), "L", "large", [1, 1]),
        (message(logprob=None), "L", "large", [1, 1]),
        (AIMessage("A"), "L", "large", [1, 1]),
        (ValueError("down"), "L", "large", [1, 1]),
    ],
)
def test_the_policy_decides(small, text, stage, calls, is_async):
    messages, asked = run([small], [message("L", None)], is_async=is_async)
    assert messages[-1].text == text
    assert messages[-1].response_metadata["cascade"]["stage"] == stage
    assert messages[-1].response_metadata["cascade"]["decision"] == "accept"
    assert asked == calls
    assert len(messages) == 2  # what was deferred is not in the conversation


def test_each_turn_of_an_agent_is_a_query():
    @tool
    def look_up(name: str) -> str:
        """Look it up."""
        return f"{name} is a fruit"

    call = {"name": "look_up", "args": {"name": "tomato"}, "id": "1"}
    first = message("", None, tool_calls=[call])
    messages, asked = run([first, message("yes")], [first], tools=[look_up])
    stages = [part.response_metadata["cascade"]["stage"] for part in messages if isinstance(part, AIMessage)]
    assert stages == ["large", "small"]  # a call of a tool has no text that a confidence could be of
    assert messages[-1].text == "yes"
    assert asked == [2, 1]


def test_abstention():
    policy = Policy(["small", "large"], [-0.5, -INF], "logprob", reject=[-2.0, -0.3])
    for small, large, stage in ((-3.0, -0.1, "small"), (-0.9, -0.4, "large")):
        messages, _ = run([message("A", small)], [message("L", large)], policy)
        assert messages[-1].text == ""
        assert messages[-1].additional_kwargs["refusal"].startswith("The cascade gives no answer")
        assert messages[-1].response_metadata["cascade"]["stage"] == stage
    with pytest.raises(CascadeError, match="no confidence came with the message of stage 'large'"):
        run([message("A", -0.9)], [message("L", None)], policy)


@pytest.mark.parametrize("is_async", [False, True])
def test_failures_that_are_raised(is_async):
    with pytest.raises(ValueError, match="down"):
        run([message(logprob=-0.9)], [ValueError("down")], is_async=is_async)
    with pytest.raises(ValueError, match="down"):
        run([ValueError("down")], [message()], on_failure="fail", is_async=is_async)
    with pytest.raises(CascadeError, match="no confidence came with the message of stage 'small'"):
        run([message(logprob=None)], [message()], on_failure="fail", is_async=is_async)


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        ({"models": {"small": None}}, "the policy has the stages 'small', 'large'"),
        ({"models": None}, "the policy has the stages"),
        ({"signal": "answer_probability"}, "is of the kind 'probability'"),
        ({"on_failure": "retry"}, "choose 'defer' or 'fail'"),
    ],
)
def test_options_that_are_wrong(options, fragment):
    policy = Policy(["small", "large"], [-0.5, -INF], "logprob")
    given = {"models": {"small": None, "large": None}, **options}
    with pytest.raises(CascadeError, match=fragment):
        CascadeMiddleware(policy, **given)
