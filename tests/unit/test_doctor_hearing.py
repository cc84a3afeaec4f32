"""What the doctor hears of an app: who answers, who is not there, who is frozen, and who cannot do its work."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from sidestream.doctor.examination import examine
from sidestream.doctor.hearing import app_of, sidecar_of
from sidestream.doctor.patient import AppHeard
from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.settings import LauncherSettings

VOTING = Path(__file__).resolve().parents[1] / "apps" / "voting.yaml"
RED = httpx.Response(503, json={"detail": "Not ready: the log is away. Start the broker."})
Answers = dict[str, list[httpx.Response | httpx.HTTPError]]

VOTES = examine(VOTING, None, LauncherSettings(tokens="on"), (None, ())).apps[0]


def door(answers: Answers) -> httpx.Client:
    """Each path answers in its order, the last answer again and again; any other path is not there."""

    def answer(request: httpx.Request) -> httpx.Response:
        left = answers.get(request.url.path, [httpx.Response(404)])
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, httpx.HTTPError):
            raise found
        return found

    return httpx.Client(transport=httpx.MockTransport(answer))


def heard(**answers: list[httpx.Response | httpx.HTTPError]) -> AppHeard:
    with door({"/healthz": [httpx.Response(200)], **{f"/{path}": each for path, each in answers.items()}}) as client:
        return app_of(client, VOTES)


def test_an_app_that_says_no_twice_is_not_ready_for_the_reason_that_it_gives() -> None:
    assert heard(readyz=[RED]).unready == "Not ready: the log is away. Start the broker."


def test_an_app_that_says_no_once_was_only_slow() -> None:
    assert heard(readyz=[RED, httpx.Response(200)]) == AppHeard("votes")


def test_a_refusal_without_a_reason_is_said_by_its_status() -> None:
    assert heard(readyz=[httpx.Response(500, text="oops")]).unready == "/readyz answers 500"


def test_an_app_without_the_question_is_ready() -> None:
    assert heard().unready == ""


@pytest.mark.parametrize(("kind", "frozen"), [(httpx.ReadTimeout, True), (httpx.ConnectTimeout, True), (httpx.ConnectError, False)])
def test_who_takes_the_connection_and_is_silent_is_frozen(kind: Callable[[str], httpx.HTTPError], frozen: bool) -> None:
    assert heard(healthz=[kind("so")]) == AppHeard("votes", problem="so", frozen=frozen)


def test_who_is_silent_once_was_only_slow() -> None:
    assert heard(healthz=[httpx.ReadTimeout("so"), httpx.Response(200)]) == AppHeard("votes")


def test_a_sidecar_that_is_silent_is_frozen_and_one_that_refuses_is_not(tmp_path: Path) -> None:
    for told, frozen in ((httpx.ReadTimeout("so"), True), (httpx.Response(401), False)):
        with door({"/v1.0/metadata": [told]}) as client:
            seen = sidecar_of(client, VOTES, SystemFolder(tmp_path))
        assert (bool(seen.problem), seen.frozen) == (True, frozen)
