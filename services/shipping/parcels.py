"""Decides how an order is sent, and what an answer of the orders service means. Pure.

The command is made from the event that it follows, and from nothing else: whoever repeats it, another replica or this one
after a crash, sends the very same bytes under the very same key.
"""

import hashlib
import re
from typing import Any, Final, Literal

import msgspec

from services.shipping.due import Shipment

CARRIER: Final = "parcel post"
_LATER: Final = frozenset({408, 425, 429})
_TOLD_BY_THE_LOG: Final = frozenset({"order-shipped", "order-cancelled"})
"""Refusals that need no note: the event that says so is in the log already, or on its way."""
_LONGEST_DETAIL: Final = 500
_TOKEN: Final = re.compile("[!-~]{1,80}")


class Parcel(msgspec.Struct, frozen=True):
    """The command to ship one order."""

    path: str
    body: dict[str, str]
    headers: dict[str, str]


def parcel_for(shipment: Shipment) -> Parcel:
    """Return the command that ships this order."""
    key = _token(shipment.paid_event)
    headers = {"idempotency-key": key, "x-causation-id": key}
    if shipment.correlation_id:
        headers["x-correlation-id"] = _token(shipment.correlation_id)
    if shipment.traceparent:
        headers["traceparent"] = shipment.traceparent
    return Parcel(f"/orders/{shipment.order}/shipment", {"carrier": CARRIER, "tracking": f"PP-{key}"}, headers)


def _token(text: str) -> str:
    """Return an id as a header can carry it: as it is, or the digest of what somebody else wrote."""
    return text if _TOKEN.fullmatch(text) else hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Verdict(msgspec.Struct, frozen=True):
    """What became of a command.

    Attributes:
        outcome: `done`: the log will say so; `later`: ask again; `refused`: asking again is of no use.
    """

    outcome: Literal["done", "later", "refused"]
    code: str = ""
    detail: str = ""


def judge(status: int, problem: Any, *, retry_after: bool) -> Verdict:
    """Tell what an answer means.

    Args:
        status: of the answer.
        problem: its body as decoded JSON; anything.
        retry_after: whether it said when to come again.
    """
    code, detail = _told(status, problem)
    if 200 <= status < 300 or (status == 409 and code in _TOLD_BY_THE_LOG):
        return Verdict("done")
    if status >= 500 or status in _LATER or retry_after or not code:
        return Verdict("later", code or f"status-{status}", detail)
    return Verdict("refused", code, detail)


def _told(status: int, problem: Any) -> tuple[str, str]:
    """Code and detail of a problem of ours; no code where somebody on the way answered instead, such as the sidecar."""
    if not isinstance(problem, dict):
        return "", f"status {status}"
    kind, detail = str(problem.get("type", "")), str(problem.get("detail", ""))[:_LONGEST_DETAIL]
    prefix = "urn:sidestream:problem:"
    return (kind.removeprefix(prefix), detail) if kind.startswith(prefix) else ("", detail or f"status {status}")
