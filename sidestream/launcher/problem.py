"""Why the launcher does not start: one sentence that says what was expected, what was found, where, and what to do."""

from sidestream.errors import ConfigurationError


class CannotStart(ConfigurationError):
    """Nothing is left running: whatever had been started was stopped before this was raised."""

    code = "cannot-start"
