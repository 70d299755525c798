"""Routes of the well-known values: the addresses of the other APIs, and the hubs' public keys."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connector.archive.hubs import Hubs
from connector.archive.routes.answers import health, json_answer
from connector.wire.payloads import WellKnownValues, write_payload


def wkvs_routes(hubs: Hubs, base_url: str) -> list[Route]:
    """The routes below `/.well-known`: all values at once, or each under its name.

    Args:
        hubs: The archive's hubs.
        base_url: The URL below which the archive serves all its APIs.
    """

    async def values() -> Mapping[str, object]:
        for hub in hubs:
            await hub.ring.follow()
        each: dict[str, object] = write_payload(
            WellKnownValues(
                crypt4gh_public_keys={hub.alias: base64.b64encode(hub.public_key).decode("ascii") for hub in hubs},
                wps_api_url=f"{base_url}/wps",
                dcs_api_url=f"{base_url}/dcs",
                ucs_api_url=f"{base_url}/ucs",
            )
        )
        return {**each, "storage_labels": {hub.alias: hub.label or hub.alias for hub in hubs}}

    async def get_all(request: Request) -> Response:
        return json_answer(await values())

    async def get_one(request: Request) -> Response:
        each = await values()
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
