"""Mapping of results to commits, and the reminder to commit dvc.lock after a run."""

import pytest

from flows.dag import provenance
from pipelines.runtime.errors import UserError
from tests.flows.conftest import Project
from tests.flows.dag.test_worktree import CHAIN, commit, git

pytestmark = pytest.mark.slow


@pytest.mark.e2e
def test_run_reminds_to_commit_its_lock_or_commits_it(fake: Project) -> None:
    fake.describe(CHAIN)
    commit("start")
    git("config", "user.name", "t")
    git("config", "user.email", "t@t")
    output, _ = (first := fake.start("run", "ingest")).communicate(timeout=120)
    assert first.returncode == 0 and "Commit dvc.lock (`git commit dvc.lock`" in output
    (fake.path / "params.yaml").write_text((fake.path / "params.yaml").read_text() + "# mine\n")
    output, _ = (second := fake.start("run", "clean", "--commit")).communicate(timeout=120)
    assert second.returncode == 0 and "dvc.lock was committed as" in output
    assert git("show", "--name-only", "--format=%s").splitlines() == ["dvc.lock: the results of a run", "", "dvc.lock"]
    output, _ = (third := fake.start("run", "clean")).communicate(timeout=120)
    assert third.returncode == 0 and "ommit dvc.lock" not in output

    digest = next(line.split()[1] for line in git("show", "HEAD:dvc.lock").splitlines() if "md5: " in line)
    recorded = git("rev-parse", "HEAD")
    commit("mine")
    assert provenance.commit_naming(digest, "it") == recorded
    with pytest.raises(UserError, match="names version 3: it was not committed"):
        provenance.commit_naming("0" * 32, "version 3")

    fake.forget()
    output, _ = (again := fake.start("reproduce", recorded, "--stages", "clean", "--recompute")).communicate(
        timeout=120
    )
    assert again.returncode == 0, output
    assert "artifacts/clean" in output and "artifacts/ingest" not in output
    output, _ = (wrong := fake.start("reproduce", recorded, "--stages", "cleen")).communicate(timeout=120)
    assert wrong.returncode == 2 and "'cleen' is not a stage of that commit's dvc.lock" in output
