"""Sequence packing, source mixing and fill-in-the-middle."""

from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Lfm2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from pipelines import artifacts
from pipelines.config import Config
from pipelines.models.head import hidden_states
from pipelines.runtime.errors import UserError
from pipelines.training.examples import IGNORED, Example
from pipelines.training.fim import rearrange, sentinels, split_to_fit
from pipelines.training.mixture import Source, sample_epoch, sources
from pipelines.training.objectives import LanguageModel, padded
from pipelines.training.packing import best_fit, check_document_masking, pack
from tasks.pretrain import planned
from tests.conftest import tiny_tokenizer
from tests.support.tables import write_table

pytestmark = pytest.mark.slow


def row(ids: list[int]) -> Example:
    return Example(ids, list(ids))


SIZE = {"vocab_size": 60, "hidden_size": 32}
LAYERS = SIZE | {"intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}


def adapted(shape: PretrainedConfig) -> peft.PeftModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(shape)
    adapter = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules="all-linear"))
    assert isinstance(adapter, peft.PeftModel)
    return adapter


def test_best_fit_places_every_row_once_within_capacity() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        lengths = rng.integers(1, 65, size=int(rng.integers(1, 200))).tolist()
        bins = best_fit(lengths, 64)
        assert sorted(index for each in bins for index in each) == list(range(len(lengths)))
        assert all(sum(lengths[index] for index in each) <= 64 for each in bins)
        assert len(bins) <= first_fit(lengths, 64)


def first_fit(lengths: list[int], capacity: int) -> int:
    """Return the number of bins that first-fit needs."""
    spaces: list[int] = []
    for length in lengths:
        place = next((number for number, space in enumerate(spaces) if space >= length), None)
        if place is None:
            spaces.append(capacity - length)
        else:
            spaces[place] -= length
    return len(spaces)


def test_best_fit_uses_the_fullest_bin_that_fits() -> None:
    assert best_fit([6, 5, 3, 4], 10) == [[0, 3], [1, 2]]
    assert best_fit([], 10) == []


def test_packed_block_keeps_row_order_and_ignores_first_tokens() -> None:
    (block,) = pack([row([1, 2, 3]), row([4, 5])], 8)
    assert block.ids == [1, 2, 3, 4, 5]
    assert block.labels == [IGNORED, 2, 3, IGNORED, 5]
    assert block.positions == [0, 1, 2, 0, 1]


def test_packed_rows_have_the_logits_of_single_rows() -> None:
    model = adapted(LlamaConfig(**LAYERS)).eval()
    rows = [row([7, 8, 9, 10, 11]), row([20, 21, 22]), row([30, 31, 32, 33])]
    blocks = pack(rows, 8)
    assert [len(block.ids) for block in blocks] == [8, 4]
    objective = LanguageModel(model, blocks, pad=0)
    alone = [model(torch.tensor([each.ids])).logits[0, :-1] for each in rows]
    positions = padded([block.positions for block in blocks if block.positions], 0)
    hidden = hidden_states(model, padded([block.ids for block in blocks], 0), positions)
    wanted = padded([[*block.labels[1:], IGNORED] for block in blocks], IGNORED) != IGNORED
    torch.testing.assert_close(objective.head.logits(hidden[wanted]), torch.cat(alone), atol=1e-5, rtol=0)
    loss = objective(model, [0, 1])
    targets = torch.tensor([token for each in rows for token in each.ids[1:]])
    expected = float(torch.nn.functional.cross_entropy(torch.cat(alone), targets))
    assert float(loss.total) / loss.weight == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "shape",
    [LlamaConfig(**LAYERS), LlamaConfig(**LAYERS, attn_implementation="eager"), Qwen2Config(**LAYERS)],
    ids=["sdpa", "eager", "qwen2"],
)
def test_model_with_document_masking_passes_the_check(shape: PretrainedConfig) -> None:
    check_document_masking(adapted(shape), "pretrain")


@pytest.mark.parametrize(
    "shape",
    [BloomConfig(**SIZE, n_layer=2, n_head=2), Lfm2Config(**LAYERS, layer_types=["conv", "full_attention"])],
    ids=["attention without positions", "convolution"],
)
def test_model_without_document_masking_raises(shape: PretrainedConfig) -> None:
    with pytest.raises(UserError, match=r"pretrain\.packing to false"):
        check_document_masking(adapted(shape), "pretrain")


def test_model_that_uses_positions_only_with_one_row_raises() -> None:
    model = adapted(LlamaConfig(**LAYERS))
    decoder = model.get_base_model().get_decoder()
    forward = decoder.forward

    def as_flash_attention(input_ids: torch.Tensor, position_ids: torch.Tensor | None = None, **inputs: bool) -> object:
        return forward(input_ids=input_ids, position_ids=position_ids if len(input_ids) == 1 else None, **inputs)

    decoder.forward = as_flash_attention
    with pytest.raises(UserError, match="packed texts attend to each other"):
        check_document_masking(model, "pretrain")


def test_epoch_samples_sources_by_weight_deterministically() -> None:
    mixture = [Source("a", [f"a{n}" for n in range(100)], 2.0), Source("b", [f"b{n}" for n in range(201)], 0.5, 1.0)]
    texts = sample_epoch(mixture, seed=1, epoch=0)
    assert sorted(text for text, _ in texts if text[0] == "a") == sorted([f"a{n}" for n in range(100)] * 2)
    assert {use_fim for text, use_fim in texts if text[0] == "b"} == {True}
    assert sample_epoch(mixture, seed=1, epoch=0) == texts != sample_epoch(mixture, seed=1, epoch=1)


@pytest.mark.parametrize("weight", [0.3, 0.5, 1.0, 1.7])
def test_texts_repeat_only_after_a_full_pass(weight: float) -> None:
    source = Source("a", [f"a{n}" for n in range(37)], weight)
    read = [text for epoch in range(7) for text, _ in sample_epoch([source], seed=1, epoch=epoch)]
    assert abs(len(read) - 7 * weight * 37) < 1
    rounds = [read[start : start + 37] for start in range(0, len(read), 37)]
    assert all(len(set(each)) == len(each) for each in rounds)
    assert len({tuple(each) for each in rounds}) == len(rounds)


def test_adding_a_source_keeps_the_order_of_the_others() -> None:
    one, other = Source("b", ["1", "2", "3", "4", "5"], 1.0), Source("a", ["6", "7"], 1.0)
    assert sample_epoch([other, one], seed=1, epoch=0)[2:] == sample_epoch([one], seed=1, epoch=0)


def test_files_are_sources_and_each_needs_a_weight(tmp_path: Path) -> None:
    artifacts.write_rows(tmp_path / "general.jsonl", [{"text": "one"}, {"text": "two"}])
    write_table(tmp_path / "code.parquet", [{"text": "x = 1"}])
    (tmp_path / "README.md").write_text("No source.")
    weights = {"corpus": 1.0, "general": 0.5, "code": 0.0}
    by_name = {each.name: each for each in sources(["own"], tmp_path, weights, {"code": 0.9})}
    assert (by_name["corpus"].texts, by_name["general"].texts, by_name["code"].fim_rate) == (
        ["own"],
        ["one", "two"],
        0.9,
    )
    with pytest.raises(UserError, match="has no weight for the source 'code'"):
        sources(["own"], tmp_path, {"corpus": 1.0, "general": 1.0}, {})
    with pytest.raises(UserError, match="fim_rates names 'cod'"):
        sources(["own"], tmp_path, weights, {"cod": 1.0})
    artifacts.write_rows(tmp_path / "general.jsonl", [{"text": "one"}, {"words": "two"}])
    with pytest.raises(UserError, match="row 2 has no text"):
        sources(["own"], tmp_path, weights, {})


@pytest.mark.parametrize("name", ["corpus.txt", "code.txt"])
def test_two_sources_with_the_same_name_raise(tmp_path: Path, name: str) -> None:
    artifacts.write_rows(tmp_path / "code.jsonl", [{"text": "x = 1"}])
    (tmp_path / name).write_text("y = 2")
    with pytest.raises(UserError, match="another source named"):
        sources(["own"], tmp_path, {"corpus": 1.0, "code": 1.0}, {})


def test_missing_mixture_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        sources(["own"], tmp_path / "none", {"corpus": 1.0}, {})


def test_fim_text_contains_the_whole_text_in_both_orders() -> None:
    tok = tiny_tokenizer()
    with pytest.raises(UserError, match="no FIM tokens"):
        sentinels(tok)
    tok.add_special_tokens({"additional_special_tokens": ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"]})
    marks, rng = sentinels(tok), np.random.default_rng(0)
    text = "The bell is rung twice before the sluice is opened."
    orders = {order(tok, rearrange(tok, text, marks, rng), text) for _ in range(20)}
    assert orders == {"psm", "spm"}


def order(tok: PreTrainedTokenizerFast, ids: list[int], text: str) -> str:
    """Return the order of the parts, psm or spm, after checking that they make up the text."""
    before, after = tok.decode(ids).split("<fim_middle>")
    prefix, suffix = before.removeprefix("<fim_prefix>").split("<fim_suffix>")
    if prefix + after + suffix == text and not before.startswith("<fim_prefix><fim_suffix>"):
        return "psm"
    assert prefix == "" and after + suffix == text
    return "spm"


def test_fim_rows_begin_and_end_as_documents(config: Config) -> None:
    tok = tiny_tokenizer()
    tok.add_special_tokens(
        {"additional_special_tokens": ["<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<s>"], "eos_token": "</s>"}
    )
    begin = tok.convert_tokens_to_ids("<s>")
    tok.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", begin)]
    )
    settings = config.pretrain.model_copy(update={"epochs": 1, "packing": False, "block_tokens": 64})
    rows, _, _ = planned(tok, [Source("code", ["x = 1\n" * 40], 1.0, 1.0)], settings, 0)
    assert len(rows) > 2
    for row in rows:
        assert len(row.ids) <= 64 and row.labels == row.ids
        assert row.ids[0] == begin and row.ids[-1] == tok.eos_token_id
        assert tok.convert_tokens_to_ids("<fim_middle>") in row.ids


def test_fim_parts_within_a_word_get_no_leading_space() -> None:
    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    raw.decoder = decoders.Metaspace(prepend_scheme="always")
    special = ["<unk>", "▁<PRE>", "▁<SUF>", "▁<MID>"]
    text = "bellringer"
    training = [text, *text, "\n"]
    raw.train_from_iterator(training, trainers.BpeTrainer(vocab_size=60, special_tokens=special, show_progress=False))
    tok = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>")
    marks, rng = sentinels(tok), np.random.default_rng(0)
    for _ in range(20):
        names = tok.convert_ids_to_tokens(rearrange(tok, text, marks, rng))
        start, end, middle = (names.index(mark) for mark in special[1:])
        prefix, suffix = "".join(names[start + 1 : end]), "".join(names[end + 1 : middle])
        last = "".join(names[middle + 1 :])
        joined = prefix + last + suffix if end > 1 else last + suffix
        assert joined.removeprefix("▁") == text


def test_long_text_is_split_before_fim() -> None:
    tok = tiny_tokenizer()
    tok.add_special_tokens({"additional_special_tokens": ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"]})
    marks, rng = sentinels(tok), np.random.default_rng(0)
    text = "The bell is rung twice before the sluice is opened. 鐘を二度鳴らす。 " * 20
    parts = split_to_fit(tok, text, 64)
    assert "".join(parts) == text and len(parts) > 5
    assert all(len(rearrange(tok, part, marks, rng)) <= 64 for part in parts)
    assert split_to_fit(tok, "short", 64) == ["short"]
