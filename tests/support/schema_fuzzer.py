"""schemathesis on the routes of a served archive: no answer of 500 or more that does not name its cause.

Needs an environment with `schemathesis` (`nox -s schema`): python -m tests.support.schema_fuzzer SECONDS
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import hypothesis
import requests  # type: ignore[import-untyped, unused-ignore]
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from tests.support.archive_openapi import document
from tests.support.archive_process import ArchiveProcess, served_archive
from tests.support.contract_client import ContractClient, new_private_key, public_of

EXAMPLES = 30
NAMED = {500: {"uploadCompletionError"}, 503: {"unavailable"}, 507: {"boxMaxSizeExceeded"}}
"""The ids of the contract, and of a storage that is full or away."""
KINDS = {
    "get /ucs/boxes/{box_id}/uploads": "view",
    "post /ucs/boxes/{box_id}/uploads": "create",
    "get /ucs/boxes/{box_id}/uploads/{file_id}/parts/{number}": "upload",
    "patch /ucs/boxes/{box_id}/uploads/{file_id}": "close",
    "delete /ucs/boxes/{box_id}/uploads/{file_id}": "delete",
}


class Tokens:
    """Gives each request the token that it needs, so that it gets as far as it can."""

    def __init__(self, up: ContractClient, down: ContractClient, accession: str) -> None:
        self.up, self.down, self.accession = up, down, accession
        self.box = up.package().json()["research_data_upload_box_id"]

    def header(self, operation: str, case: Any) -> str:
        path = operation.split(" ", 1)[1]
        if path.startswith("/wps"):
            down = (case.path_parameters or {}).get("package_id") == self.down.package_id
            return (self.down if down else self.up).secret
        if path.startswith(("/dcs", "/ga4gh")):
            return self.order(self.down, f"files/{self.accession}", {})
        kind = KINDS.get(operation)
        if kind is None:
            return "x"
        wanted: dict[str, Any] = {"work_type": kind}
        if kind == "create":
            wanted["alias"] = case.body.get("alias") if isinstance(case.body, dict) else "x"
        elif kind != "view":
            wanted["file_id"] = (case.path_parameters or {}).get("file_id")
        return self.order(self.up, f"boxes/{self.box}", wanted)

    def order(self, client: ContractClient, what: str, wanted: dict[str, Any]) -> str:
        url = f"{client.values['wps_api_url']}/work-packages/{client.package_id}/{what}/work-order-tokens"
        try:
            answer = client.http.post(url, json=wanted, headers={"Authorization": f"Bearer {client.secret}"})
        except (UnicodeError, ValueError):
            return "x"
        check(answer.status_code, answer.content, url)
        return client.unlock(answer.json()) if answer.status_code == 201 else "x"


def check(status: int, body: bytes, what: str) -> None:
    if status < 500:
        return
    known = NAMED.get(status, set())
    assert any(name.encode() in body for name in known), f"{what} was answered {status}: {body[:300]!r}"


class Fuzzer:
    """Sends what schemathesis makes of the archive's document, to the archive of two users."""

    def __init__(self, served: ArchiveProcess, http: httpx.Client) -> None:
        self.answers: Counter[int] = Counter()
        self._served = served
        self._http = http
        self._key = new_private_key()
        self._up = self._client(served.grant_upload(public_of(self._key)))
        self._session = requests.Session()
        self._session.trust_env = False

    def run(self, seconds: float) -> None:
        """Send requests of all kinds in rounds. Each begins with new files, since deletions are among the requests."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            up = self._up
            done = up.upload("stored.bam", up.seal(os.urandom(200_000)), overwrite=True)
            accession = self._served.wait_for_file(done)["accession"]
            opened = up.create(f"{uuid4()}.bam", up.seal(os.urandom(1000))).json()["file_id"]
            down = self._client(self._served.grant_download(public_of(self._key), [accession]))
            package = up.package().json()
            known = document(
                packages=[up.package_id, down.package_id],
                boxes=[package["research_data_upload_box_id"], package["file_upload_box_id"]],
                files=[done, opened],
                accessions=[accession],
            )
            tokens = Tokens(up, down, accession)
            for found in schemathesis.openapi.from_dict(known).get_all_operations():
                for mode in GenerationMode:
                    if time.monotonic() < until:
                        self._fuzz(found.ok(), mode, tokens)
            up.delete(done)

    def _client(self, token: str) -> ContractClient:
        return ContractClient(self._served.wkvs_url, token, self._key, self._http)

    def _fuzz(self, operation: Any, mode: GenerationMode, tokens: Tokens) -> None:
        name = f"{operation.method.lower()} {operation.path}"
        base = self._served.wkvs_url.removesuffix("/.well-known")

        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy(generation_mode=mode))
        def send(case: Any) -> None:
            headers = {"Authorization": f"Bearer {tokens.header(name, case)}"}
            try:
                answer = case.call(base_url=base, session=self._session, headers=headers, timeout=30)
            except (UnicodeError, requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL):
                return  # what this client cannot send
            self.answers[answer.status_code] += 1
            check(answer.status_code, answer.content, f"{name} {case.path_parameters} {case.query} {case.body!r}"[:500])

        with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # nothing is wrong for a route without parameters
            send()
        print(f"{self.answers.total():>6} requests after {mode.value} {name}", file=sys.stderr, flush=True)


def main(seconds: float) -> None:
    """Fuzz a new archive, and print how it answered."""
    with tempfile.TemporaryDirectory() as folder, httpx.Client(timeout=30, trust_env=False) as http:
        with served_archive(Path(folder) / "archive", "--open-uploads", "1000000") as served:
            fuzzer = Fuzzer(served, http)
            fuzzer.run(seconds)
            assert served.process.poll() is None, "the archive ended"
    print(f"{fuzzer.answers.total()} requests in {seconds:g} s: {dict(sorted(fuzzer.answers.items()))}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 600)
