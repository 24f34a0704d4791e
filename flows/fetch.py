"""Pages of the web as an input that DVC versions: `gradus fetch LIST`."""

import subprocess
import sys
from pathlib import Path

from pipelines import artifacts
from pipelines.config import IngestConfig
from pipelines.data.fetch import Manners, fetch_into
from pipelines.errors import UserError
from pipelines.progress import say


def fetch_list(pages: Path, into: Path, delay: float, refresh: bool, allow_private: bool, limits: IngestConfig) -> None:
    """Fetch the addresses in `pages` into a web archive below `into`, and have DVC keep that.

    Raises:
        UserError: there is no address, or DVC does not take the folder.
    """
    manners = Manners(delay, limits.max_seconds, limits.max_bytes, allow_private=allow_private)
    count, rejects = fetch_into(pages, into, manners, refresh)
    rows = ({"url": url, "reason": reason} for url, reason in rejects.items())
    listed = into.with_name(f"{into.name}.rejects.jsonl")
    artifacts.write_rows(listed, rows)
    command = [sys.executable, "-m", "dvc", "add", "--quiet", str(into)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"DVC does not take {into}: {done.stderr.strip() or done.stdout.strip()}")
    say(f"{count - len(rejects)} of {count} pages are in {into}; why {len(rejects)} are not is in {listed}.")
    say(f"Commit {into}.dvc, and set ingest.source to {into} in params.yaml.")
