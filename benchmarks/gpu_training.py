"""Measure speed and memory of training an 8B Llama with random weights on one GPU, against the memory estimate.

    python benchmarks/gpu_training.py            # one GPU of 80 GB, 60 GB of disk; about ten minutes
    python benchmarks/gpu_training.py --tiny     # two layers of width 64, also on a CPU, in seconds

Measurements with the tasks themselves: `lora`, bf16 weights and 4,096 tokens a batch (tokens per second from the times
of the logged steps), and `trl`, SFTTrainer on the same rows with the same weights, adapter and batches; then `qlora`,
`sft` on weights in NF4 with one row of 2,048 tokens and activation checkpointing, `evaluate` of the tuned model, `dpo`,
and `merge`, the aligned adapter merged into a whole model. Peaks are of PyTorch's allocator and include loading. The
last line is one JSON object. FLOPs are 4 per frozen weight and token (forward, and backward to activations), 6 per
trainable one.
"""

import argparse
import gc
import json
import math
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).parents[1]))
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from benchmarks.sft_trl import Peer, trl_trainer
from pipelines import artifacts, config
from pipelines.alignment.preferences.online_prompts import ONLINE_HELD_OUT
from pipelines.config import Config
from pipelines.curation.schema import read_training_rows
from pipelines.evaluation.questions import SETS, SPLITS
from pipelines.models import loading, memory
from pipelines.models.config import Quantization
from pipelines.models.devices import device, prepare
from pipelines.models.memory import GIB, Training
from pipelines.models.release import merging
from pipelines.runtime import tracking, tracking_store
from pipelines.runtime.progress import say
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.examples import encode_chat
from tasks.align import align
from tasks.evaluate import evaluate
from tasks.sft import sft
from tests.support.model_shapes import SHAPES
from tests.support.tables import write_table

ROOT = Path(__file__).parents[1]
WORDS = 1000
WARMUP = 5  # steps before the clock starts


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of whole words, w0 to w999, with ChatML's tokens."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "user", "assistant", "\n"]
    words = [*special, *(f"w{number}" for number in range(WORDS))]
    raw = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=special[0]))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tok = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tok.add_tokens(["<|im_start|>"], special_tokens=True)
    tok.chat_template = (ROOT / "data/chatml.jinja").read_text()
    return tok


def shape(tiny: bool) -> Any:
    """Return the configuration of an 8B Llama, or of one with two layers."""
    if not tiny:
        return SHAPES["meta-llama/Llama-3.1-8B-Instruct"]()
    return LlamaConfig(
        vocab_size=1100,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )


def device_name(where: torch.device) -> str:
    """Return the name of the GPU, or the number of the CPU's cores."""
    return torch.cuda.get_device_name(where) if where.type == "cuda" else f"CPU, {os.cpu_count()} cores"


def store(shape: LlamaConfig, where: torch.device) -> Path:
    """Write a model with random bf16 weights, made on the device, to artifacts/base/."""
    out = artifacts.fresh("base")
    with where:
        model = AutoModelForCausalLM.from_config(shape, dtype=torch.bfloat16)
    model.save_pretrained(out)
    tokenizer().save_pretrained(out)
    return out


def chat(tokens: int, seed: int) -> list[dict[str, str]]:
    """Return a conversation of about `tokens` tokens, an eighth of them in the question."""
    words = [f"w{(seed + 7 * number) % WORDS}" for number in range(tokens)]
    sides = {"user": words[: tokens // 8], "assistant": words[tokens // 8 : -8]}
    return [{"role": role, "content": " ".join(text)} for role, text in sides.items()]


def write_rows(count: int, length: int) -> Path:
    """Write `count` rows of about `length` tokens to artifacts/curate/, and as many pairs to artifacts/pairs/first/."""
    curate, preferences = artifacts.fresh("curate"), artifacts.fresh("pairs/first")
    chats = [chat(length, seed) for seed in range(count)]
    rows = [{"messages": messages, "kind": "answer", "variant": None} for messages in chats]
    artifacts.write_rows(curate / "train.jsonl", rows)
    artifacts.write_rows(curate / "validation.jsonl", [{**rows[0], "messages": chat(32, 0)}])
    fields = {"kind": "answer", "source": None, "reference": "", "provenance": "sample", "margin": 1.0}
    short = [(chat(length // 2, seed), chat(length // 2, seed + 1)) for seed in range(count)]
    pairs = [{"prompt": better[:1], "chosen": better[1:], "rejected": worse[1:], **fields} for better, worse in short]
    artifacts.write_rows(preferences / "train.jsonl", pairs)
    artifacts.write_rows(preferences / ONLINE_HELD_OUT, rows[:1])
    return curate


def write_questions(count: int, length: int) -> None:
    """Write `count` questions of each set and split, and a training and a held-out document of about `length` words."""
    folder, split = Path("data/questions"), artifacts.fresh("split")
    folder.mkdir(parents=True)
    for name in SETS:
        ids = [(f"{name}-{part}-{number}", part, number) for part in SPLITS for number in range(count)]
        rows = [{"id": id_, "question": f"{id_}?", "answer": f"w{number}", "split": part} for id_, part, number in ids]
        artifacts.write_rows(folder / f"{name}.jsonl", rows)
    for seed, name in enumerate(("train", "test")):
        text = chat(length, seed)[1]["content"]
        write_table(split / f"{name}.parquet", [{"source": f"{name}.md", "text": text}])


def settings(quantization: str, length: int, rows: int, where: torch.device) -> Config:
    """Return the parameters of the project for LoRA of rank 16 and batches of `rows` rows of `length` tokens.

    Activation checkpointing is on with quantised weights, as where memory is scarce, and off with others.
    """
    values = config.load(ROOT / "params.yaml").model_dump(mode="json")
    values["compute"] |= {"device": where.type, "precision": "bf16", "threads": 1 if where.type == "cpu" else 8}
    values["base"] |= {"quantization": quantization}
    values["training"] |= {"checkpointing": "off" if quantization == "none" else "on"}
    values["sft"] |= {"tuning": {"method": "lora", "options": {"r": 16, "lora_alpha": 32}}}
    values["sft"] |= {"learning_rate": 1e-4, "epochs": 1}
    values["sft"] |= {"batch_tokens": rows * length, "max_tokens": length, "lm_weight": 0.0, "adapter_scale": 1.0}
    values["align"]["dpo"] |= {"batch_size": 1, "epochs": 1, "learning_rate": 1e-5}
    return Config.model_validate(values)


def measured(work: Callable[[], object], where: torch.device) -> float:
    """Return the peak memory of `work` in GiB; on a CPU, the process's peak so far."""
    if where.type != "cuda":
        work()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    gc.collect()  # what an earlier measurement left in reference cycles
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(where)
    work()
    return torch.cuda.max_memory_allocated(where) / GIB


def tune(quantization: Quantization, length: int, rows: int, steps: int, where: torch.device) -> dict[str, float]:
    """Run the task `sft`; return its peak and estimated memory in GiB, and tokens and FLOPs per second."""
    name, base = "lora" if quantization == "none" else "qlora", Path("artifacts/base")
    chosen, curate = settings(quantization, length, rows, where), write_rows(steps * rows, length)
    out = artifacts.fresh("sft")
    found: dict[str, Any] = {}

    def work() -> None:
        with tracking.started("sft", {}) as run:
            shared = (chosen.training, chosen.compute, chosen.base, run, Checkpoints())
            sft(base, curate, Path("artifacts/split"), out, chosen.sft, *shared)
            found["steps"] = tracking_store.client().get_metric_history(run.id, "train/loss")

    used = measured(work, where)
    row = len(encode_chat(loading.tokenizer(base), chat(length, 0)).ids)
    attention: Literal["eager", "sdpa"] = "eager" if where.type == "cpu" else "sdpa"
    training = Training(
        chosen.sft.tuning,
        quantization,
        torch.bfloat16,
        rows,
        row,
        rows * row,
        checkpointing=chosen.training.checkpointing == "on",
        attention=attention,
    )
    traced = memory.trace(AutoConfig.from_pretrained(base), training)
    assert traced is not None
    timed = found["steps"][WARMUP:]
    seconds = (timed[-1].timestamp - timed[0].timestamp) / 1000
    speed = (len(timed) - 1) * rows * row / max(seconds, 1e-3)
    flops = speed * (4 * (traced.matrices + traced.others) + 6 * traced.trainable)
    say(f"{name}: {speed:.0f} tokens/s, {used:.2f} GiB")
    estimated = memory.estimate(traced, training).total / GIB
    figures = {"tokens_per_s": speed, "teraflops": flops / 1e12, "peak_gib": used, "estimated_gib": estimated}
    return {f"{name}_{key}": round(value, 3) for key, value in figures.items()}


def tune_with_trl(length: int, rows: int, where: torch.device) -> dict[str, float]:
    """Train TRL's SFTTrainer on the rows that `tune` wrote; return its tokens per second and its peak memory in GiB."""
    chosen, base = settings("none", length, rows, where), Path("artifacts/base")
    chats = read_training_rows(Path("artifacts/curate/train.jsonl"))
    options = {
        "per_device_train_batch_size": rows,
        "gradient_checkpointing": False,
        "max_length": None,
        "model_init_kwargs": {"dtype": "bfloat16"},
    }
    found: dict[str, float] = {}

    def work() -> None:
        peer = Peer(trl_trainer(base, artifacts.fresh("trl"), chosen, chats, 1, **options))
        peer.advance(WARMUP * rows * len(encode_chat(loading.tokenizer(base), chats[0].messages).ids))
        found["trl_tokens_per_s"] = peer.advance(math.inf)

    found["trl_peak_gib"] = measured(work, where)
    return {key: round(value, 3) for key, value in found.items()}


def evaluate_align_merge(length: int, where: torch.device) -> dict[str, float]:
    """Evaluate the tuned model in NF4, train it with DPO, and merge the adapter; return their peak memory in GiB."""
    chosen, out = settings("nf4", length, 1, where), artifacts.fresh("align/dpo")
    tuned, split, merged = Path("artifacts/sft"), Path("artifacts/split"), artifacts.fresh("merged")

    def ask() -> None:
        evaluated = artifacts.fresh("evaluate/sft")
        evaluate(tuned, split, evaluated, chosen.evaluate, chosen.compute, chosen.curate.refusal, base=chosen.base)

    def train() -> None:
        with tracking.started("align@dpo", {}) as run:
            shared = (chosen.training, chosen.compute, chosen.base, run, Checkpoints())
            align(Path("artifacts/pairs/first"), tuned, out, chosen.align.dpo, *shared)

    figures = {"evaluate_peak_gib": measured(ask, where), "dpo_peak_gib": measured(train, where)}
    figures["merge_peak_gib"] = measured(lambda: merging.merge(out, merged, chosen.compute), where)
    return {key: round(value, 3) for key, value in figures.items()}


def main(tiny: bool) -> dict[str, Any]:
    """Measure in a temporary project folder; return all figures."""
    length, steps = (64, WARMUP + 3) if tiny else (1024, WARMUP + 30)
    compute = settings("none", length, 4, torch.device("cuda" if torch.cuda.is_available() else "cpu")).compute
    prepare(compute)
    where = device(compute)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        store(shape(tiny), where)
        write_questions(2 if tiny else 64, length)
        figures = tune("none", length, 4, steps, where)
        figures |= tune_with_trl(length, 4, where)
        figures |= tune("nf4", 2 * length, 1, WARMUP + 3, where)
        figures |= evaluate_align_merge(2 * length, where)
    return {"device": device_name(where), "shape": "tiny" if tiny else "8B", **figures}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a tiny shape, to test the program")
    print(json.dumps(main(parser.parse_args().tiny)))
