"""Shared fixtures: a tokenizer trained on a few sentences, a Llama with two layers, a project folder."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # more threads than cores, over all workers, make tests three times slower
os.environ["DO_NOT_TRACK"] = "true"
os.environ["DVC_NO_ANALYTICS"] = "1"

import shutil
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import settings
from mlflow import MlflowClient
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pipelines import artifacts
from pipelines.config import Config, load

settings.register_profile("repeatable", derandomize=True, max_examples=25, deadline=None)
settings.register_profile("soak", max_examples=5000, deadline=None)  # pytest -m hypothesis --hypothesis-profile=soak
settings.load_profile("repeatable")

ROOT = Path(__file__).parent.parent
MARKS = "pytestmark = "
SENTENCES = [line for path in sorted((ROOT / "data/raw").rglob("*.md")) for line in path.read_text().splitlines()]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with 600 tokens and the special tokens of ChatML."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(trained_bpe()),
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
    )
    tokenizer.chat_template = (ROOT / "data/chatml.jinja").read_text()
    return tokenizer


@cache
def trained_bpe() -> str:
    """Return the trained tokenizer as JSON; training takes a second."""
    raw = Tokenizer(models.BPE(unk_token=None))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(SENTENCES, trainer)
    return str(raw.to_str())


def tiny_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return a Llama with two layers, width 64 and random weights."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip modules whose tests are all deselected: importing what they test takes as long as the other tests."""
    deselected = config.option.markexpr.removeprefix("not ")
    if deselected == config.option.markexpr or collection_path.suffix != ".py":
        return None
    return (
        any(deselected in line for line in collection_path.read_text().splitlines() if line.startswith(MARKS)) or None
    )


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs, created once because its fifty migrations take seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> Path:
    """A project folder with params.yaml and an empty MLflow store, as the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns").mkdir()
    shutil.copy(empty_store, tmp_path / "mlruns" / "mlflow.db")
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "tasks").mkdir()
    return tmp_path


@pytest.fixture
def config(project: Path) -> Config:
    """The parameters of the project, with full precision on the CPU."""
    values = yaml.safe_load((project / "params.yaml").read_text())
    values["compute"] |= {"precision": "fp32", "device": "cpu", "threads": 1}
    (project / "params.yaml").write_text(yaml.safe_dump(values))
    return load()


@pytest.fixture
def base(project: Path) -> Path:
    """artifacts/base/ with the tiny model."""
    directory = artifacts.fresh("base")
    tokenizer = tiny_tokenizer()
    tiny_model(tokenizer).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    artifacts.complete(directory, {"stage": "base"})
    return directory


@pytest.fixture
def teachable(base: Path) -> Path:
    """artifacts/base/ with embeddings scaled by ten, so that an adapter can make the tiny model confident."""
    model = LlamaForCausalLM.from_pretrained(base)
    model.get_input_embeddings().weight.data *= 10
    model.save_pretrained(base)
    return base
