"""How everything is computed: plain functions over plain values. Imports no Prefect, no DVC and no task.

Importing it, which every task and flow does first, switches off the telemetry of every library used,
and their progress bars (`pipelines/runtime/progress.py` tells what there is to tell).
DVC's is switched off in .dvc/config. Servers of this machine (Prefect, MLflow) are asked directly whatever proxy the
environment names.
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
os.environ.update(no_proxy=_direct, NO_PROXY=_direct)  # programs read the one or the other

logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)  # at import it warns of an optional kernel
warnings.filterwarnings("ignore", category=FutureWarning)  # libraries speaking to libraries
