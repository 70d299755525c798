"""Hexkit in an environment of its own, made when it is first needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

PACKAGE = "hexkit[mongodb,s3]==9.0.3"
HOME = Path(__file__).resolve().parents[2] / ".nox" / "bench-peers" / "hexkit"


def hexkit_python() -> Path:
    """The Python that has hexkit."""
    python = HOME / ("Scripts" if os.name == "nt" else "bin") / "python"
    stamp = HOME / "installed"
    if not stamp.exists() or stamp.read_text() != PACKAGE:
        shutil.rmtree(HOME, ignore_errors=True)
        print(f"installing {PACKAGE} ...", file=sys.stderr, flush=True)
        venv.create(HOME, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PACKAGE], check=True)
        stamp.write_text(PACKAGE)
    return python
