"""Which commit names a result, and that a run says when none does yet."""

import pytest
from tests.flows.test_workspace import CHAIN, commit, git

from flows.dag import provenance
from pipelines.runtime.errors import UserError
from tests.flows.conftest import Project


def test_a_run_says_to_commit_its_lock_and_commits_it_when_asked(fake: Project) -> None:
    fake.describe(CHAIN)
    commit("start")
    git("config", "user.name", "t")
    git("config", "user.email", "t@t")
    said, _ = (first := fake.start("run", "ingest")).communicate(timeout=120)
    assert first.returncode == 0 and "Commit dvc.lock (`git commit dvc.lock`" in said
    (fake.path / "params.yaml").write_text((fake.path / "params.yaml").read_text() + "# mine\n")
    said, _ = (second := fake.start("run", "clean", "--commit")).communicate(timeout=120)
    assert second.returncode == 0 and "dvc.lock is committed as" in said
    assert git("show", "--name-only", "--format=%s").splitlines() == ["dvc.lock: the results of a run", "", "dvc.lock"]
    said, _ = (third := fake.start("run", "clean")).communicate(timeout=120)
    assert third.returncode == 0 and "ommit dvc.lock" not in said

    digest = next(line.split()[1] for line in git("show", "HEAD:dvc.lock").splitlines() if "md5: " in line)
    recorded = git("rev-parse", "HEAD")
    commit("mine")
    assert provenance.commit_naming(digest, "it") == recorded
    with pytest.raises(UserError, match="names version 3: it was not committed"):
        provenance.commit_naming("0" * 32, "version 3")

    fake.forget()
    said, _ = (again := fake.start("reproduce", recorded, "--stages", "clean", "--recompute")).communicate(timeout=120)
    assert again.returncode == 0, said
    assert "artifacts/clean" in said and "artifacts/ingest" not in said
    said, _ = (wrong := fake.start("reproduce", recorded, "--stages", "cleen")).communicate(timeout=120)
    assert wrong.returncode == 2 and "'cleen' is no stage of that commit's dvc.lock" in said
