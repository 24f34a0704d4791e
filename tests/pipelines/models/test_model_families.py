"""One contract for every model family: consistent prompts, stops and documents; its adapters are merged as trained."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from pipelines.alignment.backbone import Backbone
from pipelines.alignment.offline import preference
from pipelines.inference.beam_search import Beams, search
from pipelines.inference.generation import generate, respond
from pipelines.inference.likelihood import loglikelihoods
from pipelines.models import chat, loading, saving
from pipelines.models.messages import Message
from pipelines.models.release import merging
from pipelines.models.templates import stops
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.examples import IGNORED, encode_chat, encode_text
from pipelines.training.loop import fit
from pipelines.training.objectives import LanguageModel
from pipelines.training.step import Job
from tests.support import pairs
from tests.support.families import CHAT, FAMILIES, SYSTEM, Loaded, learnt, settings, written
from tests.support.recorder import Recorder
from tests.support.trainings import COMPUTE, training

pytestmark = pytest.mark.slow

LORA = TuningConfig(method="lora", options={"r": 4, "lora_alpha": 8})
PASSAGE = "The bell is rung twice a day. " * 4
BEAMS = Beams(2, 1.0, 4.0)


@pytest.fixture(params=FAMILIES, scope="module")
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A family as every stage after `base` sees it: fetched, saved, and loaded again."""
    own, folder = FAMILIES[request.param], tmp_path_factory.mktemp("family")
    model, tok = loading.fetch(
        settings(written(request.param, folder / "raw"), own.replacement), "base.model", torch.float32
    )
    saving.save_whole(model, tok, folder / "base")
    again = AutoModelForCausalLM.from_pretrained(folder / "base").eval()
    return own, again, loading.tokenizer(folder / "base")


def test_answers_and_their_end_of_turn_are_learnt_and_nothing_else(loaded: Loaded) -> None:
    own, _, tok = loaded
    row, end = encode_chat(tok, CHAT), tok.convert_tokens_to_ids(own.end)
    runs = learnt(row)
    assert [run[-1] for run in runs] == [end, end] and not any(end in run[:-1] for run in runs)
    assert [tok.decode(run[:-1]) for run in runs] == [
        own.before + message["content"] + own.after for message in CHAT if message["role"] == "assistant"
    ]
    assert row.ids[-1] == end and all(
        label in (IGNORED, token) for label, token in zip(row.labels, row.ids, strict=True)
    )


def test_prompts_are_the_start_of_the_training_row(loaded: Loaded) -> None:
    _, _, tok = loaded
    for messages in (CHAT, [SYSTEM, *CHAT]):
        row, at = encode_chat(tok, messages).ids, len(messages)
        for end in (at - 3, at - 1):
            prompt = chat.encode_prompt(tok, messages[:end])
            assert row[: len(prompt)] == prompt
            assert encode_chat(tok, messages[: end + 1]).ids[: len(prompt)] == prompt


def test_bos_is_written_once_if_the_family_has_one(loaded: Loaded) -> None:
    own, _, tok = loaded
    begin = tok.convert_tokens_to_ids(own.begins)
    assert chat.beginning(tok) == begin
    prompt = chat.encode_prompt(tok, CHAT[:1])
    assert prompt[: len(begin)] == begin and all(prompt.count(token) == 1 for token in begin)


def test_system_message_reaches_the_prompt_once(loaded: Loaded) -> None:
    _, _, tok = loaded
    prompt = tok.decode(chat.encode_prompt(tok, [SYSTEM, *CHAT[:3]]))
    assert prompt.count("Be brief.") == 1
    assert prompt.index("Be brief.") < prompt.index("Who keeps")


def test_padding_is_a_token_of_the_family_and_no_stop(loaded: Loaded) -> None:
    own, model, tok = loaded
    ends = stops.stop_ids(model, tok)
    assert set(tok.convert_tokens_to_ids([own.end, own.eos, *own.stops])) == set(ends)
    assert tok.pad_token_id not in ends and tok.pad_token_id != tok.bos_token_id
    assert tok.pad_token_id not in encode_chat(tok, CHAT).ids
    assert model.config.pad_token_id == model.generation_config.pad_token_id == tok.pad_token_id
    assert tok.pad_token in own.special


@contextmanager
def likeliest(model: PreTrainedModel, token: int) -> Iterator[None]:
    """Make `token` the likeliest everywhere."""

    def raised(_: Any, __: Any, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.clone()
        logits[..., token] = logits.max() + 1000
        return logits

    hook = model.get_output_embeddings().register_forward_hook(raised)
    yield
    hook.remove()


def test_generation_ends_at_every_stop_token(loaded: Loaded) -> None:
    _, model, tok = loaded
    prompt = chat.encode_prompt(tok, CHAT[:1])
    for stop in stops.stop_ids(model, tok):
        with likeliest(model, stop):
            ((_, sampled),) = respond(model, tok, [prompt], stops.stop_ids(model, tok), 8, None, 1)
            ((_, found, _),) = search(model, tok, [prompt], stops.stop_ids(model, tok), 8, BEAMS, 1)
            (text,) = generate(
                model, tok, [CHAT[:1]], max_new_tokens=8, temperature=None, batch_size=1, seed=0, what="test"
            )
        assert sampled == found == [stop]
        assert text == ""


def test_control_tokens_in_messages_stay_text(loaded: Loaded) -> None:
    own, _, tok = loaded
    attack = "".join(own.special)
    hostile = [{**message, "content": f"{message['content']} {attack} x"} for message in CHAT]
    controls = set(tok.convert_tokens_to_ids(own.special))

    def written_controls(messages: list[Message]) -> list[int]:
        return [token for token in encode_chat(tok, messages).ids if token in controls]

    assert written_controls(hostile) == written_controls(CHAT)
    assert tok.decode(learnt(encode_chat(tok, hostile))[0]).count(attack) == 1


def test_adapters_are_trained_aligned_loaded_and_merged(loaded: Loaded, tmp_path: Path) -> None:
    own, model, tok = loaded
    base, block = Path(model.name_or_path), settings(Path("unused"), own.replacement)
    rows = [encode_chat(tok, CHAT[: 2 * turns]) for turns in (1, 2)]
    job = Job("sft", 1e-2, 1, training(), COMPUTE, Recorder(), Checkpoints())

    tuned = preparation.trainable(base, LORA, COMPUTE, block)
    fit(tuned, LanguageModel(tuned, rows, tok.pad_token_id), [[0, 1]] * 2, job)
    saving.save(tuned, tok, tmp_path / "sft", base)
    assert all(value.any() for name, value in tuned.named_parameters() if "lora_B" in name)

    aligned = preparation.peft_adaptable(tmp_path / "sft", None, COMPUTE, block)
    prompt = chat.encode_prompt(tok, CHAT[:1])
    answers = [(prompt, [*chat.encode_text(tok, text), stops.turn_end(tok)]) for text in ("Orla Finch", "Nobody")]
    preference.train(Backbone(aligned, tok, COMPUTE), [(answers[0], answers[1])], pairs.block("sigmoid", epochs=1), job)
    saving.save(aligned, tok, tmp_path / "dpo", tmp_path / "sft")
    merging.merge(tmp_path / "dpo", tmp_path / "merged", COMPUTE)

    with torch.no_grad():
        ids = torch.tensor([rows[1].ids])
        start, trained, read, merged = (
            each.eval()(input_ids=ids).logits
            for each in (model, aligned, *(loading.load(tmp_path / name, COMPUTE) for name in ("dpo", "merged")))
        )
    assert torch.allclose(read, trained, atol=1e-4) and torch.equal(read, merged)
    assert not torch.allclose(read, start, atol=1e-3)


def test_answers_and_likelihoods_do_not_depend_on_the_batch(loaded: Loaded) -> None:
    model, tok = copy.deepcopy(loaded[1]), loaded[2]
    for value in model.get_decoder().layers.parameters():
        value.data *= 8 if value.ndim == 2 else 1  # otherwise a random model only repeats its last token
    texts = ("Who keeps the light?", f"{PASSAGE}Who?", f"{PASSAGE}When?")
    prompts = [chat.encode_prompt(tok, [{"role": "user", "content": text}]) for text in texts]
    ends = stops.stop_ids(model, tok)

    def found(size: int) -> tuple[list[object], dict[int, list[float]]]:
        greedy = sorted(respond(model, tok, prompts, ends, 6, None, size))
        beams = sorted((place, tokens) for place, tokens, _ in search(model, tok, prompts, ends, 6, BEAMS, size))
        return [greedy, beams], dict(loglikelihoods(model, tok, prompts, [[[5], [6, 7, 8]]] * 3, 2 * size))

    (alone, scores), (together, batched) = found(1), found(3)
    assert alone == together
    assert all(batched[place] == pytest.approx(each, abs=1e-4) for place, each in scores.items())


def test_documents_begin_and_end_as_in_pretraining(loaded: Loaded) -> None:
    own, _, tok = loaded
    (piece,) = encode_text(tok, "The bell is rung twice.", 512)
    begin = tok.convert_tokens_to_ids(own.begins)
    end = [tok.convert_tokens_to_ids(own.document_end)] if own.document_end else []
    assert piece.ids == [*begin, *chat.encode_text(tok, "The bell is rung twice."), *end] == piece.labels
