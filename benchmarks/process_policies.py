"""Policies and amounts of benchmarks/process_rewards.py: a tiny, a small and the project's base model."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pipelines import artifacts
from pipelines.alignment.process.problems import Problem, splits
from pipelines.config import Config
from pipelines.models import loading, saving
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.examples import encode_chat, plan_batches
from pipelines.training.loop import fit
from pipelines.training.objectives import LanguageModel
from pipelines.training.step import Job
from tests.support.recorder import Recorder

ROOT = Path(__file__).parents[1]
WORD = r" ?[A-Za-z]+"
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
FULL = TuningConfig(method="full", options={})


@dataclass(frozen=True)
class Setting:
    """A policy, and how much it is trained, sampled and labelled."""

    tuning: TuningConfig
    """Method of fine-tuning of the policy."""
    width: int
    """Of a model with random weights; 0 is the project's base model."""
    layers: int
    problems: int
    """Problems with reference solutions that the policy is trained on."""
    epochs: int
    learning_rate: float
    batch_tokens: int
    labelled: int
    """Problems whose sampled solutions are labelled."""
    solutions: int
    """Sampled and labelled solutions of each of them."""
    completions: int
    """Completions from each step."""
    reward_epochs: int
    reward_rate: float
    tested: int
    """Test problems."""
    n: int
    """Samples of each test problem."""
    operations: tuple[int, int] = (3, 5)
    largest: int = 99
    temperature: float = 0.7
    """Of solutions, completions and test samples."""
    max_new_tokens: int = 64
    batch_size: int = 256


SETTINGS = {
    "tiny": Setting(FULL, 32, 2, 80, 25, 5e-3, 640, 12, 8, 2, 2, 5e-3, 8, 4, operations=(1, 1), largest=20),
    "small": Setting(FULL, 64, 3, 6000, 1, 6e-3, 1280, 500, 6, 8, 5, 1e-3, 300, 16, operations=(3, 4), largest=9),
    "base": Setting(
        TuningConfig(method="lora", options={"r": 32, "lora_alpha": 64}),
        *(0, 0, 2000, 2, 1e-3, 1024, 300, 4, 8, 3, 5e-4, 200, 16),
        max_new_tokens=96,
        batch_size=64,
    ),
}


def start(folder: Path, setting: Setting, seed: int) -> Path:
    """Return the folder of the model that the policy is trained from: artifacts/base, or one with random weights."""
    if not setting.width:
        return artifacts.read("base")
    out = folder / "start"
    tok = tokenizer()
    torch.manual_seed(seed)
    shape = LlamaConfig(
        vocab_size=len(tok),
        hidden_size=setting.width,
        intermediate_size=3 * setting.width,
        num_hidden_layers=setting.layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=setting.width**-0.5,
        tie_word_embeddings=True,
        bos_token_id=tok.convert_tokens_to_ids("<|im_start|>"),
        eos_token_id=tok.eos_token_id,
        pad_token_id=tok.pad_token_id,
    )
    LlamaForCausalLM(shape).save_pretrained(out)
    tok.save_pretrained(out)
    return out


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of the words of the problems, with their space, and of single characters such as digits."""
    texts = ["\n".join((problem.question, *problem.steps)) for problem in splits({"": 500}, 0, (5, 5), 99)[""]]
    words = sorted({word for text in texts for word in re.findall(WORD, text)})
    words += [word.strip() for word in words if word.startswith(" ")]
    characters = [chr(code) for code in range(32, 127)]
    vocabulary = dict.fromkeys([*SPECIAL, "user", "assistant", "\n", *characters, *words])
    raw = Tokenizer(models.WordLevel({word: at for at, word in enumerate(vocabulary)}, unk_token=SPECIAL[0]))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex(rf"{WORD}|[^A-Za-z]"), "isolated")
    raw.decoder = decoders.Fuse()
    tok = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tok.add_tokens(["<|im_start|>"], special_tokens=True)
    tok.chat_template = (ROOT / "data/chatml.jinja").read_text()
    return tok


def train(begin: Path, out: Path, problems: list[Problem], setting: Setting, settings: Config) -> None:
    """Train the policy on the reference solutions of `problems`, and save it in `out`."""
    tok = loading.tokenizer(begin)
    rows = [encode_chat(tok, problem.solved) for problem in problems]
    lengths = [len(row.ids) for row in rows]
    plan = plan_batches(lengths, [1.0] * len(rows), setting.epochs, setting.batch_tokens, settings.compute.seed)
    model = preparation.trainable(begin, setting.tuning, settings.compute, settings.base)
    model.train()
    fit(model, LanguageModel(model, rows, tok.pad_token_id), plan, job("sft", setting, settings))
    saving.save(model, tok, out, begin)


def job(what: str, setting: Setting, settings: Config) -> Job:
    """Return a job without logging: that of the policy (`sft`), or of a reward model."""
    run: Any = Recorder()
    rate, epochs = setting.reward_rate, setting.reward_epochs
    if what == "sft":
        rate, epochs = setting.learning_rate, setting.epochs
    return Job(what, rate, epochs, settings.training, settings.compute, run, Checkpoints())
