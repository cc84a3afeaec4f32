"""Which apps of a system that has started cannot do their work, and why: by their own /readyz.

A start is not held up by it: an app that answers queries with 503 says what to run, and everything else works.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import httpx

PATIENCE_SECONDS: Final = 5.0
"""What begins needs a moment: it catches up with the log, or looks at its store for the first time."""
_ANSWER_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.1
_NO_SUCH_DOOR: Final = 404


async def not_ready(
    apps: Iterable[tuple[str, str]], patience: float = PATIENCE_SECONDS, answer_seconds: float = _ANSWER_SECONDS
) -> dict[str, str]:
    """Ask every app, given as name and address, until it is ready or patience ends; return why the others are not.

    A no counts when it is said twice, however little patience there is.
    """
    import httpx

    named = dict(apps)
    async with httpx.AsyncClient(trust_env=False, timeout=answer_seconds) as client:
        reasons = await asyncio.gather(*(_reason_at_last(client, url, patience) for url in named.values()))
    return {name: reason for name, reason in zip(named, reasons, strict=True) if reason}


async def _reason_at_last(client: "httpx.AsyncClient", url: str, patience: float) -> str:
    end = time.monotonic() + patience
    reason, is_last = await _reason(client, url), False
    while reason and not is_last:
        await asyncio.sleep(_PAUSE_SECONDS)
        is_last = time.monotonic() > end  # looked at before asking: a pause between the two is nobody's fault
        reason = await _reason(client, url)
    return reason


async def _reason(client: "httpx.AsyncClient", url: str) -> str:
    """Return why an app is not ready; nothing where it is, or has no such door."""
    import httpx

    try:
        answer = await client.get(f"{url}/readyz")
    except httpx.HTTPError as problem:
        return f"/readyz: {str(problem) or type(problem).__name__}"
    if answer.is_success or answer.status_code == _NO_SUCH_DOOR:
        return ""
    return reason_in(answer)


def reason_in(answer: "httpx.Response") -> str:
    """Return the reason that a /readyz gives in a problem document; of any other answer, its status."""
    try:
        found = answer.json()
    except ValueError:
        found = None
    said = found.get("detail") if isinstance(found, dict) else None
    return str(said or f"/readyz answers {answer.status_code}")
