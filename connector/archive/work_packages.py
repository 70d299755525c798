"""The work package service: grants, and the work order tokens that they permit."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import string
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import attrs
import trio

from connector.archive.errors import Forbidden, InvalidRequest, Unauthenticated
from connector.archive.file_registry import FileRegistry
from connector.archive.models import Box, WorkPackage
from connector.archive.settings import Clock, utc_now
from connector.archive.tokens import TokenIssuer, WorkOrder
from connector.archive.upload_checks import MAX_ALIAS
from connector.crypt4gh.keys import seal_text
from connector.wire.payloads import WorkOrderRequest, WorkType
from persistence.documents import Dao
from persistence.errors import NotFound, PersistenceError

_TOKEN_LENGTH = 24
"""Letters and digits of an access token: 142 random bits."""
_USE_INTERVAL = timedelta(minutes=1)
"""How often the last use of a grant is written at most."""
_NOTING_TIME = 0.5
"""Seconds that this may take."""
_TOKEN_ALPHABET = string.ascii_letters + string.digits


@attrs.frozen
class Grant:
    """A new work package and its access token, as the user receives it: `PACKAGE_ID:ENCRYPTED`."""

    package: WorkPackage
    access_token: str = attrs.field(repr=False)


def hash_token(token: str) -> str:
    """The stored form of an access token. It is random and long, so that a plain sha256 cannot be searched."""
    return hashlib.sha256(token.encode()).hexdigest()


@attrs.frozen(eq=False)
class WorkPackageService:
    """Grants work packages, and issues encrypted work order tokens for their access tokens.

    Args:
        package_lifetime: Seconds for which a work package is valid.
    """

    _packages: Dao[WorkPackage]
    _registry: FileRegistry
    tokens: TokenIssuer
    _clock: Clock
    _package_lifetime: int

    async def grant_upload(self, box: Box, public_key: bytes, *, lifetime: float | None = None) -> Grant:
        """Let the owner of `public_key` upload into `box`, for `lifetime` seconds if that is given."""
        return await self._grant(public_key, lifetime, type="upload", rdub_id=box.rdub_id, box_id=box.id)

    async def grant_download(
        self, files: Mapping[str, str], public_key: bytes, *, lifetime: float | None = None
    ) -> Grant:
        """Let the owner of `public_key` download `files` (accession to file name extension)."""
        return await self._grant(public_key, lifetime, type="download", files=dict(files))

    async def _grant(self, public_key: bytes, lifetime: float | None, **kind: object) -> Grant:
        token = "".join(secrets.choice(_TOKEN_ALPHABET) for _ in range(_TOKEN_LENGTH))
        created = utc_now(self._clock)
        package = WorkPackage(
            id=str(uuid4()),
            user_public_crypt4gh_key=base64.b64encode(public_key).decode("ascii"),
            token_hash=hash_token(token),
            created=created,
            expires=created + timedelta(seconds=self._package_lifetime if lifetime is None else lifetime),
            **kind,  # type: ignore[arg-type]
        )
        await self._packages.insert(package)
        return Grant(package, f"{package.id}:{seal_text(token, public_key)}")

    async def get(self, package_id: str, access_token: str | None) -> WorkPackage:
        """Return the work package that an access token opens.

        Raises:
            Unauthenticated: There is no token.
            Forbidden: The package is unknown, expired or revoked, or the token is another one; all in the same words.
        """
        if not access_token:
            raise Unauthenticated("An access token is needed.")
        package = await self._find(package_id)
        given = hash_token(access_token)
        if package is None or not hmac.compare_digest(given, package.token_hash) or not self.is_valid(package):
            raise Forbidden("This access token does not open this work package, or it has expired.")
        await self._note_use(package)
        return package

    async def verify(self, token: str | None, *allowed: WorkType) -> WorkOrder:
        """Return the work order of a valid token whose work package is valid, too.

        Raises:
            Unauthenticated: As `TokenIssuer.verify`, or the work package has expired or was revoked since.
        """
        order = await self.tokens.verify(token, *allowed)
        package = await self._find(order.work_package_id)
        if package is None or not self.is_valid(package):
            raise Unauthenticated("The work package of this token has expired or was revoked.")
        return order

    def is_valid(self, package: WorkPackage) -> bool:
        """Whether a work package is neither expired nor revoked."""
        return package.revoked is None and utc_now(self._clock) < package.expires

    def find_all(self) -> AsyncIterator[WorkPackage]:
        """All work packages, the oldest first."""
        return self._packages.find_all(sort=["created"])

    async def revoke(self, package_id: str) -> WorkPackage | None:
        """End a work package: every process refuses its tokens from now on. `None` if there is none."""
        package = await self._find(package_id)
        if package is None or package.revoked is not None:
            return package
        with suppress(NotFound):
            changes = {"revoked": utc_now(self._clock)}
            return await self._packages.compare_and_set(package_id, expected={}, changes=changes)
        return None

    async def _find(self, package_id: str) -> WorkPackage | None:
        with suppress(NotFound):
            return await self._packages.get_by_id(package_id)
        return None

    async def _note_use(self, package: WorkPackage) -> None:
        now = utc_now(self._clock)
        if package.last_used is None or now - package.last_used >= _USE_INTERVAL:
            # Of several processes one writes. A failure to write it is no reason to refuse the request, nor is a writer
            # of another process that is stopped in its transaction a reason to hold it up.
            with trio.move_on_after(_NOTING_TIME), suppress(PersistenceError):
                await self._packages.compare_and_set(
                    package.id, expected={"last_used": package.last_used}, changes={"last_used": now}
                )

    async def issue_download_token(self, package: WorkPackage, accession: str) -> str:
        """Return an encrypted token for the download of one file of the package.

        Raises:
            Forbidden: The file is not in the package.
            NoSuchObject: It is no longer registered.
        """
        if package.files is None or accession not in package.files:
            raise Forbidden("This work package does not give access to this file.")
        file = await self._registry.get(accession)
        return await self._issue(package, "download", file_id=file.file_id, accession=accession)

    async def issue_upload_token(self, package: WorkPackage, rdub_id: str, request: WorkOrderRequest) -> str:
        """Return an encrypted token for one operation on the package's box or on a file in it.

        Raises:
            Forbidden: The box is not that of the package.
            InvalidRequest: The request does not say what the operation needs.
        """
        if package.box_id is None or package.rdub_id != rdub_id:
            raise Forbidden("This work package does not give access to this box.")
        alias = file_id = None
        match request.work_type:
            case "create":
                alias = request.alias
                if not alias or len(alias) > MAX_ALIAS:
                    raise InvalidRequest(
                        f"A work order to create an upload needs an alias of 1 to {MAX_ALIAS} characters.",
                        "body",
                        "alias",
                    )
            case "upload" | "close" | "delete":
                if request.file_id is None:
                    raise InvalidRequest(f"A work order for {request.work_type!r} needs a file_id.", "body", "file_id")
                file_id = str(request.file_id)
            case "view":
                pass
            case _:
                raise InvalidRequest(f"{request.work_type!r} is no operation on a box.", "body", "work_type")
        return await self._issue(package, request.work_type, box_id=package.box_id, alias=alias, file_id=file_id)

    async def _issue(self, package: WorkPackage, work_type: WorkType, **what: str | None) -> str:
        order = WorkOrder(work_type, package.user_public_crypt4gh_key, package.id, **what)
        return seal_text(await self.tokens.issue(order), order.user_public_key)
