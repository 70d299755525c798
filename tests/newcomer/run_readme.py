"""Does what README.md tells a newcomer: each command, literally, in a fresh clone. `nox -s newcomer` runs it.

A program of its own, as installing takes longer than a test may.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
THE_TESTS = "nox -s tests"
"""The command that runs the tests is not run here, since this is run beside them."""


def blocks(text: str) -> list[str]:
    """Return the blocks of shell commands up to the end of the first steps, in order.

    Raises:
        ValueError: The section is not there, or has no commands.
    """
    match = re.search(r"^(.*?^## First steps\n.*?)^## ", text, flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"^```\n(.*?)^```$", match[1], flags=re.DOTALL | re.MULTILINE) if match else []
    commands = [block for block in found if THE_TESTS not in block]
    if len(commands) < 2:
        raise ValueError("README.md has no first steps.")
    return commands


def main() -> int:
    """Run the blocks in one shell, which ends at the first command that fails."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        # A child in the background would keep the shell's output open; each line is shown before it runs.
        script = "trap 'kill $(jobs -p) 2>/dev/null' EXIT\nset -exo pipefail\n"
        script += "".join(blocks((clone / "README.md").read_text()))
        return subprocess.run(["bash", "-c", script], cwd=clone, timeout=600).returncode


if __name__ == "__main__":
    sys.exit(main())
