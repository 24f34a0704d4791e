"""Pages of the web as an input that DVC versions: `gradus fetch LIST`."""

from pathlib import Path

from flows.folder import dvc_add
from pipelines import artifacts
from pipelines.data.config import IngestConfig
from pipelines.data.crawl.fetch import CrawlPolicy, fetch_into
from pipelines.runtime.progress import say


def fetch_list(pages: Path, into: Path, delay: float, refresh: bool, allow_private: bool, limits: IngestConfig) -> int:
    """Fetch the addresses in `pages` into a web archive below `into` that DVC keeps; return how many pages it has.

    When it has none, nothing is left but the list of why.

    Raises:
        UserError: there is no address, or DVC does not take the folder.
    """
    manners = CrawlPolicy(delay, limits.max_seconds, limits.max_bytes, allow_private=allow_private)
    count, rejects = fetch_into(pages, into, manners, refresh)
    rows = ({"url": url, "reason": reason} for url, reason in rejects.items())
    listed = into.with_name(f"{into.name}.rejects.jsonl")
    artifacts.write_rows(listed, rows)
    fetched = count - len(rejects)
    if not fetched:
        if not any(into.iterdir()):
            into.rmdir()
        say(f"None of {count} pages was fetched; {listed} says why.")
        return 0
    dvc_add(into)
    say(f"{fetched} of {count} pages are in {into}; why {len(rejects)} are not is in {listed}.")
    say(f"Commit {into}.dvc, and set ingest.source to {into} in params.yaml.")
    return fetched
