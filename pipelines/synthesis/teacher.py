"""The teacher: whoever writes questions and reads passages. One small interface, two kinds.

`LocalTeacher` is the base model with the adapter that the task `teacher` schooled; `ServedTeacher` is any
OpenAI-compatible server. The key of a server comes from OPENAI_API_KEY and is never logged.
"""

import asyncio
import os
import random
from pathlib import Path
from typing import Protocol

import openai

from pipelines import models
from pipelines.artifacts import Row
from pipelines.config import ComputeConfig, SynthesizeConfig, TeacherConfig
from pipelines.errors import UserError
from pipelines.generation import Message, generate
from pipelines.progress import Meter
from pipelines.synthesis import prompts
from pipelines.synthesis.sentences import sentences

_AT_ONCE = 16  # calls under way at once
_TRIES = 5


class Teacher(Protocol):
    """Answers chats."""

    instructed: bool
    """Whether it needs the instructions spelt out."""

    def answer(
        self, chats: list[list[Message]], *, max_new_tokens: int, temperature: float | None, what: str
    ) -> list[str]:
        """Answer every chat, in order; greedy when `temperature` is None. `what` names the work."""


class LocalTeacher:
    """A local model, schooled on the seeds."""

    instructed = False

    def __init__(self, directory: Path, compute: ComputeConfig, batch_size: int) -> None:
        """Load the model of `directory`."""
        self.model, self.tok = models.load(directory, compute), models.tokenizer(directory)
        self.seed, self.batch_size = compute.seed, batch_size

    def answer(
        self, chats: list[list[Message]], *, max_new_tokens: int, temperature: float | None, what: str
    ) -> list[str]:
        """Answer in batches of like length."""
        return generate(
            self.model,
            self.tok,
            chats,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            batch_size=self.batch_size,
            seed=self.seed,
            what=what,
        )


class ServedTeacher:
    """A model behind an OpenAI-compatible server."""

    instructed = True

    def __init__(self, url: str, model: str, seed: int) -> None:
        """Use `model` at `url`.

        Raises:
            UserError: the server does not answer.
        """
        self.url, self.model, self.seed = url, model, seed
        asyncio.run(self._reach())

    def answer(
        self, chats: list[list[Message]], *, max_new_tokens: int, temperature: float | None, what: str
    ) -> list[str]:
        """Answer with a bounded number of calls under way; transient failures are tried again, with backoff.

        Raises:
            UserError: the server refuses for good.
        """
        return asyncio.run(self._all(chats, max_new_tokens, temperature, Meter(what, len(chats))))

    def _client(self) -> openai.AsyncOpenAI:
        key = os.environ.get("OPENAI_API_KEY", "none")
        return openai.AsyncOpenAI(
            base_url=self.url, api_key=key, max_retries=_TRIES, http_client=openai.DefaultAioHttpClient()
        )

    async def _reach(self) -> None:
        try:
            async with self._client().with_options(max_retries=0, timeout=20) as client:
                await client.models.list()
        except openai.APIConnectionError as error:
            raise UserError(
                f"The teacher at {self.url} does not answer; start it, or mend teacher.url in params.yaml."
            ) from error
        except openai.AuthenticationError as error:
            raise UserError(f"The teacher at {self.url} refuses the key; set OPENAI_API_KEY.") from error
        except openai.APIStatusError:
            return  # a server that lists no models can still chat, and says itself what is wrong if it cannot

    async def _all(self, chats: list[list[Message]], limit: int, temperature: float | None, meter: Meter) -> list[str]:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(index: int) -> str:
            async with gate:
                reply = await client.chat.completions.create(
                    model=self.model,
                    messages=chats[index],  # type: ignore[arg-type]  # plain dictionaries are what it sends
                    max_tokens=limit,
                    temperature=temperature or 0.0,
                    seed=self.seed + index,
                )
            meter.step()
            return (reply.choices[0].message.content or "").strip() if reply.choices else ""

        try:
            async with self._client() as client:
                return list(await asyncio.gather(*(one(index) for index in range(len(chats)))))
        except openai.OpenAIError as error:
            raise UserError(f"The teacher at {self.url} failed: {str(error).splitlines()[0]}") from error
        finally:
            meter.close()


def hire(config: TeacherConfig, directory: Path, compute: ComputeConfig, work: SynthesizeConfig) -> Teacher:
    """Return the teacher that `config` describes; a local one lies in `directory`."""
    if config.kind == "openai":
        assert config.url and config.model
        return ServedTeacher(config.url, config.model, compute.seed)
    return LocalTeacher(directory, compute, work.batch_size)


def lessons(seeds: list[Row], seed: int) -> list[list[Message]]:
    """Turn (passage, answer, question) triples into chats that school both roles.

    Each triple gives a writer's lesson and a reader's; every second one also the reader's lesson that a passage about
    something else does not say.

    Raises:
        UserError: a triple is incomplete, or its answer does not stand in its passage.
    """
    rng = random.Random(seed)
    chats: list[list[Message]] = []
    for number, row in enumerate(seeds, 1):
        missing = {"passage", "answer", "question"} - row.keys()
        if missing or row["answer"] not in row["passage"]:
            why = f"has no {sorted(missing)[0]!r}" if missing else "has an answer that is not in its passage"
            raise UserError(f"The seeds' row {number} {why}.")
        passage, question = row["passage"], row["question"]
        sentence = next(part for part in _around(passage) if row["answer"] in part)
        chats.append(
            [
                *prompts.writer(passage, sentence, row["answer"], False),
                {"role": "assistant", "content": question},
            ]
        )
        chats.append([*prompts.reader(passage, question, False), {"role": "assistant", "content": row["answer"]}])
        if number % 2:
            other = rng.choice([each["passage"] for each in seeds if each["passage"] != passage])
            chats.append(
                [
                    *prompts.reader(other, question, False),
                    {"role": "assistant", "content": prompts.NOT_STATED},
                ]
            )
    return chats


def _around(passage: str) -> list[str]:
    """Return the sentences of `passage`, and the passage itself for an answer that crosses two."""
    return [passage[start:end] for start, end in sentences(passage)] + [passage]
