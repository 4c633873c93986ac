"""The one error that a user is meant to read."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence that names the input and the remedy; the command line prints it alone, without
    a traceback, and exits with code 2.
    """
