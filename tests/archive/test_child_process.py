"""Options of processes for each system."""

from __future__ import annotations

import subprocess
import sys

import pytest

from connector.archive.child_process import apart_from_terminal


def test_each_system_has_its_way_to_keep_signals_of_the_terminal_away() -> None:
    assert (
        apart_from_terminal(platform="linux") == apart_from_terminal(platform="darwin") == {"start_new_session": True}
    )
    assert apart_from_terminal(platform="win32") == {"creationflags": 0x200}


@pytest.mark.skipif(sys.platform != "win32", reason="a constant of Windows")
def test_the_constant_is_that_of_windows() -> None:
    assert apart_from_terminal()["creationflags"] == getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", None)
