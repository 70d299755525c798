"""`connector ls`: the files of a work package and their states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.cli.options import archive_options, command

if TYPE_CHECKING:
    from connector.cli.run import Invocation
    from connector.session import Session
    from connector.upload.listing import ListedFile

_UNKNOWN = "unknown"


@command(resume_hint="")
@archive_options
def ls(invocation: Invocation, /, **_: object) -> None:
    """List the files of your work package and their states.

    Of uploads, all that the box holds: state, size, since when, name, and the reason of a failure. Of files to
    download, accession and file name: their sizes are not asked for, since the archive would stage each file to tell.
    """
    from datetime import UTC, datetime

    import attrs

    console, now = invocation.console, datetime.now(UTC)

    async def job(session: Session) -> str:
        listed = ""
        async for file in session.list_files():
            age = file.age(now)
            if not console.as_json:
                if not listed:
                    console.info(_row("STATE", "SIZE", "AGE", "NAME"))
                reason = f": {console.clean(file.failure_reason)}" if file.failure_reason else ""
                console.result(_line(file, age) + reason)
            listed = file.kind
            console.record({**attrs.asdict(file), "age": None if age is None else round(age)})
        return listed

    listed = invocation.wait_for(invocation.access().in_session(job))
    if not listed:
        console.info("There are no files.")
    elif listed == "download":
        console.info("States and sizes are not requested: the archive would have to stage each file.")


def _line(file: ListedFile, age: float | None) -> str:
    from connector.cli.console import amount

    size = _UNKNOWN if file.size is None else amount(file.size)
    name = file.name if file.file_name in (None, file.name) else f"{file.name}  {file.file_name}"
    return _row(file.state or _UNKNOWN, size, _UNKNOWN if age is None else ago(age), name)


def _row(state: str, size: str, since: str, name: str) -> str:
    # What varies most comes last, so that rows are aligned before all of them are known.
    return f"{state:<17}  {size:>9}  {since:>9}  {name}"


def ago(seconds: float) -> str:
    """Return a time that has passed for reading, in its largest unit: `3 h`."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"
