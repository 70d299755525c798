"""Runs calls of the inbox service of docs/from-hexkit.md: python inbox_driver.py MODULE BACKEND < calls > results

MODULE is `before` (needs hexkit) or `after` (needs persistence), in a folder on PYTHONPATH. Calls are JSON lines,
`[name, arguments]`; for each a line with the result is printed, after a line when it is ready.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib
import json
import sys
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID


def transfer(url: str, content: bytes | None = None) -> bytes:
    """GET, or PUT without any header of its own: the URL may be signed for none."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    connection.request("GET" if content is None else "PUT", f"{parts.path}?{parts.query}", content)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == 200, body
    return body


async def call(inbox: Any, models: Any, name: str, arguments: dict[str, Any]) -> Any:
    arguments = {key: UUID(value) if key in ("id_", "depositor") and isinstance(value, str) else value
                 for key, value in arguments.items()}  # fmt: skip
    if name == "announce":
        arguments["depositor"] = models.Depositor(**arguments["depositor"])
    if name == "complete":
        arguments["checksum"] = models.Checksum(**arguments["checksum"])
    if name == "of_depositor":
        arguments["since"] = datetime.fromisoformat(arguments["since"])
    if name == "send_part":
        content = bytes([arguments["fill"]]) * arguments["size"]
        return transfer(await inbox.part_url(arguments["id_"], arguments["number"]), content).decode()
    if name == "download":
        return hashlib.sha256(transfer(await inbox.download_url(**arguments))).hexdigest()
    try:
        result = await getattr(inbox, name)(**arguments)
    except models.AccessionTaken as error:
        return f"taken: {error}"
    if isinstance(result, list):
        return [json.loads(item.model_dump_json()) for item in result]
    return json.loads(result.model_dump_json()) if hasattr(result, "model_dump_json") else result


async def main(module: str) -> None:
    service, models = importlib.import_module(module), importlib.import_module("models")
    async with service.open_inbox() as inbox:
        print("ready", flush=True)
        for line in sys.stdin:
            name, arguments = json.loads(line)
            print(json.dumps(await call(inbox, models, name, arguments)), flush=True)


if __name__ == "__main__":
    if sys.argv[2] == "trio":
        import trio

        trio.run(main, sys.argv[1])
    else:
        import asyncio

        asyncio.run(main(sys.argv[1]))
