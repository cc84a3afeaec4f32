"""Looks an answer up among the results of a probe."""

from collections.abc import Sequence

from sidestream.conformance.results import Result


def named(results: Sequence[Result], name: str) -> tuple[str, str]:
    """Return the verdict and the answer of a name."""
    return next((result.verdict, result.answer) for result in results if result.name == name)
