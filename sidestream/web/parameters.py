"""A door takes the parameters that its app's own document declares and no other: 400 names those that there are.

A mistyped filter that is ignored answers with everybody's rows, and looks right; of a command it does what nobody asked for. Only
documented doors are looked at: what the sidecar asks (bell, inbox, health) is declared nowhere, and it may add what it likes.
"""

from starlette.requests import Request

from sidestream.web.problems import ProblemError


async def expect_known_parameters(request: Request) -> None:
    """Refuse a request with a parameter that its door does not know; a dependency of every route of an app."""
    if not request.scope["query_string"]:
        return
    route = request.scope.get("route")
    door = request.app.openapi()["paths"].get(getattr(route, "path", ""), {}).get(request.method.lower())
    if door is None:
        return
    known = [each["name"] for each in door.get("parameters", ()) if each["in"] == "query"]
    if unknown := [name for name in request.query_params if name not in known]:
        raise _unknown(unknown, known)


def _unknown(unknown: list[str], known: list[str]) -> ProblemError:
    detail = f"{f'expected {_listed(known)}' if known else 'expected no parameter here'}, found another one. Leave it out, or correct it."
    errors = [{"field": f"query.{name[:80]}", "detail": detail} for name in unknown]
    return ProblemError(400, f"parameter {unknown[0][:80]!a}: {detail}", code="invalid-request", errors=errors)


def _listed(names: list[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
