"""Bodies that no door takes: what each is, its bytes, its content type, and the status of the answer."""

from typing import Final

import pytest

JSON = "application/json"
_LONE = b'{"poll": "\\ud800", "path": "\\ud800", "type": "\\ud800"}'


GARBAGE: Final = [
    pytest.param(b"", JSON, 400, id="nothing"),
    pytest.param(b"{", JSON, 400, id="half an object"),
    pytest.param(b"not json", JSON, 400, id="text"),
    pytest.param(b"\xff\xfe\x00", JSON, 400, id="bytes"),
    pytest.param(b"[]", JSON, 400, id="list"),
    pytest.param(b"null", JSON, 400, id="null"),
    pytest.param(b"1e999", JSON, 400, id="number out of range"),
    pytest.param(b"NaN", JSON, 400, id="not a number"),
    pytest.param(b"{}", JSON, 400, id="empty object"),
    pytest.param(_LONE, JSON, 400, id="lone surrogate"),
    pytest.param(b"[" * 100_000 + b"]" * 100_000, JSON, 400, id="deep"),
    pytest.param(b'{"a":' * 50_000, JSON, 400, id="deep and open"),
    pytest.param(b'{"x": "' + b"x" * (5 * 1024 * 1024) + b'"}', JSON, 413, id="five megabytes"),
]
"""Parameters `body, content_type, status`."""
