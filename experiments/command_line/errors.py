"""Errors that the command line reports in one line."""


class UserError(ValueError):
    """The program cannot do what it was asked. The message says why, and what to do instead."""


class Diverged(UserError):
    """Training produced infinite or undefined values. The results before them are saved."""


class Interrupted(Exception):
    """The user asked a run to stop. It has saved its state."""


def require(condition: bool, message: str) -> None:
    """Raise `UserError(message)` unless the condition holds."""
    if not condition:
        raise UserError(message)
