"""Durations such as ``90s``, ``5m`` and ``1h30m``, which the command line and Python accept.

This module is not in a package, because the rules for options, which all packages use, read times.
"""

import re
from typing import Any

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
PART = r"(\d+(?:\.\d+)?|\.\d+) ?(h|min|m|sec|s)"
DURATION = re.compile(rf"{PART}(?: ?{PART}){{,2}}", re.IGNORECASE)
A_TIME = "a time, such as 90s, 5m or 1h30m"


def duration_in(unit: str, value: Any) -> float:
    """Return a duration in seconds, minutes or hours; a plain number has this unit.

    Raises a `ValueError` if the value is a string that is not a duration.
    """
    if not isinstance(value, str) or not DURATION.fullmatch(value.strip()):
        return float(value)
    parts = re.findall(PART, value.lower())
    return sum(float(number) * SECONDS[name[0]] for number, name in parts) / SECONDS[unit]
