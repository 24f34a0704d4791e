"""Infrastructure that affects no result (progress, errors, locks, tracking, pages); excluded from code fingerprints."""

import os

# MLflow reads these when it is imported, which tracking.py and tracking_store.py do.
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")  # half a minute; the default is four minutes
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
