"""The computations of all stages: plain functions over plain values. Imports no Prefect, no DVC and no task.

Every task and flow imports this package first. It disables the telemetry of every library used, and their progress
bars (`pipelines/runtime/progress.py` reports progress). DVC's telemetry is disabled in .dvc/config. Local servers
(Prefect, MLflow) always bypass the proxy that the environment names.
"""

import logging
import os
import warnings

for _name, _value in {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DAFT_ANALYTICS_ENABLED": "0",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}.items():
    os.environ.setdefault(_name, _value)

_direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
_direct = ",".join(dict.fromkeys([*filter(None, _direct.split(",")), "localhost", "127.0.0.1", "::1"]))
os.environ.update(no_proxy=_direct, NO_PROXY=_direct)  # programs read either spelling

logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)  # it warns about an optional kernel on import
warnings.filterwarnings("ignore", category=FutureWarning)  # addressed to library authors
