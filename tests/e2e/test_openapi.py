"""Each app does what its OpenAPI page says: requests made from the page, right and wrong ones, get the answers it declares.

Deterministic: the same requests in every run.
"""

import contextlib
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.python import asgi
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from sidestream.backbone import MemoryBackbone
from sidestream.settings import Settings
from tests.e2e.all_apps import BOOTSTRAPS

CHECKS: Final = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
DETERMINISTIC: Final[dict[str, Any]] = {"max_examples": 12, "derandomize": True, "database": None}
Operation = APIOperation[Any, Any, Any, Any]


@pytest.fixture(params=BOOTSTRAPS)
def app(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """One app over a memory backbone; the client that schemathesis makes for it starts and stops it."""
    monkeypatch.setenv("SIDESTREAM_ASSET_ROOTS", str(tmp_path))
    return BOOTSTRAPS[request.param].create_app(Settings(data=tmp_path / "data"), MemoryBackbone())


@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: f"{mode.value} requests")
def test_requests_made_from_the_page_get_the_answers_that_it_declares(app: Any, mode: GenerationMode) -> None:
    tried = 0
    with asgi.get_client(app) as client:
        for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
            assert isinstance(found, Ok), found
            tried += ask(found.ok(), mode, client)
    assert tried


def ask(operation: Operation, mode: GenerationMode, client: asgi.ASGIClient) -> int:
    """Ask for one thing in several ways; return in how many."""
    tried = 0

    @settings(phases=[Phase.generate], suppress_health_check=list(HealthCheck), deadline=None, **DETERMINISTIC)
    @given(case=operation.as_strategy(generation_mode=mode))
    def one_way(case: Any) -> None:
        nonlocal tried
        tried += 1
        case.call_and_validate(session=client, checks=CHECKS)

    with contextlib.suppress(Unsatisfiable):  # nothing can be wrong with a request that has no parts
        one_way()
    return tried
