"""Registration of a model as a version of the registered MLflow model `gradus`.

A version is a whole model with merged weights, so that MLflow can load it without Gradus; where an adapter cannot be
merged, it is stored beside its base model, and MLflow loads that. Writes to MLflow's store only.
"""

import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines import artifacts
from pipelines.models.config import ComputeConfig
from pipelines.models.release import registry
from pipelines.models.release.registry import ADAPTER, BELOW, DECODING, DOCUMENTS, NAME, READER, Version
from pipelines.runtime import store_location, tracking, tracking_store

PROBES = 32
"""Questions on which a merged model is compared with the trained one."""
REQUIREMENTS = ("torch", "transformers", "accelerate")


def register(
    run: tracking.Run,
    directory: Path,
    documents: Path,
    reader: Path | None,
    compute: ComputeConfig,
    decoding: Mapping[str, Any],
    tags: Mapping[str, str],
    questions: Sequence[str] = (),
) -> Version:
    """Merge the model in `directory`, log it to `run`, and register it as a version with `tags`.

    `decoding` is `EvaluateConfig.decoding`, stored as `DECODING`, so that the version answers as it was evaluated.
    MLflow's own serving applies what transformers has of it, which leaves out the threshold of beams. The Parquet file
    `documents` and the model in the folder `reader`, merged, are stored with it as `DOCUMENTS` and `READER`: the
    confidence in an answer depends on them. An adapter that was trained on quantised weights is compared with the
    merged model on the first `PROBES` of `questions`; the differences become metrics of `run`.

    Raises:
        UserError: the adapter does not fit its base model, or the disk is too small.
    """
    store, known = tracking_store.client(), _of_transformers(decoding)
    with TemporaryDirectory(dir=store_location.store()) as folder:
        merged = Path(folder) / NAME
        run.metrics(_merge(directory, merged, compute, questions[:PROBES]))
        address, model_id = run.model(_parts(merged, directory, known), known, _requirements())
    with TemporaryDirectory(dir=store_location.store()) as folder:
        shutil.copyfile(documents, Path(folder) / DOCUMENTS)
        artifacts.write_json(Path(folder) / DECODING, dict(decoding))
        _keep_unmerged(directory, Path(folder) / ADAPTER)
        if reader is not None:
            _merge(reader, Path(folder) / READER, compute, ())
            for prompt in reader.glob("*.yaml"):
                shutil.copy(prompt, Path(folder) / READER)
        store.log_model_artifacts(model_id, folder)
    if not store.search_registered_models(f"name = '{NAME}'"):
        store.create_registered_model(NAME, description="Language models made by Gradus from a folder of documents.")
    return registry.version_of(
        store.create_model_version(NAME, address, run_id=run.id, model_id=model_id, tags=dict(tags))
    )


def _parts(merged: Path, directory: Path, decoding: Mapping[str, Any]) -> dict[str, Any]:
    """Load merged weights as stored, on the CPU: MLflow's copy of a folder fails with transformers 5."""
    from transformers import AutoModelForCausalLM

    from pipelines.models import loading

    model = AutoModelForCausalLM.from_pretrained(merged, dtype="auto", use_safetensors=True).eval()
    for key, value in decoding.items():
        setattr(model.generation_config, key, value)
    model.name_or_path = f"{NAME}: {directory}"  # not a valid Hub name, or MLflow would look for a model card there
    return {"model": model, "tokenizer": loading.tokenizer(directory)}


def _of_transformers(decoding: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that transformers' `generate` accepts."""
    from transformers import GenerationConfig

    return {name: value for name, value in decoding.items() if hasattr(GenerationConfig(), name)}


def _merge(directory: Path, merged: Path, compute: ComputeConfig, questions: Sequence[str]) -> dict[str, float]:
    """Write whole weights to `merged`; return how far they are from an adapter on quantised weights.

    Of a chain with an adapter that cannot be merged, these are the weights below that one.
    """
    from pipelines.models import adapters, chat, devices, loading
    from pipelines.models.release import merging  # importing torch takes seconds

    devices.prepare(compute)
    below, beside = adapters.merged_and_beside(directory)
    merging.merge(below, merged, compute)
    if beside or not questions or adapters.quantization(adapters.lineage(directory)[1]) == "none":
        return {}
    tok = loading.tokenizer(directory)
    prompts = [chat.encode_prompt(tok, [{"role": "user", "content": question}]) for question in questions]
    return merging.parity(directory, merged, prompts, compute).metrics()


def _keep_unmerged(directory: Path, out: Path) -> None:
    """Copy the adapters that were not merged to `out`, each in the one above, beside the folder `model`."""
    from pipelines.models import adapters

    _, beside = adapters.merged_and_beside(directory)
    for depth, each in enumerate(reversed(beside), 1):
        shutil.copytree(each, out)
        below = Path("..", out.name, BELOW) if depth < len(beside) else Path(*[".."] * depth, "model")
        adapters.move_base(out, below)
        out /= BELOW


def _requirements() -> list[str]:
    return [f"{name}=={version(name).split('+')[0]}" for name in REQUIREMENTS]
