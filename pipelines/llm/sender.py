"""Sending a call to an OpenAI-compatible server once: an answer or a failure, with what it cost, comes back.

One kind of request is sent, by aiohttp itself: the openai client spends 0.7 ms of a core on each, half of what 64 calls
at once leave. Every answer costs, used or not: what the server says that it took, or else the most that it can take.
"""

import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from pipelines.llm import completion, connection
from pipelines.llm.calls import Answer, Call, Failure
from pipelines.llm.config import ServedModel
from pipelines.llm.request import Form
from pipelines.runtime import retry_after
from pipelines.runtime.errors import UserError

_PAUSE = 0.5  # seconds, where a server that asks for a pause does not say how long
_LONGEST_PAUSE = 60.0
_TOO_LONG = ("context length", "context window", "maximum context", "too many tokens", "prompt is too long")
_REFUSES_ALL = (402, 403, 404)
_PASSES = (408, 409, 425, 429)


class Sender:
    """Sends calls to one model."""

    def __init__(self, config: ServedModel, seed: int) -> None:
        """Send to the model that `config` names."""
        self.config, self.form, self.address = config, Form(config, seed), connection.shown(config.url)

    def most(self, call: Call) -> float:
        """Return the most that a call can cost: no tokenizer makes more tokens than there are bytes."""
        return self._cost(call, None, None)

    def refuses_key(self) -> UserError:
        """Return the error of a server that refuses the key, without its words, which may hold part of it."""
        return UserError(f"The teacher at {self.address} refuses the key; set {self.config.key or 'one'}.")

    async def send(self, session: aiohttp.ClientSession, call: Call, key: str) -> Answer | Failure:
        """Send a call, again where the server refuses one of its fields, and return what comes of it."""
        form = self.form
        while True:
            body = form.body(call)
            try:
                status, headers, raw = await self._post(session, body, "-".join([key, *sorted(form.refused)]))
            except (TimeoutError, aiohttp.ClientPayloadError) as error:  # the server was at work
                return Failure("timeout" if isinstance(error, TimeoutError) else "connection", cost=self.most(call))
            except (aiohttp.ClientError, OSError, ValueError):
                return Failure("connection")
            if status == 200:
                return self._taken(raw, call)
            words = self._words(raw)
            if status in (400, 422):
                form.learn(words)
                if form.body(call) != body:
                    continue
            return self._refused(status, headers, words)

    async def _post(
        self, session: aiohttp.ClientSession, body: dict[str, Any], key: str
    ) -> tuple[int, Mapping[str, str], str]:
        """Send one call, and return status, headers and body of the answer as it came."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}  # a gateway that knows it bills once
        url = f"{self.config.url.rstrip('/')}/chat/completions"
        sent = json.dumps(body, ensure_ascii=False).encode()
        async with session.post(url, data=sent, headers=headers) as response:
            came = await response.read()
            return response.status, response.headers, came.decode(json.detect_encoding(came), "replace")

    def _taken(self, raw: str, call: Call) -> Answer | Failure:
        """Return an answer, or why it is none, with what it took."""
        body = completion.parsed(raw)
        reply, (prompt, completed) = completion.reply(body), completion.tokens(body)
        took = prompt or 0, completed or 0, self._cost(call, prompt, completed)
        return Answer(raw, *took) if reply.text is not None else Failure(reply.failure or "no_completion", *took)

    def _refused(self, status: int, headers: Mapping[str, str], words: str) -> Failure:
        """Return what a refusal means.

        Raises:
            UserError: the key or the model is refused, which no other call would change.
        """
        if status == 401:
            raise self.refuses_key()
        if status == 407:
            raise UserError(connection.proxy_refuses(self.config))
        if status in _REFUSES_ALL:
            raise UserError(f"The teacher at {self.address} refuses: {words or f'status {status}'}.")
        if 400 <= status < 500 and status not in _PASSES:
            long = any(said in words.casefold() for said in _TOO_LONG)
            return Failure("too_long_for_context" if long else f"refused: {words or f'status {status}'}")
        pause = retry_after.seconds(headers, _PAUSE, _LONGEST_PAUSE) if status in retry_after.STATUSES else 0.0
        return Failure(f"status_{status}", words=words, pause=pause)

    def _words(self, raw: str) -> str:
        """Return what a server says of a refusal, without the key."""
        key = connection.api_key(self.config)
        return completion.words(raw.replace(key, "***") if key else raw)

    def _cost(self, call: Call, prompt: int | None, completed: int | None) -> float:
        """Return what so many tokens cost; the most there can be in the place of a number that is not known."""
        if self.config.price is None:
            return 0.0
        if prompt is None:
            prompt = sum(len(message["content"].encode()) for message in call.messages)
        return self.config.price.cost(prompt, self.form.room(call) if completed is None else completed)
