"""A cascade as a model of Inspect: ``inspect eval task.py --model bayescascade/policy.json -M endpoints=...``."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    messages_to_openai,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from bayescascade._common.arrays import none_if_nan
from bayescascade.errors import CascadeError
from bayescascade.runtime.cascade import Cascade
from bayescascade.runtime.endpoints_file import load_endpoints
from bayescascade.runtime.policy import Policy
from bayescascade.serving.adapters.background import BackgroundCascade
from bayescascade.serving.chat import ABSTAINED


@modelapi(name="bayescascade")
class CascadeModel(ModelAPI):
    """The cascade of a policy file as one model.

    Examples
    --------
    ::

        from inspect_ai.model import get_model

        with get_model("bayescascade/policy.json", endpoints="endpoints.toml", log="evaluated.jsonl") as model:
            inspect_ai.eval("task.py", model=model)

    Parameters
    ----------
    model_name : str
        Path of the policy file.
    endpoints : path
        Of the endpoints' TOML file.
    log : path, optional
        The decision log.
    explore : float
        As of `Cascade`: with 1, all endpoints are run on accepted queries, and the log may be tuned with.
    concurrency : int
        Most calls of stages at a time.

    Notes
    -----
    What Inspect says of temperature or length has no effect: the endpoints' own settings hold, since the
    thresholds were tuned with them. Tools and several choices are refused. The output's metadata has the stage,
    the decision and the confidences; its usage has the cost. A cascade that abstains has an empty completion, and
    ``content_filter`` as the reason.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        *,
        endpoints: str | Path | None = None,
        log: str | Path | None = None,
        explore: float = 0.0,
        concurrency: int = 8,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        if endpoints is None:
            raise CascadeError("a cascade needs its endpoints; name their file by -M endpoints")
        policy = Policy.load(model_name)
        stages = load_endpoints(endpoints, policy.stages)
        cascade = Cascade(policy, stages, log=log, explore=explore, concurrency=concurrency)
        self._concurrency, self._background = concurrency, BackgroundCascade(cascade)

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """The cascade's answer; what `Cascade.answer` raises is the sample's error."""
        if tools:
            raise CascadeError("a cascade answers in text and calls no tools; evaluate it without")
        if (config.num_choices or 1) > 1:
            raise CascadeError("a cascade gives one answer; leave num_choices out")
        messages: list[Any] = list(await messages_to_openai(input))
        result = await self._background.answer_async(messages)
        output = ModelOutput.from_content(
            self.model_name,
            result.answer or "",
            "stop" if result.answer is not None else "content_filter",
            None if result.answer is not None else ABSTAINED,
        )
        output.metadata = {
            "stage": result.stage,
            "decision": result.decision,
            "confidences": {name: none_if_nan(x) for name, x in result.confidences.items()},
            "query": result.query,
            "policy": self._background.cascade.policy_id,
        }
        if not math.isnan(result.cost):
            output.usage = ModelUsage(total_cost=result.cost)
        return output

    def max_connections(self) -> int:
        """Samples at a time."""
        return self._concurrency

    async def aclose(self) -> None:
        """Let go of the log and of the connections; Inspect does so at the end of ``with``, and not by itself."""
        await asyncio.to_thread(self._background.close)

    def close(self) -> None:
        """Let go of the log and of the connections."""
        self._background.close()
