"""A cascade as a provider of LiteLLM: for its proxy, and for ``litellm.completion``."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from litellm.llms.custom_llm import CustomLLM, CustomLLMError
from litellm.types.utils import Choices, GenericStreamingChunk, Message, ModelResponse

from bayescascade.errors import CascadeError, bad_value
from bayescascade.runtime.cascade import Cascade
from bayescascade.runtime.result import Result
from bayescascade.serving.adapters.background import BackgroundCascade
from bayescascade.serving.chat import ABSTAINED, check_fields, headers_of
from bayescascade.serving.refusals import Refused, refusal_of


class CascadeProvider(CustomLLM):
    """Cascades as a provider of LiteLLM.

    Examples
    --------
    ::

        provider = CascadeProvider({"support": bc.Cascade(policy, stages)})
        litellm.custom_provider_map = [{"provider": "bayescascade", "custom_handler": provider}]
        litellm.completion("bayescascade/support", messages=[{"role": "user", "content": "Hello?"}])

    Parameters
    ----------
    cascades : dict of str to Cascade
        By the name that follows ``bayescascade/`` in the model's. Each belongs to the provider from now on.

    Raises
    ------
    CascadeError
        If there is none.

    Notes
    -----
    The response has the cost as its hidden parameter ``response_cost``, for which LiteLLM accounts, and headers
    of a served cascade as ``additional_headers``, before which LiteLLM writes ``llm_provider-``. A cascade that
    abstains has no content, and a ``refusal`` in the message's ``provider_specific_fields``.
    """

    def __init__(self, cascades: Mapping[str, Cascade]) -> None:
        super().__init__()
        if not isinstance(cascades, Mapping) or not cascades:
            raise bad_value("cascades", cascades, "give a Cascade under each name that clients ask for")
        for cascade in cascades.values():
            if not isinstance(cascade, Cascade):
                raise bad_value("cascades", cascade, "give a Cascade under each name that clients ask for")
        self._cascades = {name: BackgroundCascade(cascade) for name, cascade in cascades.items()}

    def completion(self, model: str, messages: list[Any], optional_params: Any = None, **_: Any) -> ModelResponse:  # type: ignore[override]
        """An answer."""
        background = self._checked(model, optional_params)
        try:
            return _response(background.answer(messages), model, background.cascade)
        except Exception as error:
            raise _told(error) from error

    async def acompletion(  # type: ignore[override]
        self, model: str, messages: list[Any], optional_params: Any = None, **_: Any
    ) -> ModelResponse:
        """An answer."""
        background = self._checked(model, optional_params)
        try:
            return _response(await background.answer_async(messages), model, background.cascade)
        except Exception as error:
            raise _told(error) from error

    def streaming(  # type: ignore[override]
        self, model: str, messages: list[Any], optional_params: Any = None, **_: Any
    ) -> Iterator[GenericStreamingChunk]:
        """The whole answer as one chunk, since nothing can be sent before the decision."""
        yield _chunk(self.completion(model, messages, optional_params))

    async def astreaming(  # type: ignore[override]
        self, model: str, messages: list[Any], optional_params: Any = None, **_: Any
    ) -> AsyncIterator[GenericStreamingChunk]:
        """The whole answer as one chunk, since nothing can be sent before the decision."""
        yield _chunk(await self.acompletion(model, messages, optional_params))

    def close(self) -> None:
        """Wait for the queries under way, and close the cascades."""
        for background in self._cascades.values():
            background.close()

    def _checked(self, model: str, optional_params: Any) -> BackgroundCascade:
        try:
            # among them are settings of LiteLLM's own, so unknown ones pass
            check_fields({name: value for name, value in (optional_params or {}).items() if value is not None})
            if model not in self._cascades:
                raise Refused(404, f"there is no cascade {model!r}; there are {', '.join(self._cascades)}")
        except Refused as error:
            raise _told(error) from None
        return self._cascades[model]


def _response(result: Result, model: str, cascade: Cascade) -> ModelResponse:
    fields = {"refusal": ABSTAINED} if result.answer is None else None
    message = Message(content=result.answer, role="assistant", provider_specific_fields=fields)
    choice = Choices(finish_reason="stop", index=0, message=message)
    response = ModelResponse(id=f"chatcmpl-{result.query}", model=model, choices=[choice])
    response._hidden_params["additional_headers"] = headers_of(result, cascade.policy_id)
    if not math.isnan(result.cost):
        response._hidden_params["response_cost"] = result.cost
    return response


def _chunk(response: ModelResponse) -> GenericStreamingChunk:
    message = response.choices[0].message
    return GenericStreamingChunk(
        text=message.content or "",
        is_finished=True,
        finish_reason="stop",
        usage=None,
        index=0,
        tool_use=None,
        provider_specific_fields=message.provider_specific_fields,
    )


def _told(error: Exception) -> CustomLLMError:
    """The error as LiteLLM passes it on: what a client may see."""
    if isinstance(error, CascadeError):
        refusal = refusal_of(error)
        return CustomLLMError(refusal.status, str(refusal))
    return CustomLLMError(500, "the cascade failed")
