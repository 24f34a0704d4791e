"""The benchmark of training on a GPU, with a tiny model on this machine."""

import pytest

from benchmarks.gpu_training import main

pytestmark = pytest.mark.slow


@pytest.mark.e2e
def test_all_figures_are_measured() -> None:
    figures = main(tiny=True)
    numbers = {name: value for name, value in figures.items() if not isinstance(value, str)}
    assert set(numbers) == {
        *(f"{name}_{key}" for name in ("lora", "qlora") for key in ("tokens_per_s", "teraflops", "peak_gib")),
        *("lora_estimated_gib", "qlora_estimated_gib", "trl_tokens_per_s", "trl_peak_gib"),
        *(f"{name}_peak_gib" for name in ("evaluate", "dpo", "merge")),
    }
    assert all(value > 0 for name, value in numbers.items() if "tokens" in name or "gib" in name)
    assert figures["shape"] == "tiny" and figures["device"]
