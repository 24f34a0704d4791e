"""A teacher behind an OpenAI-compatible server: vLLM, Ollama, a cloud.

One kind of request is sent, by aiohttp itself: the openai client spends 0.7 ms of a core on each, half of what 64 calls
at once leave.

Calls go out a bounded number at once. What passes (429, 5xx, timeouts, cut connections, broken bodies) is tried again
with exponential backoff and full jitter (Brooker 2015, "Exponential backoff and jitter"); when the server asks for a
pause, all calls pause. A call that fails for good is a reply with its reason; a server that fails all ends the work.
"""

import asyncio
import json
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import aiohttp

from pipelines.config import ServedModel
from pipelines.errors import UserError
from pipelines.progress import Meter
from pipelines.synthesis.calls import Answer, Call, Keep, Reply

_TRIES = 10
_FIRST_PAUSE = 0.5  # seconds, doubled with every try
_LONGEST_PAUSE = 30.0
_HOPELESS = 8  # calls that fail before any succeeds, from which the server is taken to be at fault
_CHARACTERS = 2  # of a token at the least, to guess by whether a prompt is too long
_TOO_LONG = ("context length", "context window", "maximum context", "too many tokens", "prompt is too long")
_LOOK = 0.01  # seconds
_REFUSED = (403, 404)
_FOR_GOOD = ("too_long_for_context", "refused")
"""Begin the failures that no repetition mends."""
_PAID = ("cut_off", "filtered")
"""Failures of an answer that came whole: it is kept, so that nobody pays for it again."""


class Budget:
    """What may be spent on served calls in one run; None is without limit."""

    def __init__(self, limit: float | None) -> None:
        """Begin with nothing spent."""
        self.limit, self.spent, self.promised, self.open = limit, 0.0, 0.0, 0

    def promise(self, most: float) -> bool:
        """Put the most that a call can cost aside, if there is room for it."""
        if self.limit is not None and self.spent + self.promised + most > self.limit:
            return False
        self.promised += most
        self.open += 1
        return True

    def settle(self, most: float, cost: float) -> None:
        """Take what a call did cost in place of what was put aside."""
        self.open -= 1
        self.promised = self.promised - most if self.open else 0.0
        self.spent += cost


class ServedTeacher:
    """A model behind a server."""

    instructed = True
    neighbours = False

    def __init__(self, config: ServedModel, seed: int, budget: Budget) -> None:
        """Use the model that `config` names.

        Raises:
            UserError: the key is not in the environment, or the server does not answer, or refuses the key.
        """
        self.config, self.seed, self.budget = config, seed, budget
        if config.key is not None and config.key not in os.environ:
            raise UserError(f"The teacher at {config.url} needs a key; set {config.key} in the environment.")
        asyncio.run(self._reach())

    def answer(self, calls: Sequence[Call], wanted: Mapping[int, str], what: str, keep: Keep) -> None:
        """Answer the wanted calls.

        Raises:
            UserError: the server refuses the key or the model, or fails every call.
        """
        meter = Meter(what, len(wanted))
        try:
            asyncio.run(_Asking(self, calls, wanted, meter, keep).all())
        finally:
            meter.close()

    def read(self, raw: str) -> Reply:
        """Read a chat completion."""
        try:
            choice = json.loads(raw)["choices"][0]
            text, ended = choice["message"]["content"], choice.get("finish_reason")
        except (ValueError, LookupError, TypeError, AttributeError):
            return Reply(None, "no_completion")
        if ended in ("length", "content_filter"):
            return Reply(None, "cut_off" if ended == "length" else "filtered")
        return Reply(text.strip()) if isinstance(text, str) and text.strip() else Reply(None, "empty_answer")

    def most(self, call: Call) -> float:
        """Return the most that a call can cost."""
        price = self.config.price
        return 0.0 if price is None else price.cost(_characters(call), call.max_tokens)

    def session(self) -> aiohttp.ClientSession:
        """Return a session of as many connections as calls may be under way. Call within an event loop."""
        key = os.environ[self.config.key] if self.config.key else None
        return aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key}"} if key else None,
            connector=aiohttp.TCPConnector(limit=self.config.at_once),
            timeout=aiohttp.ClientTimeout(total=self.config.timeout_s),
        )

    async def _reach(self) -> None:
        """See whether the server is there. One that lists no models can still chat, and says itself if it cannot."""
        try:
            async with self.session() as session, session.get(f"{self.config.url.rstrip('/')}/models") as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise UserError(
                f"The teacher at {self.config.url} does not answer; start it, or mend its url in teacher.models."
            ) from error
        if status == 401:
            raise UserError(f"The teacher at {self.config.url} refuses the key; set {self.config.key or 'one'}.")


class _Asking:
    """One list of calls on its way."""

    def __init__(
        self, teacher: ServedTeacher, calls: Sequence[Call], wanted: Mapping[int, str], meter: Meter, keep: Keep
    ) -> None:
        self.teacher, self.calls, self.wanted, self.meter, self.keep = teacher, calls, wanted, meter, keep
        self.answered = self.failed = 0
        self.paused_until = 0.0
        self.jitter = random.Random()  # no result depends on it

    async def all(self) -> None:
        """Ask them all, a bounded number at once."""
        left = iter(self.wanted.items())
        async with self.teacher.session() as session:
            workers = [
                asyncio.create_task(self._work(session, left))
                for _ in range(min(self.teacher.config.at_once, len(self.wanted)))
            ]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, session: aiohttp.ClientSession, left: Iterator[tuple[int, str]]) -> None:
        for place, key in left:
            failure = await self._ask(session, place, key)
            if failure is None:
                self.answered += 1
            else:
                self.failed += 1
                self.keep(place, failure)
                self._hope(failure)
            budget = self.teacher.budget
            self.meter.step(note=f"{budget.spent:.2f} spent" if self.teacher.config.price else "")

    async def _ask(self, session: aiohttp.ClientSession, place: int, key: str) -> Reply | None:
        """Ask until there is an answer, which is kept, or a failure for good, which is returned."""
        call = self.calls[place]
        if self._too_long(call):
            return Reply(None, "too_long_for_context")
        most = self.teacher.most(call)
        while not self.teacher.budget.promise(most):
            if not self.teacher.budget.open:
                return Reply(None, "budget")
            await asyncio.sleep(_LOOK)  # what is under way may cost less than was put aside
        cost, failure = 0.0, Reply(None, "no_answer")
        try:
            for attempt in range(_TRIES):
                await asyncio.sleep(max(0.0, self.paused_until - time.monotonic()))
                came = await self._try(session, call, key)
                if isinstance(came, Answer):
                    cost = came.cost
                    self.keep(place, came)
                    return None
                failure = came
                if str(failure.failure).startswith(_FOR_GOOD):
                    break
                await asyncio.sleep(self.jitter.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)))
        finally:
            self.teacher.budget.settle(most, cost)
        return failure

    async def _try(self, session: aiohttp.ClientSession, call: Call, key: str) -> Answer | Reply:
        """Send a call once; return an answer that is one, whatever it says, or why there is none."""
        try:
            status, headers, raw = await self._post(session, call, key)
        except TimeoutError:
            return Reply(None, "timeout")
        except (aiohttp.ClientError, ValueError):
            return Reply(None, "connection")
        if status != 200:
            return self._refused(status, headers, raw)
        reply = self.teacher.read(raw)
        return self._taken(raw) if reply.text is not None or reply.failure in _PAID else reply

    async def _post(self, session: aiohttp.ClientSession, call: Call, key: str) -> tuple[int, Mapping[str, str], str]:
        """Send one call, and return status, headers and body of the answer as it came."""
        config = self.teacher.config
        body: dict[str, Any] = {
            "model": config.model,
            "messages": call.messages,
            "max_tokens": call.max_tokens,
            "temperature": call.temperature or 0.0,
            "seed": self.teacher.seed + call.sample,
        }
        if call.schema is not None and config.structured == "json_schema":
            schema = {"name": "answer", "schema": call.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif call.schema is not None and config.structured == "json_object":
            body["response_format"] = {"type": "json_object"}
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}  # a gateway that knows it bills once
        sent = json.dumps(body, ensure_ascii=False).encode()
        async with session.post(f"{config.url.rstrip('/')}/chat/completions", data=sent, headers=headers) as response:
            return response.status, response.headers, await response.text(errors="replace")

    def _refused(self, status: int, headers: Mapping[str, str], raw: str) -> Reply:
        """Return what a refusal means; a 429 makes all calls pause.

        Raises:
            UserError: the key or the model is refused, which no other call would change.
        """
        config, said = self.teacher.config, _said(raw)
        if status == 401:  # what a server says of a key may hold part of it
            raise UserError(f"The teacher at {config.url} refuses the key; set {config.key or 'one'}.")
        if status in _REFUSED:
            raise UserError(f"The teacher at {config.url} refuses: {said or f'status {status}'}.")
        if status == 400:
            long = any(words in said.casefold() for words in _TOO_LONG)
            return Reply(None, "too_long_for_context" if long else f"refused: {said}")
        if status == 429:
            self.paused_until = max(self.paused_until, time.monotonic() + _wait(headers))
        return Reply(None, f"status_{status}")

    def _taken(self, raw: str) -> Answer:
        """Return an answer with what it took, as far as the server tells."""
        try:
            used = json.loads(raw)["usage"]
            prompt, completion = int(used["prompt_tokens"]), int(used["completion_tokens"])
        except (ValueError, LookupError, TypeError):
            prompt = completion = 0
        price = self.teacher.config.price
        return Answer(raw, prompt, completion, price.cost(prompt, completion) if price else 0.0)

    def _too_long(self, call: Call) -> bool:
        most = self.teacher.config.context_tokens
        return most is not None and _characters(call) / _CHARACTERS + call.max_tokens > most

    def _hope(self, failure: Reply) -> None:
        """End the work when nothing has succeeded and much has failed."""
        server = failure.failure not in ("budget", "too_long_for_context")
        if server and not self.answered and self.failed >= min(_HOPELESS, len(self.wanted)):
            raise UserError(
                f"The teacher at {self.teacher.config.url} failed the first {self.failed} calls, at last with: "
                f"{failure.failure}; see whether it serves {self.teacher.config.model}."
            )


def _characters(call: Call) -> int:
    return sum(len(message["content"]) for message in call.messages)


def _said(raw: str) -> str:
    """Return what a server said of its refusal, in one line."""
    try:
        said = json.loads(raw)["error"]["message"]
    except (ValueError, LookupError, TypeError):
        said = raw
    return str(said).strip().split("\n")[0][:200].rstrip(".")


def _wait(headers: Mapping[str, str]) -> float:
    """Return the seconds that a server asks to be left alone for."""
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return min(float(headers[name]) * scale, 60.0)
        except (KeyError, ValueError):
            continue
    return _FIRST_PAUSE
