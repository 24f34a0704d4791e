"""Fetch web pages as an input tracked by DVC: `gradus fetch LIST`."""

from pathlib import Path

from flows.folder import dvc_add
from pipelines import artifacts
from pipelines.data.config import IngestConfig
from pipelines.data.crawl.fetch import fetch_into
from pipelines.data.crawl.host import CrawlPolicy
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say


def fetch_list(pages: Path, into: Path, delay: float, refresh: bool, allow_private: bool, limits: IngestConfig) -> int:
    """Fetch the URLs in `pages` into a web archive in `into`, track it with DVC, and return the number of its pages.

    If no page could be fetched, only the list of rejected URLs is written.

    Raises:
        UserError: `pages` contains no URL, `into` is not a folder, or `dvc add` failed.
    """
    if into.exists() and not into.is_dir():
        raise UserError(f"{into} is not a folder; give another one with --into.")
    policy = CrawlPolicy(delay, limits.max_seconds, limits.max_bytes, allow_private=allow_private)
    count, rejects = fetch_into(pages, into, policy, refresh)
    rows = ({"url": url, "reason": reason} for url, reason in rejects.items())
    listed = into.with_name(f"{into.name}.rejects.jsonl")
    artifacts.write_rows(listed, rows)
    fetched = count - len(rejects)
    if not fetched:
        if not any(into.iterdir()):
            into.rmdir()
        say(f"None of {count} pages was fetched; {listed} lists the reasons.")
        return 0
    dvc_add(into)
    say(f"{fetched} of {count} pages are in {into}; {len(rejects)} were rejected, for the reasons in {listed}.")
    say(f"Commit {into}.dvc and set ingest.source to {into} in params.yaml.")
    return fetched
