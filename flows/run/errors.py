"""The ways in which a stage does not end well. What is the user's to mend carries its sentence."""


class BusyError(Exception):
    """Another DVC process holds what the stage needs; worth another try."""


class StoppedError(Exception):
    """The run is being stopped: nothing new may start."""


class StageError(Exception):
    """The stage failed, and would fail again."""

    def __init__(self, stage: str, message: str, *, user: bool) -> None:
        """Keep what the stage said; `user` tells whether it is a sentence for the user to act on."""
        super().__init__(message)
        self.stage, self.user = stage, user
