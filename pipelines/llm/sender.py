"""A single attempt at a call to an OpenAI-compatible server; returns an answer or a failure, with its cost.

Requests are sent with aiohttp directly: the openai client spends 0.7 ms of CPU time on each, half of what 64 concurrent
calls leave. Every answer is charged, used or not: the usage that the server reports, or else the maximum possible.
"""

import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from pipelines.llm import completion, connection
from pipelines.llm.calls import Answer, Call, Failure
from pipelines.llm.config import ServedModel
from pipelines.llm.request import RequestBuilder
from pipelines.runtime import retry_after
from pipelines.runtime.errors import UserError

_PAUSE = 0.5  # seconds, when a server asks for a pause without a duration
_LONGEST_PAUSE = 60.0
_TOO_LONG = ("context length", "context window", "maximum context", "too many tokens", "prompt is too long")
_REJECTS_ALL = (402, 403, 404)
_TRANSIENT = (408, 409, 425, 429)


class Sender:
    """Sends calls to one model."""

    def __init__(self, config: ServedModel, seed: int) -> None:
        """Send to the model that `config` names."""
        self.config, self.form, self.address = config, RequestBuilder(config, seed), connection.shown(config.url)

    def max_cost(self, call: Call) -> float:
        """Return the maximum cost of a call: no tokenizer yields more tokens than the text has bytes."""
        return self._cost(call, None, None)

    def key_rejected(self) -> UserError:
        """Return the error for a rejected key, without the server's message, which may contain part of the key."""
        return UserError(f"The teacher at {self.address} rejects the key; set {self.config.key or 'one'}.")

    async def send(self, session: aiohttp.ClientSession, call: Call, key: str) -> Answer | Failure:
        """Send a call and return its outcome; it is sent again without a field that the server does not support."""
        form = self.form
        while True:
            body = form.body(call)
            try:
                status, headers, raw = await self._post(session, body, "-".join([key, *sorted(form.refused)]))
            except (TimeoutError, aiohttp.ClientPayloadError) as error:  # the server was already generating
                return Failure("timeout" if isinstance(error, TimeoutError) else "connection", cost=self.max_cost(call))
            except (aiohttp.ClientError, OSError, ValueError):
                return Failure("connection")
            if status == 200:
                return self._completed(raw, call)
            message = self._error_message(raw)
            if status in (400, 422):
                form.drop_refused(message)
                if form.body(call) != body:
                    continue
            return self._failed(status, headers, message)

    async def _post(
        self, session: aiohttp.ClientSession, body: dict[str, Any], key: str
    ) -> tuple[int, Mapping[str, str], str]:
        """Send one request and return the status, headers and raw body of the response."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}  # gateways that support it bill once
        url = f"{self.config.url.rstrip('/')}/chat/completions"
        sent = json.dumps(body, ensure_ascii=False).encode()
        async with session.post(url, data=sent, headers=headers) as response:
            content = await response.read()
            return response.status, response.headers, content.decode(json.detect_encoding(content), "replace")

    def _completed(self, raw: str, call: Call) -> Answer | Failure:
        """Return the answer in a successful response, or a failure, with its tokens and cost."""
        body = completion.parsed(raw)
        reply, (prompt, completed) = completion.reply(body), completion.tokens(body)
        took = prompt or 0, completed or 0, self._cost(call, prompt, completed)
        return Answer(raw, *took) if reply.text is not None else Failure(reply.failure or "no_completion", *took)

    def _failed(self, status: int, headers: Mapping[str, str], message: str) -> Failure:
        """Return the failure that an error status means.

        Raises:
            UserError: the key or the model is rejected, so that every other call would fail too.
        """
        if status == 401:
            raise self.key_rejected()
        if status == 407:
            raise UserError(connection.proxy_failed(self.config))
        if status in _REJECTS_ALL:
            raise UserError(f"The teacher at {self.address} rejects all calls: {message or f'status {status}'}.")
        if 400 <= status < 500 and status not in _TRANSIENT:
            long = any(phrase in message.casefold() for phrase in _TOO_LONG)
            return Failure("too_long_for_context" if long else f"refused: {message or f'status {status}'}")
        pause = retry_after.seconds(headers, _PAUSE, _LONGEST_PAUSE) if status in retry_after.STATUSES else 0.0
        return Failure(f"status_{status}", words=message, pause=pause)

    def _error_message(self, raw: str) -> str:
        """Return the server's error message with the key masked."""
        key = connection.api_key(self.config)
        return completion.error_message(raw.replace(key, "***") if key else raw)

    def _cost(self, call: Call, prompt: int | None, completed: int | None) -> float:
        """Return the cost of a call, with the maximum in place of an unknown token count."""
        if self.config.price is None:
            return 0.0
        if prompt is None:
            prompt = sum(len(message["content"].encode()) for message in call.messages)
        return self.config.price.cost(prompt, self.form.max_tokens(call) if completed is None else completed)
