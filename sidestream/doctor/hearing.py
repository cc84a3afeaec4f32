"""Asks every app and every sidecar of a system how it is, all at the same time. Changes nothing.

Each answers, is not there, or is frozen: it accepts the connection and says nothing. Who is slow is asked twice, because a machine
that stood still for a moment is no fault of who was asked. However many are frozen, it costs the time of one.
"""

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx

from sidestream.doctor.patient import AppHeard, AppSeen, RelaySeen, SidecarSeen
from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.network import LOOPBACK
from sidestream.launcher.readiness import reason_in
from sidestream.launcher.tokens import ASKED_BY_THE_SIDECAR
from sidestream.web.health import CHECK_SECONDS

_SECONDS: Final = 2.0
_READY_SECONDS: Final = CHECK_SECONDS + 1.0
"""An app gives each of its own checks so long before it says no."""
_TIMES: Final = 2


def heard(apps: Sequence[AppSeen], place: SystemFolder) -> tuple[dict[str, AppHeard], dict[str, SidecarSeen]]:
    """Ask every app and every sidecar; return what each says, by the name of the app."""
    with httpx.Client(trust_env=False) as client, ThreadPoolExecutor(max(1, 2 * len(apps))) as threads:
        told = threads.map(lambda each: app_of(client, each), apps)
        sidecars = threads.map(lambda each: sidecar_of(client, each, place), apps)
        return {one.name: one for one in told}, {one.app: one for one in sidecars}


def app_of(client: httpx.Client, each: AppSeen) -> AppHeard:
    """Ask an app whether it is up, whether it can do its work, and how its relay is doing."""
    door = f"http://{LOOPBACK}:{each.app.port}"
    try:
        answer = _asked(client, f"{door}/healthz", _SECONDS)
    except httpx.HTTPError as problem:
        return AppHeard(each.name, problem=_words(problem), frozen=isinstance(problem, httpx.TimeoutException))
    if not answer.is_success:
        return AppHeard(each.name, problem=f"/healthz answers {answer.status_code}")
    return AppHeard(each.name, unready=_reason_against(client, door), relay=_relay(client, each.name, door))


def sidecar_of(client: httpx.Client, each: AppSeen, place: SystemFolder) -> SidecarSeen:
    """Ask a sidecar what it has loaded; one that belongs to another app does not count."""
    token = each.settings.dapr_api_token if each.settings else ""
    with contextlib.suppress(OSError):
        token = token or (place.tokens / each.name / ASKED_BY_THE_SIDECAR).read_text(encoding="utf-8")
    try:
        url = f"http://{LOOPBACK}:{each.app.http_port}/v1.0/metadata"
        found = _asked(client, url, _SECONDS, {"dapr-api-token": token} if token else {}).raise_for_status().json()
    except (httpx.HTTPError, ValueError) as problem:
        return SidecarSeen(each.name, problem=_words(problem), frozen=isinstance(problem, httpx.TimeoutException))
    if not isinstance(found, dict) or found.get("id") != each.name:
        return SidecarSeen(each.name, problem="something else answers there")
    return SidecarSeen(
        each.name,
        version=str(found.get("runtimeVersion", "")),
        components=frozenset(str(one.get("name")) for one in found.get("components") or ()),
        topics=frozenset(str(one.get("topic")) for one in found.get("subscriptions") or ()),
    )


def _reason_against(client: httpx.Client, door: str) -> str:
    """Return why an app is not ready, empty where it is, or has no /readyz; a no counts when it is said twice."""
    reason = ""
    for _ in range(_TIMES):
        try:
            answer = client.get(f"{door}/readyz", timeout=_READY_SECONDS)
        except httpx.HTTPError as problem:
            reason = f"/readyz: {_words(problem)}"
            continue
        if answer.is_success or answer.status_code == httpx.codes.NOT_FOUND:
            return ""
        reason = reason_in(answer)
    return reason


def _relay(client: httpx.Client, app: str, door: str) -> RelaySeen | None:
    """Ask an app how its relay is doing; None where it has none, or does not say."""
    try:
        answer = client.get(f"{door}/relay", timeout=_SECONDS)
    except httpx.HTTPError:
        return None
    found = _json(answer) if answer.is_success else None
    if not isinstance(found, dict) or "store" not in found:
        return None
    return RelaySeen(app, str(found["store"]), str(found.get("stuck", "")))


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _asked(client: httpx.Client, url: str, seconds: float, headers: dict[str, str] | None = None) -> httpx.Response:
    """Ask, and once more where nothing came in time."""
    with contextlib.suppress(httpx.TimeoutException):
        return client.get(url, timeout=seconds, headers=headers)
    return client.get(url, timeout=seconds, headers=headers)


def _words(problem: Exception) -> str:
    return str(problem) or type(problem).__name__
