"""A teacher behind an OpenAI-compatible server: vLLM, Ollama or a cloud provider.

A bounded number of calls runs concurrently. Transient errors (429, 5xx, timeouts, dropped connections, malformed
bodies) are retried with exponential backoff and full jitter (Brooker 2015, "Exponential backoff and jitter"); when the
server asks for a pause, all calls pause. A permanent error or a truncated answer becomes a failure with its reason; a
server that fails every call ends the work. Every answer is charged, used or not: the usage that the server reports, or
else the maximum possible.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import aiohttp

from pipelines.llm import completion, connection
from pipelines.llm.budget import NOT_COVERED, Budget
from pipelines.llm.calls import Answer, Call, Failure, Keep, Reply, after
from pipelines.llm.config import ServedModel
from pipelines.llm.sender import Sender
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import Meter

_TRIES = 10
_FIRST_PAUSE = 0.5  # seconds, doubled with every attempt
_LONGEST_PAUSE = 30.0
_MAX_INITIAL_FAILURES = 8  # failed calls before any success, after which the server is considered broken
_CHARACTERS = 2  # minimum characters per token, to estimate whether a prompt exceeds the context window
_POLL = 0.01  # seconds
_PERMANENT = ("too_long_for_context", "refused", "cut_off", "filtered")
"""Prefixes of failures that a retry within the run cannot resolve."""
_UNUSABLE = ("cut_off", "empty_answer")
_OF_THE_CALL = ("refused", "filtered", *_UNUSABLE)
"""Prefixes of failures that a working server can return."""
_NOT_SENT = (NOT_COVERED, "too_long_for_context")
_REASONING_HINT = (  # the likely cause of unusable answers
    "a thinking model uses max_tokens up before it answers: under teacher.models, switch thinking off with extra_body: "
    "{chat_template_kwargs: {enable_thinking: false}}, or raise the limit with extra_body: {max_tokens: 4096}"
)


class ServedTeacher:
    """A model behind a server."""

    instructed = True
    batch_dependent = False

    def __init__(self, config: ServedModel, seed: int, budget: Budget) -> None:
        """Connect to the model that `config` names.

        Raises:
            UserError: the key is not in the environment, or the server does not answer or rejects the key.
        """
        self.config, self.seed, self.budget = config, seed, budget
        self.answered: Counter[str] = Counter()
        connection.check(config)
        self.sender = Sender(config, seed)
        asyncio.run(self._reach())

    def count_cached(self, what: str, count: int) -> None:
        """Count cached answers as evidence that the model can do this kind of work."""
        self.answered[what] += count

    def answer(self, calls: Sequence[Call], wanted: Mapping[int, str], what: str, keep: Keep) -> None:
        """Answer the wanted calls.

        Raises:
            UserError: the server rejects the key or the model, or fails every call.
        """
        meter = Meter(what, len(wanted))
        try:
            asyncio.run(_Dispatcher(self, calls, wanted, what, meter, keep).run())
        finally:
            meter.close()

    def read(self, raw: str) -> Reply:
        """Parse a chat completion."""
        return completion.reply(completion.parsed(raw))

    async def _reach(self) -> None:
        """Check that the server answers. Other errors are ignored: a server may chat without listing its models."""
        url = f"{self.config.url.rstrip('/')}/models"
        try:
            async with connection.session(self.config) as session, session.get(url) as response:
                status, page = response.status, (await response.read()).decode(errors="replace")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UserError(connection.unreachable(error, self.config)) from error
        if status == 400 and connection.expects_tls(page):
            raise UserError(
                f"The teacher at {self.sender.address} expects TLS; begin its url in teacher.models with https://."
            )
        if status == 401:
            raise self.sender.key_rejected()


class _Dispatcher:
    """Sends one list of calls concurrently, with retries, pauses and the budget."""

    def __init__(
        self,
        teacher: ServedTeacher,
        calls: Sequence[Call],
        wanted: Mapping[int, str],
        what: str,
        meter: Meter,
        keep: Keep,
    ) -> None:
        self.teacher, self.calls, self.wanted, self.what = teacher, calls, wanted, what
        self.meter, self.keep = meter, keep
        self.answered = self.failed = 0
        self.paused_until = 0.0
        self.jitter = random.Random()  # does not affect results

    async def run(self) -> None:
        """Send all wanted calls, at most `max_concurrency` concurrently."""
        queue = iter(self.wanted.items())
        async with connection.session(self.teacher.config) as session:
            workers = [
                asyncio.create_task(self._work(session, queue))
                for _ in range(min(self.teacher.config.max_concurrency, len(self.wanted)))
            ]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, session: aiohttp.ClientSession, queue: Iterator[tuple[int, str]]) -> None:
        for place, key in queue:
            outcome = await self._ask(session, self.calls[place], key)
            self.keep(place, outcome)
            if isinstance(outcome, Answer):
                self.answered += 1
                self.teacher.answered[self.what] += 1
            elif outcome.reason not in _NOT_SENT:
                self.failed += 1
                self._stop_if_failing(outcome)
            budget = self.teacher.budget
            self.meter.step(note=f"{budget.spent:.2f} spent" if self.teacher.config.price else "")

    async def _ask(self, session: aiohttp.ClientSession, call: Call, key: str) -> Answer | Failure:
        """Retry a call until it is answered or fails permanently; an empty answer is retried once."""
        if self._too_long(call):
            return Failure("too_long_for_context")
        failure: Failure | None = None
        for attempt in range(_TRIES):
            await asyncio.sleep(max(0.0, self.paused_until - time.monotonic()))
            outcome = await self._within_budget(session, call, key)
            if outcome is None:
                return failure or Failure(NOT_COVERED)
            if isinstance(outcome, Answer):
                return after(failure, outcome) if failure else outcome
            failure = after(failure, outcome) if failure else outcome
            if failure.reason.startswith(_PERMANENT) or (failure.reason == "empty_answer" and attempt):
                return failure
            await asyncio.sleep(self.jitter.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)))
        return failure or Failure("no_answer")

    async def _within_budget(self, session: aiohttp.ClientSession, call: Call, key: str) -> Answer | Failure | None:
        """Send a call once the budget covers its maximum cost; return None when it never will."""
        budget, max_cost, cost = self.teacher.budget, self.teacher.sender.max_cost(call), 0.0
        while not budget.reserve(max_cost):
            if not budget.open:
                return None
            await asyncio.sleep(_POLL)  # calls in flight may cost less than was reserved
        try:
            outcome = await self.teacher.sender.send(session, call, key)
            cost = outcome.cost
        finally:
            budget.settle(max_cost, cost)
        self.paused_until = max(
            self.paused_until, time.monotonic() + outcome.pause if isinstance(outcome, Failure) else 0.0
        )
        return outcome

    def _too_long(self, call: Call) -> bool:
        context = self.teacher.config.context_tokens
        characters = sum(len(message["content"]) for message in call.messages)
        return context is not None and characters / _CHARACTERS + self.teacher.sender.form.max_tokens(call) > context

    def _stop_if_failing(self, failure: Failure) -> None:
        """Raise when many calls have failed and none has succeeded.

        Failures that a working server can return do not count once it has answered calls of this kind, cached ones
        included.
        """
        working = failure.reason.startswith(_OF_THE_CALL)
        succeeded = self.teacher.answered[self.what] if working else self.answered
        if succeeded or self.failed < min(_MAX_INITIAL_FAILURES, len(self.wanted)):
            return
        last = f"{failure.reason} ({failure.words})" if failure.words else failure.reason
        raise UserError(
            f"The teacher at {self.teacher.sender.address} failed the first {self.failed} calls, last with: {last}; "
            f"{_REASONING_HINT if failure.reason in _UNUSABLE else f'check if it serves {self.teacher.config.model}'}."
        )
