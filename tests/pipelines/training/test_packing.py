"""Packing, mixing and the middle read last."""

from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pipelines import artifacts
from pipelines.errors import UserError
from pipelines.training.middle import rearranged, sentinels
from pipelines.training.mixing import Source, drawn, sources
from pipelines.training.packing import best_fit, keep_apart, pack
from pipelines.training.rows import IGNORED, Encoded
from pipelines.training.trainer import Padding, labelled_loss
from tests.conftest import tiny_tokenizer


def row(ids: list[int]) -> Encoded:
    return Encoded(ids, list(ids))


def adapted() -> peft.PeftModel:
    torch.manual_seed(0)
    shape = LlamaConfig(vocab_size=60, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    model = peft.get_peft_model(LlamaForCausalLM(shape), peft.LoraConfig(r=2, target_modules=["q_proj"]))
    assert isinstance(model, peft.PeftModel)
    return model


def test_every_row_is_in_one_block_and_none_is_over_full() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        lengths = rng.integers(1, 65, size=int(rng.integers(1, 200))).tolist()
        bins = best_fit(lengths, 64)
        assert sorted(index for each in bins for index in each) == list(range(len(lengths)))
        assert all(sum(lengths[index] for index in each) <= 64 for each in bins)
        assert len(bins) <= first_fit(lengths, 64)


def first_fit(lengths: list[int], capacity: int) -> int:
    """How many bins it takes to put each where there is room first."""
    rooms: list[int] = []
    for length in lengths:
        place = next((number for number, room in enumerate(rooms) if room >= length), None)
        if place is None:
            rooms.append(capacity - length)
        else:
            rooms[place] -= length
    return len(rooms)


def test_a_row_is_put_where_least_room_is_left() -> None:
    assert best_fit([6, 5, 3, 4], 10) == [[0, 3], [1, 2]]
    assert best_fit([], 10) == []


def test_a_block_has_its_rows_in_order_and_predicts_no_first_token() -> None:
    (block,) = pack([row([1, 2, 3]), row([4, 5])], 8)
    assert block.ids == [1, 2, 3, 4, 5]
    assert block.labels == [IGNORED, 2, 3, IGNORED, 5]
    assert block.positions == [0, 1, 2, 0, 1]


def test_packed_rows_cost_what_they_cost_alone() -> None:
    model = adapted().eval()
    rows = [row([7, 8, 9, 10, 11]), row([20, 21, 22]), row([30, 31, 32, 33])]
    losses = [float(labelled_loss(model, torch.tensor([each.ids]), torch.tensor([each.labels]))) for each in rows]
    batch = Padding(0)([vars(block) | {"input_ids": block.ids} for block in pack(rows, 8)])
    packed = labelled_loss(model, batch["input_ids"], batch["labels"], positions=batch["positions"])
    counts = [len(each.ids) - 1 for each in rows]
    assert batch["input_ids"].shape == (2, 8)
    assert float(packed) == pytest.approx(np.average(losses, weights=counts), abs=1e-5)


def test_a_model_that_mixes_packed_texts_is_refused() -> None:
    model = adapted()
    keep_apart(model, "pretrain")
    decoder = model.get_base_model().get_decoder()
    forward = decoder.forward
    decoder.forward = lambda position_ids=None, **inputs: forward(**inputs)
    with pytest.raises(UserError, match=r"pretrain\.packing to false"):
        keep_apart(model, "pretrain")


def test_an_epoch_reads_every_source_by_its_weight_and_the_same_again() -> None:
    found = [Source("a", [f"a{n}" for n in range(100)], 2.0), Source("b", [f"b{n}" for n in range(200)], 0.5, 1.0)]
    texts = drawn(found, seed=1, epoch=0)
    assert sorted(text for text, _ in texts if text[0] == "a") == sorted([f"a{n}" for n in range(100)] * 2)
    of_b = [text for text, middle in texts if text[0] == "b" and middle]
    assert 70 < len(of_b) < 130 and len(set(of_b)) == len(of_b)
    assert drawn(found, seed=1, epoch=0) == texts != drawn(found, seed=1, epoch=1)


def test_files_of_a_folder_are_sources_and_each_needs_a_weight(tmp_path: Path) -> None:
    artifacts.write_rows(tmp_path / "general.jsonl", [{"text": "one"}, {"text": "two"}])
    artifacts.write_table(tmp_path / "code.parquet", [{"text": "x = 1"}])
    (tmp_path / "README.md").write_text("No source.")
    weights = {"corpus": 1.0, "general": 0.5, "code": 0.0}
    found = {each.name: each for each in sources(["own"], tmp_path, weights, {"code": 0.9})}
    assert (found["corpus"].texts, found["general"].texts, found["code"].middle) == (["own"], ["one", "two"], 0.9)
    with pytest.raises(UserError, match="does not say how often to read 'code'"):
        sources(["own"], tmp_path, {"corpus": 1.0, "general": 1.0}, {})
    with pytest.raises(UserError, match="fill_in_middle names 'cod'"):
        sources(["own"], tmp_path, weights, {"cod": 1.0})
    artifacts.write_rows(tmp_path / "general.jsonl", [{"text": "one"}, {"words": "two"}])
    with pytest.raises(UserError, match="row 2 has no text"):
        sources(["own"], tmp_path, weights, {})


def test_a_text_with_its_middle_last_is_whole() -> None:
    tok = tiny_tokenizer()
    with pytest.raises(UserError, match="no tokens for it"):
        sentinels(tok)
    tok.add_special_tokens({"additional_special_tokens": ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"]})
    marks, rng = sentinels(tok), np.random.default_rng(0)
    text = "The bell is rung twice before the sluice is opened."
    orders = {order(tok, rearranged(tok, text, marks, rng), text) for _ in range(20)}
    assert orders == {"psm", "spm"}


def order(tok: PreTrainedTokenizerFast, ids: list[int], text: str) -> str:
    """Tell in which order the parts were put, once they are found to make the text."""
    before, after = tok.decode(ids).split("<fim_middle>")
    prefix, suffix = before.removeprefix("<fim_prefix>").split("<fim_suffix>")
    if prefix + after + suffix == text and not before.startswith("<fim_prefix><fim_suffix>"):
        return "psm"
    assert prefix == "" and after + suffix == text
    return "spm"
