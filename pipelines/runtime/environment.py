"""The environment of a process: its rank under a launcher, libraries, processor and system. Changes no result."""

import os
import platform
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "lm_eval", "daft", "numpy")


def launched() -> bool:
    """Return whether this process is one of those of a stage that `pipelines/models/parallel/launch.py` started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    """Return the number of this process among those of its stage; 0 without a launcher."""
    return int(os.environ["RANK"]) if launched() else 0


def local_rank() -> int:
    """Return the number of this process among those on its machine, which is that of its GPU; 0 without a launcher."""
    return int(os.environ["LOCAL_RANK"]) if launched() else 0


@cache
def facts() -> dict[str, str]:
    """Return the tags of a run: system, processor, GPU, and `version.<library>` for each library."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "gpu": _gpu(),
        **{f"version.{name}": number for name, number in _versions()},
    }


def _gpu() -> str:
    """Return the GPU that torch would use; "none" if torch has not been imported."""
    torch = sys.modules.get("torch")
    return str(torch.cuda.get_device_name()) if torch is not None and torch.cuda.is_available() else "none"


def _processor() -> str:
    """Return the processor's model name; on Linux `platform.processor()` is empty or just x86_64."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _versions() -> Iterator[tuple[str, str]]:
    for name in LIBRARIES:
        try:
            yield name, version(name)
        except PackageNotFoundError:  # a machine for a single task does not need all of them
            continue
