"""What the command line tells in one line, without a traceback."""


class WrongUsage(ValueError):
    """What the user asked for cannot be done; the message says why and what to do."""
