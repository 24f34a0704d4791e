"""A teacher behind an OpenAI-compatible server: vLLM, Ollama, a cloud.

Calls go out a bounded number at once. What passes (429, 5xx, timeouts, cut connections, broken bodies) is tried again
with exponential backoff and full jitter (Brooker 2015, "Exponential backoff and jitter"); when the server asks for a
pause, all calls pause. A call that fails for good, or whose answer was cut off, is a failure with its reason; a server
that fails all ends the work. Every answer costs, used or not: what the server says that it took, else the most it can.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import aiohttp

from pipelines.llm import completion, connection
from pipelines.llm.budget import Budget
from pipelines.llm.calls import Answer, Call, Failure, Keep, Reply, after
from pipelines.llm.config import ServedModel
from pipelines.llm.sender import Sender
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import Meter

_TRIES = 10
_FIRST_PAUSE = 0.5  # seconds, doubled with every try
_LONGEST_PAUSE = 30.0
_HOPELESS = 8  # calls that fail before any succeeds, from which the server is taken to be at fault
_CHARACTERS = 2  # of a token at the least, to guess by whether a prompt is too long
_LOOK = 0.01  # seconds
_FOR_GOOD = ("too_long_for_context", "refused", "cut_off", "filtered")
"""Begin the failures that no repetition within a run resolves."""
_UNUSABLE = ("cut_off", "empty_answer")
_OF_THE_CALL = ("refused", "filtered", *_UNUSABLE)
"""Begin the failures of a server that works."""
_NOT_SENT = ("budget", "too_long_for_context")
_THINKS = (  # the likely cause
    "a thinking model uses max_tokens up before it answers: under teacher.models, switch thinking off with extra_body: "
    "{chat_template_kwargs: {enable_thinking: false}}, or raise the limit with extra_body: {max_tokens: 4096}"
)


class ServedTeacher:
    """A model behind a server."""

    instructed = True
    neighbours = False
    deterministic = False

    def __init__(self, config: ServedModel, seed: int, budget: Budget) -> None:
        """Use the model that `config` names.

        Raises:
            UserError: the key is not in the environment, or the server does not answer, or refuses the key.
        """
        self.config, self.seed, self.budget = config, seed, budget
        self.answered: Counter[str] = Counter()
        connection.check(config)
        self.sender = Sender(config, seed)
        asyncio.run(self._reach())

    def found(self, what: str, count: int) -> None:
        """Count the answers of the store among those that show that the model can do this kind of work."""
        self.answered[what] += count

    def answer(self, calls: Sequence[Call], wanted: Mapping[int, str], what: str, keep: Keep) -> None:
        """Answer the wanted calls.

        Raises:
            UserError: the server refuses the key or the model, or fails every call.
        """
        meter = Meter(what, len(wanted))
        try:
            asyncio.run(_Asking(self, calls, wanted, what, meter, keep).all())
        finally:
            meter.close()

    def read(self, raw: str) -> Reply:
        """Read a chat completion."""
        return completion.reply(completion.parsed(raw))

    async def _reach(self) -> None:
        """See whether the server is there. One that lists no models can still chat, and says itself if it cannot."""
        url = f"{self.config.url.rstrip('/')}/models"
        try:
            async with connection.session(self.config) as session, session.get(url) as response:
                status, page = response.status, (await response.read()).decode(errors="replace")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UserError(connection.unreachable(error, self.config)) from error
        if status == 400 and connection.expects_tls(page):
            raise UserError(
                f"The teacher at {self.sender.address} speaks TLS; begin its url in teacher.models with https://."
            )
        if status == 401:
            raise self.sender.refuses_key()


class _Asking:
    """One list of calls on its way."""

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
        self.jitter = random.Random()  # no result depends on it

    async def all(self) -> None:
        """Ask them all, a bounded number at once."""
        left = iter(self.wanted.items())
        async with connection.session(self.teacher.config) as session:
            workers = [
                asyncio.create_task(self._work(session, left))
                for _ in range(min(self.teacher.config.max_concurrency, len(self.wanted)))
            ]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, session: aiohttp.ClientSession, left: Iterator[tuple[int, str]]) -> None:
        for place, key in left:
            outcome = await self._ask(session, self.calls[place], key)
            self.keep(place, outcome)
            if isinstance(outcome, Answer):
                self.answered += 1
                self.teacher.answered[self.what] += 1
            elif outcome.reason not in _NOT_SENT:
                self.failed += 1
                self._hope(outcome)
            budget = self.teacher.budget
            self.meter.step(note=f"{budget.spent:.2f} spent" if self.teacher.config.price else "")

    async def _ask(self, session: aiohttp.ClientSession, call: Call, key: str) -> Answer | Failure:
        """Ask until there is an answer or a failure for good; an empty answer is asked for once more."""
        if self._too_long(call):
            return Failure("too_long_for_context")
        failure: Failure | None = None
        for attempt in range(_TRIES):
            await asyncio.sleep(max(0.0, self.paused_until - time.monotonic()))
            came = await self._within_budget(session, call, key)
            if came is None:
                return failure or Failure("budget")
            if isinstance(came, Answer):
                return after(failure, came) if failure else came
            failure = after(failure, came) if failure else came
            if failure.reason.startswith(_FOR_GOOD) or (failure.reason == "empty_answer" and attempt):
                return failure
            await asyncio.sleep(self.jitter.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)))
        return failure or Failure("no_answer")

    async def _within_budget(self, session: aiohttp.ClientSession, call: Call, key: str) -> Answer | Failure | None:
        """Send a call once there is room for the most that it can cost; None where there will be none."""
        budget, most, cost = self.teacher.budget, self.teacher.sender.most(call), 0.0
        while not budget.promise(most):
            if not budget.open:
                return None
            await asyncio.sleep(_LOOK)  # what is under way may cost less than was put aside
        try:
            came = await self.teacher.sender.send(session, call, key)
            cost = came.cost
        finally:
            budget.settle(most, cost)
        self.paused_until = max(self.paused_until, time.monotonic() + came.pause if isinstance(came, Failure) else 0.0)
        return came

    def _too_long(self, call: Call) -> bool:
        most = self.teacher.config.context_tokens
        characters = sum(len(message["content"]) for message in call.messages)
        return most is not None and characters / _CHARACTERS + self.teacher.sender.form.room(call) > most

    def _hope(self, failure: Failure) -> None:
        """End the work when nothing has succeeded and much has failed.

        A server that works is not at fault as long as it has answered other calls of this kind, earlier ones included.
        """
        working = failure.reason.startswith(_OF_THE_CALL)
        succeeded = self.teacher.answered[self.what] if working else self.answered
        if succeeded or self.failed < min(_HOPELESS, len(self.wanted)):
            return
        said = f"{failure.reason} ({failure.words})" if failure.words else failure.reason
        raise UserError(
            f"The teacher at {self.teacher.sender.address} failed the first {self.failed} calls, at last with: {said}; "
            f"{_THINKS if failure.reason in _UNUSABLE else f'see whether it serves {self.teacher.config.model}'}."
        )
