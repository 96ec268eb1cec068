"""A cascade of LangChain's chat models, within an agent."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langgraph.errors import GraphBubbleUp

from bayescascade._common.arrays import none_if_nan
from bayescascade._common.messages import listed, show
from bayescascade.errors import CascadeError, bad_value
from bayescascade.runtime.policy import Policy
from bayescascade.runtime.stages import rejects
from bayescascade.serving.chat import ABSTAINED
from bayescascade.signals.absent import NoConfidence
from bayescascade.signals.confidence import Signal, check_signal, confidence, refuse_other_signal


class CascadeMiddleware(AgentMiddleware):
    """Asks an agent's models one after another, and decides by a policy.

    Examples
    --------
    ::

        models = {"small": ChatOpenAI(model="small-1b", logprobs=True), "large": ChatOpenAI(model="large-2")}
        agent = create_agent(models["large"], middleware=[CascadeMiddleware(policy, models)])

    Parameters
    ----------
    policy : Policy
    models : dict of str to BaseChatModel
        For each stage of the policy; made so that their messages hold log-probabilities.
    signal : str or Signal
        How the confidence is made from a message; the one that the policy's log was made with.
    signal_options : mapping, optional
        Options of the signal.
    on_failure : {"defer", "fail"}
        What becomes of a call that raises, before the last stage.

    Raises
    ------
    CascadeError
        If the models are not the policy's stages, or the signal is of another kind.

    Notes
    -----
    The message's ``response_metadata["cascade"]`` has the stage, the decision and the confidences. A message
    without log-probabilities, or with calls of tools alone, is deferred, and never accepted before the last stage.
    If the policy abstains, the message is empty, and ``additional_kwargs["refusal"]`` says so. There is no budget
    and no decision log: serve a `Cascade` for these.
    """

    def __init__(
        self,
        policy: Policy,
        models: Mapping[str, BaseChatModel],
        *,
        signal: str | Signal = "mean_logprob",
        signal_options: Mapping[str, Any] | None = None,
        on_failure: Literal["defer", "fail"] = "defer",
    ) -> None:
        super().__init__()
        if not isinstance(models, Mapping) or set(models) != set(policy.stages):
            came = listed(list(models)) if isinstance(models, Mapping) else show(models)
            raise CascadeError(
                f"the policy has the stages {listed(policy.stages)}, but the models are {came}; give each stage a "
                "model under its name",
                parameter="models",
            )
        self._options = dict(signal_options or {})
        found = check_signal(signal, self._options)
        kind = found.kind
        if kind != policy.confidence_kind:
            raise CascadeError(
                f"the signal is of the kind {kind!r}, but the policy's thresholds are for "
                f"{policy.confidence_kind!r}; give the signal that its log was made with",
                parameter="signal",
            )
        refuse_other_signal(found.name, policy.signal, "the models")
        if on_failure not in ("defer", "fail"):
            raise bad_value("on_failure", on_failure, "choose 'defer' or 'fail'")
        self._policy, self._models, self._signal, self._on_failure = policy, dict(models), signal, on_failure

    def wrap_model_call(
        self, request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]
    ) -> ModelResponse:
        """The response of the stage that is sure enough."""
        seen: dict[str, float] = {}
        for stage in self._policy.stages:
            try:
                response = handler(request.override(model=self._models[stage]))
            except GraphBubbleUp:  # an agent that waits for a person, no failure
                raise
            except Exception:
                if self._ends(stage):
                    raise
                continue
            if self._decided(stage, response, seen):
                break
        return response

    async def awrap_model_call(
        self, request: ModelRequest, handler: Callable[[ModelRequest], Awaitable[ModelResponse]]
    ) -> ModelResponse:
        """The same of an agent that runs in an event loop."""
        seen: dict[str, float] = {}
        for stage in self._policy.stages:
            try:
                response = await handler(request.override(model=self._models[stage]))
            except GraphBubbleUp:
                raise
            except Exception:
                if self._ends(stage):
                    raise
                continue
            if self._decided(stage, response, seen):
                break
        return response

    def _ends(self, stage: str) -> bool:
        return self._on_failure == "fail" or stage == self._policy.stages[-1]

    def _decided(self, stage: str, response: ModelResponse, seen: dict[str, float]) -> bool:
        """Whether the query ends here; if so, the message says how."""
        message = next((part for part in response.result if isinstance(part, AIMessage)), None)
        if message is None:
            raise CascadeError(f"stage {stage!r} gave no message of a model")
        seen[stage] = self._confidence(message)
        decision: str
        if not math.isnan(seen[stage]) or (stage == self._policy.stages[-1] and not rejects(self._policy)):
            decision = self._policy.decide(stage, seen[stage])
        elif self._ends(stage):
            raise CascadeError(f"no confidence came with the message of stage {stage!r}, so there is no decision")
        else:
            decision = "defer"
        if decision == "defer":
            return False
        confidences = {name: none_if_nan(value) for name, value in seen.items()}
        said = {"stage": stage, "decision": decision, "confidences": confidences}
        more: dict[str, Any] = {"response_metadata": {**message.response_metadata, "cascade": said}}
        if decision == "abstain":
            more |= {"content": "", "tool_calls": [], "additional_kwargs": {"refusal": ABSTAINED}}
        place = response.result.index(message)
        response.result[place] = message.model_copy(update=more)
        return True

    def _confidence(self, message: AIMessage) -> float:
        """The confidence of a message, NaN where there is none."""
        choice = {"message": {"content": message.text}, "logprobs": message.response_metadata.get("logprobs")}
        try:
            value = confidence({"choices": [choice]}, self._signal, **self._options)
        except NoConfidence:
            return math.nan
        return float(value)
