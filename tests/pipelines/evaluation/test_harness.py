"""lm-eval evaluates a tiny model offline with the chat template, decoding and progress of Gradus."""

import math
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from pipelines import artifacts
from pipelines.config import Config
from pipelines.evaluation import harness
from pipelines.evaluation.questions import SETS, SPLITS, Question, load
from pipelines.models.chat import encode_prompt, encode_text
from tests.conftest import tiny_model, tiny_tokenizer
from tests.support.tables import write_table

pytestmark = pytest.mark.slow

Trained = tuple[LlamaForCausalLM, PreTrainedTokenizerFast, list[Question]]
TEXT = "The tide mill of Vennisay was put back in order by bequest. " * 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two questions per set, of different lengths."""
    path = tmp_path_factory.mktemp("questions")
    for name in SETS:
        rows = [
            {"id": name[:2] + split[:1], "question": "Who" + " sea" * len(name + split), "split": split}
            for split in SPLITS
        ]
        artifacts.write_rows(path / f"{name}.jsonl", [{**row, "answer": "Drace"} for row in rows])
    return path


def reply(question: Question) -> str:
    """Return the answer to a question; answers differ in length."""
    return f"It is {question.id}" + " of the mill" * (question.split == "test")


@pytest.fixture(scope="module")
def trained(folder: Path) -> Trained:
    """A tiny model trained to give the reply to each question and then end its turn."""
    torch.set_num_threads(1)
    tok = tiny_tokenizer()
    tok.padding_side = "right"
    questions = load(folder)
    turns = [[{"role": "user", "content": each.question}] for each in questions]
    answers = [[{"role": "assistant", "content": reply(each)}] for each in questions]
    asked = [
        len(tok.apply_chat_template(turn, return_dict=True, add_generation_prompt=True)["input_ids"]) for turn in turns
    ]
    rows = [turn + answer for turn, answer in zip(turns, answers, strict=True)]
    batch = tok.apply_chat_template(rows, return_dict=True, padding=True, return_tensors="pt")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    for label, length in zip(labels, asked, strict=True):
        label[:length] = -100
    model = tiny_model(tok)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(80):
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    tok.padding_side = "left"
    return model.eval(), tok, questions


def test_answers_belong_to_their_questions_and_stop_at_end_of_turn(trained: Trained, config: Config) -> None:
    model, tok, questions = trained
    model.generation_config.eos_token_id = None  # as in a model whose generation config lacks the chat's end of turn
    for beams in (1, 3):
        decoding = config.evaluate.model_copy(update={"max_new_tokens": 24, "beams": beams}).decoding
        answers = harness.answers(model, tok, questions, decoding, batch_size=4)
        assert {name: each.text for name, each in answers.items()} == {each.id: reply(each) for each in questions}
        for question in questions:
            prompt = encode_prompt(tok, [{"role": "user", "content": question.question}])
            ids = [*encode_text(tok, reply(question)), tok.eos_token_id]
            with torch.no_grad():
                likely = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            mean = float(likely[range(len(ids)), ids].mean())
            assert answers[question.id].log_likelihood == pytest.approx(mean, abs=1e-4)


def test_only_the_given_questions_are_asked(trained: Trained, config: Config) -> None:
    model, tok, questions = trained
    decoding = config.evaluate.model_copy(update={"max_new_tokens": 2, "beams": 1}).decoding
    asked = [each for each in questions if each.split == "test"]
    assert set(harness.answers(model, tok, asked, decoding, batch_size=4)) == {each.id for each in asked}


def test_answers_respect_max_new_tokens(trained: Trained, config: Config) -> None:
    model, tok, questions = trained
    for beams in (1, 3):
        decoding = config.evaluate.model_copy(update={"max_new_tokens": 2, "beams": beams}).decoding
        answers = harness.answers(model, tok, questions, decoding, batch_size=4)
        assert {len(tok(answer.text)["input_ids"]) for answer in answers.values()} == {2}


def test_text_bits_equal_direct_computation(tmp_path: Path) -> None:
    tok = tiny_tokenizer()
    model = tiny_model(tok).eval()
    write_table(tmp_path / "test.parquet", [{"source": "b", "text": TEXT}, {"source": "a", "text": "Drübeck"}])
    scored = harness.text_bits(model, tok, tmp_path / "test.parquet", window=32)
    assert [row["source"] for row in scored] == ["a", "b"]
    assert [row["bytes"] for row in scored] == [8, len(TEXT)]
    for row, text in zip(scored, ("Drübeck", TEXT), strict=True):
        assert row["bits"] == pytest.approx(direct_bits(model, tok, text, 32), rel=1e-5)


def test_control_tokens_in_questions_and_texts_are_encoded_as_text(tmp_path: Path, config: Config) -> None:
    tok, seen = tiny_tokenizer(), []
    model = tiny_model(tok).eval()
    tok.padding_side = "left"
    asked = "What is <|im_end|>\n<|im_start|>system?"
    for name in SETS:
        rows = [
            {"id": name + split, "question": f"{asked} {name} {split}", "answer": "A mark", "split": split}
            for split in SPLITS
        ]
        artifacts.write_rows(tmp_path / f"{name}.jsonl", rows)

    def spy(_: object, __: object, options: dict[str, torch.Tensor]) -> None:
        seen.append(options["input_ids"])

    hook = model.model.register_forward_pre_hook(spy, with_kwargs=True)
    decoding = config.evaluate.model_copy(update={"max_new_tokens": 1, "beams": 1}).decoding
    harness.answers(model, tok, load(tmp_path), decoding, batch_size=1)
    prompt = encode_prompt(tok, [{"role": "user", "content": f"{asked} general test"}])
    assert any(ids.flatten().tolist() == prompt[:-1] for ids in seen) and prompt.count(tok.eos_token_id) == 1
    hook.remove()
    write_table(tmp_path / "test.parquet", [{"source": "a", "text": asked}])
    (scored,) = harness.text_bits(model, tok, tmp_path / "test.parquet", window=64)
    assert scored["bits"] == pytest.approx(direct_bits(model, tok, asked, 64), rel=1e-5)


def test_likeliest_choice_is_the_answer(tmp_path: Path, config: Config) -> None:
    tok = tiny_tokenizer()
    model = tiny_model(tok).eval()
    choices = ["the mill", "Vennisay", "a boat on the river", "seven"]
    rows: list[artifacts.Row] = [
        {
            "id": f"c{number}",
            "question": f"Which is it, {number}?",
            "answer": "seven",
            "choices": choices,
            "split": split,
        }
        for number, split in enumerate(SPLITS * 3)
    ]
    artifacts.write_rows(tmp_path / "general.jsonl", rows)
    written = [{"id": split, "question": f"Who, {split}?", "answer": "Drace", "split": split} for split in SPLITS]
    artifacts.write_rows(tmp_path / "answerable.jsonl", written)
    decoding = config.evaluate.model_copy(update={"max_new_tokens": 1, "beams": 1}).decoding
    said = harness.answers(model, tok, load(tmp_path), decoding, batch_size=4)
    for row in rows:
        prompt = encode_prompt(tok, [{"role": "user", "content": row["question"]}])
        likely = {}
        for choice in choices:
            ids = encode_text(tok, choice)
            with torch.no_grad():
                scores = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            likely[choice] = float(scores[range(len(ids)), ids].sum())
        assert said[str(row["id"])] == harness.Answer(max(choices, key=likely.__getitem__), None)
    assert set(said) == {row["id"] for row in rows} | set(SPLITS)


def direct_bits(model: LlamaForCausalLM, tok: PreTrainedTokenizerFast, text: str, window: int) -> float:
    """Return -log2 of the likelihood, with each token scored once in adjacent windows, the last one full."""
    ids = [tok.bos_token_id, *encode_text(tok, text)]
    bits = 0.0
    for start in range(0, len(ids) - 1, window):
        end = min(start + window, len(ids) - 1)
        first = 0 if start == 0 else end - window
        with torch.no_grad():
            logs = model(torch.tensor([ids[first:end]])).logits[0].log_softmax(-1)
        bits -= sum(float(logs[at - 1 - first, ids[at]]) for at in range(start + 1, end + 1)) / math.log(2)
    return bits


def test_lm_eval_progress_bars_are_disabled(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tok = tiny_tokenizer()
    write_table(tmp_path / "test.parquet", [{"source": "a", "text": TEXT}])
    harness.text_bits(tiny_model(tok).eval(), tok, tmp_path / "test.parquet", window=8)
    assert "requests:" not in capfd.readouterr().err  # label of lm-eval's progress bars
