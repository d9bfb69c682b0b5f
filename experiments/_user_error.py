"""The mistake of a user, which the command line reports in one line."""


class UserError(ValueError):
    """What was asked for can't be done; the message says what, and what to do instead."""
