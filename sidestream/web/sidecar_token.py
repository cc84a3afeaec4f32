"""ASGI middleware: what the sidecar delivers must carry the token that we and the sidecar were told (APP_API_TOKEN).

The sidecar sends it; refusing others is the app's job. Other paths are for everybody who reaches the port.
"""

from hmac import compare_digest
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from sidestream.web.problems import problem

SIDECAR_PATHS: Final = ("/dapr/", "/bell/", "/inbox/")
_HEADER: Final = b"dapr-api-token"


class SidecarToken:
    """Answers 401 to deliveries without the token; every byte of it is compared, so that time tells nothing."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if it may come in."""
        if scope["type"] == "http" and scope["path"].startswith(SIDECAR_PATHS) and not self._carries_token(scope):
            detail = "Expected the header dapr-api-token with APP_API_TOKEN. Start the sidecar with the same APP_API_TOKEN as the app."
            await problem(401, detail, code="sidecar-token")(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _carries_token(self, scope: Scope) -> bool:
        found = [value for name, value in scope["headers"] if name == _HEADER]
        return len(found) == 1 and compare_digest(found[0], self._token)
