"""A cascade at work: asks one stage after another, and decides by a policy."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import time
import uuid
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from bayescascade._common.messages import show
from bayescascade.errors import CascadeError, CascadeWarning, bad_value
from bayescascade.runtime.budget import Budget, Call, Spending, StreamBudget, StreamSpending, known_or
from bayescascade.runtime.decision_log import DecisionLog
from bayescascade.runtime.endpoint import Endpoint, Messages, check_messages
from bayescascade.runtime.policy import Policy
from bayescascade.runtime.policy_file import to_json
from bayescascade.runtime.reply import Reply, StageUnusable
from bayescascade.runtime.result import IdTaken, NoAnswer, Result, Step
from bayescascade.runtime.stages import Stage, call_function, check_stages, expected_costs, rejects
from bayescascade.signals.kinds import clip_rounding, off_scale
from bayescascade.signals.responses import number

SPENT = "the budget pays no further call"
STREAM = "the dynamic threshold of the stream's budget"


class Cascade:
    """Runs queries through the stages of a policy.

    Examples
    --------
    >>> import asyncio
    >>> from bayescascade import Cascade, Policy, Reply
    >>> policy = Policy(["small", "human"], [0.8, float("-inf")], "probability")
    >>> def small(messages):
    ...     return Reply("4", confidence=0.9 if "2 + 2" in messages else 0.3, cost=1e-4)
    >>> async def ask(*questions):
    ...     async with Cascade(policy, {"small": small, "human": lambda messages: "56"}) as cascade:
    ...         return [await cascade.answer(question) for question in questions]
    >>> for result in asyncio.run(ask("What is 2 + 2?", "What is 7 x 8?")):
    ...     print(result.answer, "by", result.stage)
    4 by small
    56 by human

    Parameters
    ----------
    policy : Policy
    stages : dict
        For each stage of the policy an `Endpoint`, or a function from messages to an answer, which may be async: a
        person, a queue, a model of your own. It returns a text, or a `Reply` with a
        confidence and a cost. A text alone is enough at the last stage only.
    log : path, optional
        File in which each call is logged, as JSON lines that `read_log` reads. A query that is in it is not run
        again.
    explore : float
        Share of the accepted queries for which the later endpoints are also called, so that the log shows how they
        do. Which ones depends on the query's id alone.
    budget : Budget or StreamBudget, optional
    concurrency : int
        Most calls at a time.

    Raises
    ------
    CascadeError
        If the stages are not those of the policy, an endpoint's confidences are of another kind, a key is not in
        the environment, a budget does not know what a call costs, or the log cannot be used.

    Notes
    -----
    No answer is accepted without a confidence. If a call fails, or its response has no confidence, the endpoint's
    ``on_failure`` says what to do. At the last stage this is an error. A last stage without confidences, which is
    an ``Endpoint(signal=None)`` or a function, is always accepted.
    """

    def __init__(
        self,
        policy: Policy,
        stages: Mapping[str, Stage],
        *,
        log: str | os.PathLike[str] | None = None,
        explore: float = 0.0,
        budget: Budget | StreamBudget | None = None,
        concurrency: int = 8,
    ) -> None:
        if not 0.0 <= number(explore) <= 1.0:
            raise bad_value("explore", explore, "give a share from 0 to 1")
        if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
            raise bad_value("concurrency", concurrency, "give a whole number of at least 1")
        if budget is not None and not isinstance(budget, Budget | StreamBudget):
            raise bad_value("budget", budget, "give a Budget or a StreamBudget")
        self._stages = check_stages(policy, stages)
        self.policy, self.policy_id = policy, _policy_id(policy)
        self._explore = float(explore)
        self._expected = [0.0] * len(self._stages) if budget is None else expected_costs(policy, self._stages)
        self._clients = [stage.client() if isinstance(stage, Endpoint) else None for stage in self._stages]
        self._log = None if log is None else DecisionLog(log, policy.stages, policy.confidence_kind)
        self._spending: Spending | StreamSpending | None = None
        if budget is not None:
            self._spending = budget.start(self._expected, self._past())
        self._slots = asyncio.Semaphore(concurrency)
        self._running: dict[str, tuple[str, asyncio.Task[Result]]] = {}
        self._closed = False
        if self._log is not None and self._log.cut:
            warnings.warn(
                f"the log {log} ended within a query, whose process was stopped as it wrote; its last "
                f"{self._log.cut} bytes were cut off, and that query will be run again",
                CascadeWarning,
                stacklevel=2,
            )

    async def answer(self, messages: Messages, query: str | None = None) -> Result:
        """Run a query, or return what came of it if the log has it.

        Examples
        --------
        >>> import asyncio
        >>> from bayescascade import Cascade, Policy
        >>> cascade = Cascade(Policy(["human"], [float("-inf")], "probability"), {"human": lambda messages: "yes"})
        >>> asyncio.run(cascade.answer("Is it right?", query="q1")).answer
        'yes'

        Parameters
        ----------
        messages : str or list of dict
            A prompt, or the messages of a chat as OpenAI has them.
        query : str, optional
            Its id. Without one the query gets a random id, so a repeated one is run again.

        Returns
        -------
        Result

        Raises
        ------
        NoAnswer
            If a stage failed where it had to decide. The calls are in the log.
        StageUnusable
            If a key is refused or a model unknown. Nothing is logged, so that the query can be run again.
        BudgetSpent
            If there is no money to start with. Nothing is logged.
        IdTaken
            If the id was another prompt's.
        CascadeError
            If the messages or the id are none.
        """
        messages = check_messages(messages)
        query = uuid.uuid4().hex if query is None else query
        if not isinstance(query, str) or not query.strip():
            raise bad_value("query", query, "give its id as a text")
        prompt = _digest(messages)
        if self._closed:
            raise CascadeError("the cascade is closed; make a new one")
        if query in self:
            return self._found(query, prompt)
        if query not in self._running:
            task = asyncio.create_task(self._run(query, messages, prompt))
            self._running[query] = prompt, task
            task.add_done_callback(lambda done: self._ended(query, done))
        known, task = self._running[query]
        if known != prompt:
            raise _other_messages(query)
        # whoever asks twice at once gets one answer; who leaves does not stop what is paid for
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for the queries under way, and let go of the log and of the connections."""
        self._closed = True
        await asyncio.gather(*(task for _, task in self._running.values()), return_exceptions=True)
        for client in self._clients:
            if client is not None:
                await client.close()
        if self._log is not None:
            self._log.close()

    async def __aenter__(self) -> Cascade:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __contains__(self, query: str) -> bool:
        """Whether a query has ended."""
        return self._log is not None and query in self._log.places

    # ---- one query

    async def _run(self, query: str, messages: Messages, prompt: str) -> Result:
        steps: list[Step] = []
        spent = 0.0
        place = 0 if self._spending is None else self._spending.first()
        while True:
            reply, latency = await self._ask(place, messages)
            spent += known_or(reply.cost, self._expected[place])
            decision, reason = self._decide(place, reply, spent)
            steps.append(_step(self.policy.stages[place], reply, latency, decision, reason))
            if decision != "defer":
                break
            place += 1
        if steps[-1].decision == "accept" and _share_of(query) < self._explore:
            steps += await self._explored(place, messages, spent)
        more = {"policy": self.policy_id, "kind": self.policy.confidence_kind, "prompt": prompt}
        lines = [{"query": query, **step.to_line(), **more} for step in steps]
        if self._log is not None:
            await asyncio.to_thread(self._log.append, query, lines)
        return _answered(Result.of(query, steps))

    def _ended(self, query: str, task: asyncio.Task[Result]) -> None:
        del self._running[query]
        if not task.cancelled():
            task.exception()  # seen, also if nobody waits for it any more

    async def _ask(self, place: int, messages: Messages) -> tuple[Reply, float]:
        """A stage's reply, and the seconds it took."""
        reply = Reply()
        if self._spending is not None:
            self._spending.reserve(place)
        stage = self._stages[place]
        try:
            # people take long, and should not keep the models waiting
            async with self._slots if isinstance(stage, Endpoint) else nullcontext():
                start = time.perf_counter()
                if isinstance(stage, Endpoint):
                    reply = await stage.ask(self._clients[place], messages)
                else:
                    reply = self._on_scale(await call_function(stage, messages))
                return reply, time.perf_counter() - start
        finally:
            if self._spending is not None:
                self._spending.settle(place, reply.cost)

    def _on_scale(self, reply: Reply) -> Reply:
        """A function's reply, without a confidence that the policy and readers of the log would refuse."""
        if math.isnan(reply.confidence):
            return reply
        value = float(clip_rounding(reply.confidence, self.policy.confidence_kind))
        if off_scale(value, self.policy.confidence_kind):
            reason = f"the confidence {show(reply.confidence)} is off its scale"
            return replace(reply, confidence=math.nan, reason=reason)
        return replace(reply, confidence=value)

    def _decide(self, place: int, reply: Reply, spent: float) -> tuple[str, str | None]:
        """What becomes of the query, and why if not by the policy."""
        stage, reason = self._stages[place], reply.missing
        if reason is None:
            return self._by_budget(place, reply.confidence, spent)
        if place == len(self._stages) - 1:
            needs_none = not isinstance(stage, Endpoint) or stage.signal is None
            accepted = needs_none and reply.reason is None and reply.answer and not rejects(self.policy)
            return ("accept", None) if accepted else ("fail", reason)
        if isinstance(stage, Endpoint) and stage.on_failure == "fail":
            return "fail", reason
        if self._spending is None or self._spending.affords(place + 1, spent):
            return "defer", reason
        return "fail", f"{reason}, and {SPENT}"

    def _by_budget(self, place: int, value: float, spent: float) -> tuple[str, str | None]:
        """The policy's decision, unless a budget has another."""
        by_policy = self.policy.decide(place, value)
        if self._spending is None:
            return by_policy, None
        decision = self._spending.decide(place, value, by_policy)
        if decision == "defer" and not self._spending.affords(place + 1, spent):
            return self._spending.when_spent, SPENT
        return decision, None if decision == by_policy else STREAM

    async def _explored(self, place: int, messages: Messages, spent: float) -> list[Step]:
        """Calls of the later endpoints that are affordable, for the log alone."""
        steps = []
        for later in range(place + 1, len(self._stages)):
            affordable = self._spending is None or self._spending.affords(later, spent)
            if not affordable or not isinstance(self._stages[later], Endpoint):
                continue
            reply, latency = await self._ask_anyway(later, messages)
            spent += known_or(reply.cost, self._expected[later])
            steps.append(_step(self.policy.stages[later], reply, latency, "explore", reply.reason))
        return steps

    async def _ask_anyway(self, place: int, messages: Messages) -> tuple[Reply, float]:
        try:
            return await self._ask(place, messages)
        except StageUnusable:  # the query has its answer already
            return Reply(reason="the endpoint cannot be used"), math.nan

    # ---- what has ended

    def _found(self, query: str, prompt: str) -> Result:
        lines = [] if self._log is None else self._log.lines_of(query)
        if not lines or lines[0].get("prompt") != prompt:
            raise _other_messages(query)
        return _answered(Result.of(query, [Step.from_line(line) for line in lines]))

    def _past(self) -> list[Call]:
        """The calls in the log, the earliest first."""
        calls = [
            Call(
                line["query"],
                self.policy.stages.index(line["stage"]),
                number(line.get("confidence")),
                number(line.get("cost")),
                _seconds(line.get("time")),
                line["decision"] == "explore",
            )
            for line in ([] if self._log is None else self._log.lines())
        ]
        return sorted(calls, key=lambda call: call.when)


# ---- parts


def _other_messages(query: str) -> IdTaken:
    return IdTaken(f"the query {show(query)} was asked with other messages; give these an id of their own")


def _answered(result: Result) -> Result:
    if result.decision == "fail":
        raise NoAnswer(result)
    return result


def _step(stage: str, reply: Reply, latency: float, decision: str, reason: str | None) -> Step:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Step(stage, reply.confidence, reply.cost, latency, decision, reason, reply.answer, now)


def _seconds(text: Any) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return 0.0


def _digest(messages: Messages) -> str:
    """A short name of messages, that says nothing of them."""
    try:
        text = json.dumps(messages, sort_keys=True)
    except (TypeError, ValueError):
        raise CascadeError("the messages hold what JSON cannot; keep texts, numbers and lists") from None
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _share_of(query: str) -> float:
    """A number in [0, 1) that is a query's own, so that a run that goes on explores the same ones."""
    return int.from_bytes(hashlib.sha256(query.encode("utf-8", "surrogatepass")).digest()[:7]) / 2**56


def _policy_id(policy: Policy) -> str:
    """A name for what a policy decides, whatever its metadata."""
    rule = {**vars(policy), "metadata": {}, "manifest": None}
    return hashlib.sha256(to_json(rule).encode()).hexdigest()[:12]
