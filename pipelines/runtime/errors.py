"""The one exception a user is meant to read."""


class UserError(Exception):
    """Something the user can mend. Its message is one sentence: what is wrong, where, and what to do.

    A task that raises it ends with exit code 2 and no traceback.
    """
