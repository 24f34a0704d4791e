"""The stage graph as DVC sees it: dvc.yaml, dvc.lock, DVC's cache, worktrees and the state of git."""
