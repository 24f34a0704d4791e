"""Verify objects in DVC's cache and look up objects in its remote."""

import hashlib
import json
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo

from flows.dag.dvc_lock import ONE_AT_A_TIME, locked_repo
from pipelines.runtime.errors import UserError

DIRECTORY = ".dir"  # suffix of DVC's hash of a directory


def damaged(name: str, root: Path = Path()) -> list[str]:
    """Hash the cached outputs of the stage `name`; remove damaged objects and return their hashes.

    DVC hashes an object once and trusts it as long as it is write-protected, so later disk corruption goes unnoticed.
    """
    with locked_repo(root) as repo:
        outs = list(repo.stage.get_target(f"{root.resolve() / 'dvc.yaml'}:{name}").outs)
    found = [(oid, Path(out.cache.oid_to_path(oid))) for out in outs for oid in _objects(out)]
    bad = {oid: path for oid, path in found if path.exists() and _md5(path) != oid.removesuffix(DIRECTORY)}
    for path in bad.values():
        path.unlink()
    return list(bad)


def _objects(out: Any) -> list[str]:
    """Return the hash of an output and, for a directory with an intact listing, the hashes of its files."""
    oid = out.hash_info.value
    listing = Path(out.cache.oid_to_path(oid))
    if not oid.endswith(DIRECTORY) or not listing.exists() or _md5(listing) != oid.removesuffix(DIRECTORY):
        return [oid]
    return [oid, *(entry["md5"] for entry in json.loads(listing.read_text(encoding="utf-8")))]


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def in_remote(digest: str) -> bool:
    """Return whether the default remote holds the output with this MD5; True when there is no remote.

    DVC pushes the object of a directory after all of its files, so checking that object is enough.

    Raises:
        UserError: the remote does not answer.
    """
    try:
        with ONE_AT_A_TIME, Repo() as repo:
            return not repo.config["core"].get("remote") or bool(repo.cloud.get_remote_odb().exists(digest))
    except (DvcException, OSError) as error:
        raise UserError(f"the DVC remote does not answer: {str(error).strip().splitlines()[0]}") from error
