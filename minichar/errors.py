"""The one exception that stands for a mistake a person can mend."""


class MinicharError(Exception):
    """What was wrong, where, and what to do, in one line.

    The command line prints the line and exits with status 1; a caller of the
    Python API catches it. Faults of the program itself are left to Python's own
    exceptions, with their traceback.
    """
