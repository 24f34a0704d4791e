"""The teachers by role: who writes questions, who reads passages, who judges. What they answer is kept in the store.

A model is local (schooled on the seeds, or one that follows instructions) or served; `Kept` asks it for what the store
does not hold yet.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.inference.continuous import respond_continuously
from pipelines.inference.generation import respond_to
from pipelines.llm.budget import Budget
from pipelines.llm.cache import ResponseCache
from pipelines.llm.calls import Answer, Call, Failure, Keep, Reply, Teacher, key
from pipelines.llm.config import FinetunedModel, LocalModel, ServedModel, TeacherConfig
from pipelines.llm.openai import ServedTeacher
from pipelines.llm.thinking import answer_of
from pipelines.models import devices, loading
from pipelines.models.chat import encode_prompt
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import Meter


class LocalTeacher:
    """A model in this process. Batches of like length are planned over all calls, so that a crash changes none.

    A `continuous` one makes no batches (`pipelines/inference/continuous.py`): faster on a GPU, and never the same bytes
    twice.
    """

    deterministic = True

    def __init__(
        self,
        model: PreTrainedModel,
        tok: PreTrainedTokenizerBase,
        batch_size: int,
        seed: int,
        *,
        instructed: bool,
        continuous: bool,
    ) -> None:
        """Use a loaded model."""
        self.model, self.tok, self.batch_size, self.seed = model, tok, batch_size, seed
        self.instructed, self.continuous = instructed, continuous
        self.neighbours = not continuous
        longest = getattr(model.config, "max_position_embeddings", None)
        self.context = longest if isinstance(longest, int) else None

    def answer(self, calls: Sequence[Call], wanted: Mapping[int, str], what: str, keep: Keep) -> None:
        """Answer the batches that hold a wanted call, those of one length of answer and one temperature together."""
        meter = Meter(what, len(wanted))
        try:
            for limit, temperature in sorted(
                {(call.max_tokens, call.temperature) for call in calls}, key=lambda kind: (kind[0], kind[1] or 0.0)
            ):
                places = [
                    at for at, call in enumerate(calls) if (call.max_tokens, call.temperature) == (limit, temperature)
                ]
                self._alike(calls, places, wanted, meter, keep)
        finally:
            meter.close()

    def found(self, what: str, count: int) -> None:
        """A local model does not stop at failures."""

    def read(self, raw: str) -> Reply:
        """A local answer is what it says, but for its chain of thought."""
        text = answer_of(raw)
        return Reply(text) if text else Reply(None, "empty_answer")

    def _alike(
        self, calls: Sequence[Call], places: list[int], wanted: Mapping[int, str], meter: Meter, keep: Keep
    ) -> None:
        """Answer the calls at `places`, which allow equally long answers at one temperature."""
        fitting: list[int] = []
        encoded: list[list[int]] = []
        for place in places:
            ids = encode_prompt(self.tok, calls[place].messages)
            if self.context is not None and len(ids) + calls[place].max_tokens > self.context:
                if place in wanted:
                    keep(place, Failure("too_long_for_context"))
                continue
            fitting.append(place)
            encoded.append(ids)
        due = [at for at, place in enumerate(fitting) if place in wanted]
        for at, tokens, certainty in self._respond(encoded, due, calls[places[0]]) if due else ():
            text = self.tok.decode(tokens, skip_special_tokens=True)
            if fitting[at] in wanted:
                keep(fitting[at], Answer(text, len(encoded[at]), len(tokens), certainty=certainty))
                meter.step()

    def _respond(
        self, encoded: list[list[int]], due: list[int], call: Call
    ) -> Iterator[tuple[int, list[int], float | None]]:
        """Yield place, tokens and certainty of the answers to at least the prompts whose place is `due`."""
        limit, temperature = call.max_tokens, call.temperature
        if not self.continuous:
            yield from respond_to(
                self.model, self.tok, encoded, set(due), limit, temperature, self.batch_size, self.seed
            )
            return
        prompts, stop = [encoded[at] for at in due], self.tok.eos_token_id
        answers = respond_continuously(self.model, prompts, stop, limit, temperature, self.seed)
        yield from ((due[at], tokens, certainty) for at, tokens, certainty in answers)


class CachedModel:
    """A teacher whose answers are kept: what the store holds is not asked again."""

    def __init__(self, teacher: Teacher, store: ResponseCache, name: str, revision: str, seed: int) -> None:
        """Ask `teacher`, whose model is `name` at `revision`."""
        self.teacher, self.store, self.name, self.revision, self.seed = teacher, store, name, revision, seed
        self.instructed = teacher.instructed
        self.counts: Counter[str] = Counter()
        self.cost = 0.0

    def ask(self, calls: Sequence[Call], what: str) -> list[Reply]:
        """Answer every call, in order; equal calls are asked once."""
        keys = self._keys(calls)
        answers = {each: answer for each, answer in self.store.find(keys).items() if self._usable(answer)}
        hits = sum(each in answers for each in keys)
        failed: dict[str, Reply] = {}
        first = {each: place for place, each in reversed(list(enumerate(keys)))}
        wanted = {place: each for each, place in sorted(first.items(), key=lambda pair: pair[1]) if each not in answers}

        def keep(place: int, answer: Answer | Failure) -> None:
            self.cost += answer.cost
            if isinstance(answer, Answer):
                self.store.keep(keys[place], self.name, what, answer)
                answers[keys[place]] = answer
                self.counts["paid"] += 1
            else:
                took = answer.prompt_tokens, answer.completion_tokens, answer.cost
                self.store.failed(keys[place], self.name, what, answer.reason, *took)
                failed[keys[place]] = Reply(None, answer.reason)
                self.counts["failed"] += 1

        self.store.used(self.name, what, hits)
        self.counts["kept"] += hits
        self.teacher.found(what, hits)
        if wanted:
            self.teacher.answer(calls, wanted, what, keep)
        lost = Reply(None, "no_answer")
        return [self._read(answers[each]) if each in answers else failed.get(each, lost) for each in keys]

    def _usable(self, answer: Answer) -> bool:
        """Tell whether a stored answer may be served: older stores hold such as were cut off or empty."""
        return self.teacher.deterministic or self._read(answer).text is not None

    def _read(self, answer: Answer) -> Reply:
        return replace(self.teacher.read(answer.raw), certainty=answer.certainty)

    def _keys(self, calls: Sequence[Call]) -> list[str]:
        alone = [key(call, self.name, self.revision, self.seed) for call in calls]
        if not self.teacher.neighbours:
            return alone
        beside = hashlib.sha256("".join(alone).encode()).hexdigest()
        return [key(call, self.name, self.revision, self.seed, beside) for call in calls]


@dataclass(frozen=True)
class Teachers:
    """Who does what; one object where two roles share a model."""

    writer: CachedModel | None
    reader: CachedModel | None
    judge: CachedModel | None

    def counts(self) -> dict[str, float]:
        """Return how many calls were paid, taken from the store, and failed, and what they cost."""
        people = list({id(each): each for each in (self.writer, self.reader, self.judge) if each}.values())
        totals = {
            f"calls_{name}": float(sum(each.counts[name] for each in people)) for name in ("paid", "kept", "failed")
        }
        return totals | {"cost": sum(each.cost for each in people)}


def load_teachers(
    config: TeacherConfig,
    schooled: Path,
    base: BaseModelConfig,
    compute: ComputeConfig,
    batch_size: int,
    store: ResponseCache,
) -> Teachers:
    """Return the teachers; the schooled model lies in `schooled`.

    Raises:
        UserError: a server does not answer, or a model is not to be had.
    """
    roles = config.roles
    names = {name for _, name in roles if name is not None}
    hired = _loaded(config, names, schooled, base, compute, batch_size, store)
    writer, reader, judge = (None if name is None else hired[name] for _, name in roles)
    return Teachers(writer, reader, judge)


def load_judge(
    config: TeacherConfig, base: BaseModelConfig, compute: ComputeConfig, batch_size: int, store: ResponseCache
) -> CachedModel:
    """Return the judge alone.

    Raises:
        UserError: there is none, it cannot judge, or it is not to be had.
    """
    name = config.roles.judge
    if name is None or config.models[name].kind == "finetuned":
        raise UserError("A judge is asked for, but teacher.roles.judge names none that follows instructions; name one.")
    return _loaded(config, {name}, Path(), base, compute, batch_size, store)[name]


def _loaded(
    config: TeacherConfig,
    names: set[str],
    schooled: Path,
    base: BaseModelConfig,
    compute: ComputeConfig,
    batch_size: int,
    store: ResponseCache,
) -> dict[str, CachedModel]:
    """Return the models of these names, each once."""
    budget = Budget(config.budget)
    hired: dict[str, CachedModel] = {}
    for name in sorted(names):
        model = config.models[name]
        if isinstance(model, ServedModel):
            served = ServedTeacher(model, compute.seed, budget)
            more = f" {json.dumps(model.extra_body, sort_keys=True)}" if model.extra_body else ""
            hired[name] = CachedModel(served, store, model.model, f"{model.url} {model.revision}{more}", compute.seed)
        else:
            loaded, tok = _local(model, name, schooled, base, compute)
            big = isinstance(model, LocalModel)
            continuous = big and loaded.device.type == "cuda"
            local = LocalTeacher(loaded, tok, batch_size, compute.seed, instructed=big, continuous=continuous)
            label = model.model if isinstance(model, LocalModel) else "finetuned"
            hired[name] = CachedModel(
                local, store, label, f"{fingerprint(loaded)} {compute.threads} {batch_size}", compute.seed
            )
    return hired


def _local(
    model: LocalModel | FinetunedModel, name: str, schooled: Path, base: BaseModelConfig, compute: ComputeConfig
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if isinstance(model, FinetunedModel):
        return loading.load(schooled, compute), loading.tokenizer(schooled)
    named = base.model_copy(update={"model": model.model, "chat_template": None})
    loaded, tok = loading.fetch(named, f"teacher.models.{name}.model")
    tok.padding_side = "left"
    ready: PreTrainedModel = loaded.to(device=devices.device(compute), dtype=devices.dtype(compute)).eval()
    return ready, tok


def fingerprint(model: PreTrainedModel) -> str:
    """Return the SHA-256 of a model's weights, and of the type they are held in."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
