"""Exceptions of stages: DVC busy, run stopped, stage failed (with a message for the user)."""


class BusyError(Exception):
    """Another DVC process holds a lock that the stage needs; the stage should be retried."""


class StoppedError(Exception):
    """The run is being stopped; no stage may start."""


class StageError(Exception):
    """The stage failed, and a retry would fail again."""

    def __init__(self, stage: str, message: str, *, user: bool) -> None:
        """Keep the message of the stage; `user` marks an error that the user can fix."""
        super().__init__(message)
        self.stage, self.user = stage, user
