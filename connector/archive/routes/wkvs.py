"""Routes of the well-known values."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connector.archive.routes.answers import health, json_answer
from connector.wire.payloads import WellKnownValues, write_payload


def wkvs_routes(values: WellKnownValues) -> list[Route]:
    """The routes below ``/.well-known``: all values at once, or each under its name."""
    each = write_payload(values)

    async def get_all(request: Request) -> Response:
        return json_answer(each)

    async def get_one(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in each:
            return json_answer(
                {"exception_id": "valueNotConfigured", "description": f"No value {name!r}.", "data": {}}, status=404
            )
        return json_answer({name: each[name]})

    return [
        Route("/health", health),
        Route("/values", get_all),
        Route("/values/{name}", get_one),
    ]
