"""What is wrong with a malformed request, in plain words: where, what was expected, what was found, and what to do.

pydantic finds the faults; its sentences say neither what was found nor a remedy. A value with words of its own raises
ValueError("expected …") in a validator, see `worded`; everything else gets the words of `_expected`. Knows no route.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from pydantic import AfterValidator

_LONGEST: Final = 60
"""Most characters that are quoted back of what was found."""
_SAID: Final = re.compile(r"(?:Input|String|Value|List|Number|Integer) should (be |have |match )?")
_REMEDIES: Final = {"missing": "Add it.", "extra_forbidden": "Leave it out."}
_PLACES: Final = {"header": "header ", "query": "parameter ", "path": "path, "}


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    Attributes:
        field: where, for programs: `body.lines.0.quantity`, `header.If-Match`.
        detail: expected, found, remedy.
    """

    field: str
    detail: str

    def __str__(self) -> str:
        place, _, name = self.field.partition(".")
        return f"{_PLACES[place]}{name}: {self.detail}" if place in _PLACES and name else f"{self.field}: {self.detail}"


def worded(fits: Callable[[str], object], expected: str, remedy: str) -> AfterValidator:
    """Return a validator of text that says in words what it expects; `fits` returns something false for any other text.

    The words leave out what was found: that is added for every fault alike.
    """

    def check(text: str) -> str:
        if not fits(text):
            raise ValueError(f"expected {expected}\n{remedy}")
        return text

    return AfterValidator(check)


def fault(error: Mapping[str, Any]) -> Fault:
    """Put one error of pydantic into words."""
    expected, _, remedy = _expected(error).partition("\n")
    remedy = remedy or _REMEDIES.get(error["type"], "Correct it.")
    found = "nothing" if error["type"] == "missing" else _found(error.get("input"))
    return Fault(".".join(map(str, error["loc"])), f"{expected}, found {found}. {remedy}")


def _expected(error: Mapping[str, Any]) -> str:
    if error["type"] == "missing":
        return "expected a value"
    if error["type"] == "extra_forbidden":
        return "expected no member of this name"
    if error["type"] in ("model_attributes_type", "model_type", "dict_type"):
        return "expected an object"
    if error["type"].startswith(("greater_than", "less_than")):
        return "expected a number " + str(error["msg"]).removeprefix("Input should be ")
    said: str = error["msg"].removeprefix("Value error, ")
    return said if said.startswith("expected ") else "expected " + _SAID.sub(_joined, said, count=1)


def _joined(match: re.Match[str]) -> str:
    return {"have ": "something with ", "match ": "something that matches "}.get(match[1] or "", "")


def _found(value: Any) -> str:
    """Quote a value as JSON has it, in ASCII and not too long; of what holds others only its kind."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = ascii(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(str(value)):,} characters)"
