"""The exceptions for errors that the user can fix."""


class UserError(Exception):
    """An error that the user can fix. Its message is one sentence: what is wrong, where, and what to do.

    A task that raises it exits with code 2 and without a traceback.
    """


class InProgressError(UserError):
    """Another process does what was asked for, or what would be disturbed by it; waiting is the fix."""
