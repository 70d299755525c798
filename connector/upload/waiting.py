"""Waits until the archive has checked (interrogated) uploads, or rejected them."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import attrs
import trio

from connector.clients.uploads import ListingRefusedError, UploadBox
from connector.errors import BrokenError, IntegrityError, RefusedError
from connector.transfer import Outcome, RunContext
from connector.transfer.steps import polling_pause
from connector.upload.listing import ListedFile
from connector.wire.payloads import FileUpload

CHECKED = frozenset({"interrogated", "awaiting_archival", "archived"})
"""States of an upload that the archive has accepted."""
REFUSED = frozenset({"failed", "cancelled"})
_NAMED = 3


def outcome_of(alias: str, file_id: UUID, listed: FileUpload | None) -> Outcome[ListedFile] | None:
    """The outcome of an upload, by the listing of its alias; `None` while it is not checked."""
    if listed is None or listed.id != file_id:
        became = "removed from the box" if listed is None else "replaced in the box by another upload"
        error = IntegrityError(f"{alias} was {became}.", hint="Upload it again: the same command does.")
        return Outcome(alias, error=error)
    if listed.state in CHECKED:
        return Outcome(alias, ListedFile.of_upload(listed))
    if listed.state not in REFUSED:
        return None
    reason = listed.failure_reason or "the archive states no reason"
    became = "was cancelled in the archive" if listed.state == "cancelled" else "has failed in the archive"
    return Outcome(
        alias,
        error=IntegrityError(
            f"{alias} {became}: {reason.rstrip('.')}.", hint="Upload it again: the same command does."
        ),
    )


@attrs.frozen(kw_only=True)
class UploadWaiter:
    """Polls the states of uploads of one box, with one listing for all of them."""

    box: UploadBox
    run: RunContext

    async def wait_for(self, uploads: Mapping[str, UUID], *, timeout: float) -> list[Outcome[ListedFile]]:
        """Wait until each upload (its id by its alias) is checked or refused; the outcomes come in their order.

        Those that are neither after `timeout` seconds fail with `BrokenError`. Raises
        `RefusedError` if the archive refuses to list the box.
        """
        self.run.observer.planned([(alias, 0) for alias in uploads])  # files, of which no bytes are to move
        began = trio.current_time()
        ended: dict[str, Outcome[ListedFile]] = {}
        states: dict[str, str] = {}
        with trio.move_on_after(timeout):
            while len(ended) < len(uploads):
                asked = trio.current_time()
                listed = await self._find(uploads.keys() - ended.keys(), uploads)
                for alias in [alias for alias in uploads if alias not in ended]:
                    outcome = outcome_of(alias, uploads[alias], listed.get(alias))
                    if outcome is not None:
                        ended[alias] = outcome
                        self.run.observer.finished(outcome)
                states = {alias: listed[alias].state for alias in uploads if alias not in ended}
                if not states:
                    break  # without a pause
                now = trio.current_time()
                pause = polling_pause(now - began, began + timeout - now, now - asked, self.run.uniform)
                self.run.observer.waiting("", pause, _waiting_for(states))
                await trio.sleep(pause)
        return [ended.get(alias) or self._timed_out(alias, states.get(alias), timeout) for alias in uploads]

    async def _find(self, aliases: set[str], uploads: Mapping[str, UUID]) -> dict[str, FileUpload]:
        """The uploads with these aliases, by a new listing."""
        found: dict[str, FileUpload] = {}
        try:
            async for page in self.box.pages():
                for upload in page:
                    alias = upload.alias
                    # An archive may list other uploads of an alias beside the one that was sent.
                    if alias in aliases and (upload.id == uploads[alias] or alias not in found):
                        found[alias] = upload
        except ListingRefusedError as error:
            raise RefusedError(
                f"{error.message} So the states of the uploads cannot be requested.",
                hint="The uploads are complete and stay. Leave out --wait.",
                status=error.status,
            ) from error
        return found

    def _timed_out(self, alias: str, state: str | None, timeout: float) -> Outcome[ListedFile]:
        outcome: Outcome[ListedFile] = Outcome(
            alias,
            error=BrokenError(
                f"{alias} is uploaded, but not checked by the archive after {timeout:g} seconds"
                + (f": its state is {state}." if state else "."),
                hint="Run the same command again to wait on.",
            ),
        )
        self.run.observer.finished(outcome)
        return outcome


def _waiting_for(states: Mapping[str, str]) -> str:
    named = [f"{alias} ({state})" for alias, state in list(states.items())[:_NAMED]]
    more = f" and {len(states) - _NAMED} more" if len(states) > _NAMED else ""
    return f"The archive has not checked {', '.join(named)}{more} yet."
