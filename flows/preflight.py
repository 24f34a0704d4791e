"""What can be known to be wrong before anything starts, or anything slow is imported."""

from pipelines import artifacts, config
from pipelines.errors import UserError


def check() -> config.Config:
    """Read params.yaml and look for documents, before anything starts.

    Raises:
        UserError: a parameter is wrong, or there is nothing to learn from.
    """
    settings = config.load()
    source = settings.ingest.source
    if not source.is_dir() or not any(artifacts.files(source)):
        raise UserError(f"{source} holds no documents; put some there, or set ingest.source in params.yaml.")
    return settings
