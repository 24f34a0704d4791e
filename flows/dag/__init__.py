"""The graph of stages as DVC sees it: dvc.yaml, dvc.lock, its cache, worktrees and the state of git."""
