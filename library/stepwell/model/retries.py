"""How often a run that fails is tried again, as its module says in `options`."""

from stepwell.model.json import JsonObject
from stepwell.sdk.options import StepOptions, read_options

RETRY_OPTIONS = ("retries", "retry_delay", "backoff", "max_delay")
MAX_RETRIES = 100
MAX_DELAY_S = 30 * 24 * 3600.0


def read_retries(options: JsonObject) -> StepOptions:
    """Return the retries of a module's options, in the words of a step's.

    Raises:
        ValueError: one of them is of the wrong type or out of range.
    """
    given = {name: options[name] for name in RETRY_OPTIONS if options.get(name) is not None}
    read = read_options(given)
    if read.max_attempts > MAX_RETRIES + 1:
        raise ValueError(f"retries is at most {MAX_RETRIES}, not {given['retries']}")
    for name, seconds in (("retry_delay", read.retry_delay), ("max_delay", read.max_delay)):
        if seconds > MAX_DELAY_S:
            raise ValueError(f"{name} is at most {MAX_DELAY_S:.0f} seconds (30 days), not {seconds:g}")
    return read
