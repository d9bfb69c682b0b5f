"""The mistake of a user, which the command line reports in one line."""


class UserError(ValueError):
    """What was asked for can't be done; the message says what, and what to do instead."""


class Interrupted(Exception):
    """A run was asked to end early, and has saved what it had."""
