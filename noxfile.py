"""Sessions for developers and continuous integration: ``nox`` runs the tests, ``nox -l`` lists the rest."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import nox
from packaging.requirements import Requirement

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["tests"]
nox.options.reuse_venv = "yes"

PROJECT = nox.project.load_toml("pyproject.toml")
EXTRAS = ",".join(PROJECT["project"]["optional-dependencies"])
CEPH_PROGRAMS = {name: name for name in ("ceph-mon", "ceph-osd", "radosgw")} | {"ceph": "ceph-common"}
TEST_PROGRAMS = {"nginx": "nginx-light"}
BENCH_PROGRAMS = {"nginx": "nginx-light", "curl": "curl", "aria2c": "aria2", "wrk": "wrk"}
GHGA_CONNECTOR = "ghga-connector==4.0.1"
HEXKIT = "hexkit[mongodb,s3]==9.0.3"
ROOMS = ("crypt4gh", "wire", "transfer", "local", "clients", "download", "upload", "adapters", "recrypt")
UNIT = [f"tests/{room}" for room in ROOMS]
"""The tests of the rooms that need no server."""
ONE_UPLOAD_AND_DOWNLOAD = "tests/test_main_job.py"
ON_A_CLUSTER = (
    "tests/archive",
    "tests/cli",
    "tests/test_main_job.py",
    "tests/test_refusals.py",
    "tests/reliability/test_commands.py",
    "tests/reliability/test_third_party.py",
)
"""The contract tests, those of the command line, and the clients of others: where there are tests of both set-ups."""
LOAD = "tests/archive/test_load.py"
ON_ITS_SERVERS = {
    "juicefs": ("tests/persistence/test_from_hexkit.py",),
    "ceph": ("tests/persistence/objects/test_s3_suite.py",),
}
BATCH_SYSTEMS = "tests/reliability/test_batch_systems.py"
# Many tests wait for a time to pass or for a process; every worker has servers of its own.
SEVERAL_AT_ONCE = ("-n", "3", "--dist", "worksteal")
# Thousands of tests start programs. They are compiled once, also where the surroundings forbid Python to keep that.
COMPILED_ONCE = {"PYTHONDONTWRITEBYTECODE": ""}
BRANCHES = 95
"""Percent of the branches of both packages that the tests have to take."""


def group(*names: str) -> list[str]:
    return nox.project.dependency_groups(PROJECT, *names)


def provide(session: nox.Session, programs: dict[str, str], *, required: bool = True) -> None:
    """Install Debian's packages for those of the programs that are not there."""
    missing = [package for program, package in programs.items() if shutil.which(program) is None]
    if missing and shutil.which("apt-get") and os.geteuid() == 0:
        session.run("apt-get", "update", "-q", external=True)
        session.run("apt-get", "install", "-qy", "--no-install-recommends", *missing, external=True)
    elif missing and required:
        session.error(f"install these first: {' '.join(missing)}")


def install_apart(session: nox.Session, package: str, program: str) -> str:
    """Install a package beside the session's environment, whose versions it would not go with; give its program."""
    home = Path(session.virtualenv.location).resolve().parent / package
    installed = home / "installed"
    if not installed.exists():
        session.run("python", "-m", "venv", "--clear", str(home))
        session.run(str(home / "bin" / "python"), "-m", "pip", "install", "-q", package, external=True)
        installed.touch()
    return str(home / "bin" / program)


def lowest_versions() -> list[str]:
    """Return the requirements of the project and its extras, each with the lowest version that it promises."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    lowest = []
    for text in [*PROJECT["project"]["dependencies"], *(text for extra in extras for text in extra)]:
        requirement = Requirement(text)
        versions = [bound.version for bound in requirement.specifier if bound.operator in (">=", "==")]
        lowest.append(f"{requirement.name}=={versions[0]}" if versions else requirement.name)
    return lowest


@nox.session
def unit(session: nox.Session) -> None:
    """Run the tests of the rooms that need no server: under a minute of processor time."""
    session.install("-e", f".[{EXTRAS}]", *group("unit"))
    session.run("pytest", *UNIT, *session.posargs, env=COMPILED_ONCE)


@nox.session(name="tests-on")
@nox.parametrize(
    ("python", "versions"), [("3.11", "lowest"), *((f"3.{minor}", "newest") for minor in (11, 12, 13, 14))]
)
def tests_on(session: nox.Session, versions: str) -> None:
    """Run the unit tests, one upload and one download on a Python, with the lowest or the newest libraries."""
    session.install("-e", f".[{EXTRAS}]", *(lowest_versions() if versions == "lowest" else []), *group("unit"))
    # There is no server for an archive of several processes.
    session.run("pytest", *UNIT, ONE_UPLOAD_AND_DOWNLOAD, "-k", "not cluster", *session.posargs, env=COMPILED_ONCE)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests and measure their branches; or some, unmeasured: nox -s tests -- tests/cli -k keygen."""
    session.install("-e", f".[{EXTRAS}]", *group("tests"))
    provide(session, TEST_PROGRAMS, required=False)  # tests that need them are skipped, and fail only in CI
    surroundings = {
        **COMPILED_ONCE,
        "GHGA_CONNECTOR": install_apart(session, GHGA_CONNECTOR, "ghga-connector"),
        "HEXKIT_PYTHON": install_apart(session, HEXKIT, "python"),
    }
    if session.posargs:
        session.run("pytest", *session.posargs, env=surroundings)
        return
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *SEVERAL_AT_ONCE, env=surroundings)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")
    check_branches(session, Path(session.create_tmp()) / "coverage.json")


def check_branches(session: nox.Session, report: Path) -> None:
    """Fail unless enough branches were taken: coverage itself bounds only lines and branches together."""
    session.run("coverage", "json", "--quiet", "-o", str(report))
    measured = json.loads(report.read_text())
    taken, there = (measured["totals"][name] for name in ("covered_branches", "num_branches"))
    unseen = sorted(
        str(path)
        for package in ("connector", "persistence")
        for path in Path(package).rglob("*.py")
        if path.stat().st_size and str(path) not in measured["files"]
    )
    if unseen:
        session.error(f"no test loads {', '.join(unseen)}")
    share = f"{taken:,} of {there:,} branches: {taken / there:.2%}"
    if taken * 100 < BRANCHES * there:
        session.error(f"{share}, less than {BRANCHES} %")
    session.log(f"{share}, of at least {BRANCHES} %")


@nox.session
def soak(session: nox.Session) -> None:
    """Run the tests that take many minutes each, as those of 20,000 files, and print their figures."""
    session.install("-e", f".[{EXTRAS}]", *group("tests"))
    session.run("pytest", "-m", "soak", "-rP", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format with ruff, and spelling with codespell."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")


@nox.session
def typing(session: nox.Session) -> None:
    """Check types with mypy --strict: the packages as on Linux, macOS and Windows, tests and benchmarks as on Linux."""
    session.install("-e", f".[{EXTRAS}]", *group("typing", "tests"))
    session.run("mypy", "--strict", *session.posargs)
    for platform in ("darwin", "win32"):  # where tests have no signals, limits and devices of Linux
        session.run("mypy", "--strict", "--platform", platform, "-p", "connector", "-p", "persistence")


@nox.session
def package(session: nox.Session) -> None:
    """Build the sdist, the wheel from it, install that and run the demonstration."""
    session.install("build")
    built = Path(session.create_tmp())
    session.run("python", "-m", "build", "--outdir", str(built))
    (wheel,) = built.glob("*.whl")
    session.install("--force-reinstall", "--no-deps", f"{wheel}")
    session.install(f"{wheel}[archive]")
    session.chdir(built)  # not the source beside this file
    session.run("connector", "demo", *session.posargs)


@nox.session(venv_backend="none")
def newcomer(session: nox.Session) -> None:
    """Do what README tells a newcomer, literally, in a fresh clone of the last commit."""
    session.run("python3", "tests/newcomer/run_readme.py", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Kill (100 times each way, or as CHAOS_KILLS says), cut, stall and damage real processes: is nothing lost?"""
    session.install("-e", f".[{EXTRAS}]", *group("tests"))
    kills = os.environ.get("CHAOS_KILLS", "100")
    provide(session, TEST_PROGRAMS)
    session.run("pytest", "tests/chaos", BATCH_SYSTEMS, "-m", "", *session.posargs, env={"CHAOS_KILLS": kills})


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz what reads from outside, 40 s for each of the properties (10 minutes), or as FUZZ_SECONDS says."""
    session.install("-e", f".[{EXTRAS}]", *group("tests"))
    session.run("pytest", "tests/fuzz", *session.posargs, env={"FUZZ_SECONDS": os.environ.get("FUZZ_SECONDS", "40")})


@nox.session
def schema(session: nox.Session) -> None:
    """Send what schemathesis makes of the archive's routes, for 10 minutes or as FUZZ_SECONDS says: no unnamed 5xx."""
    session.install("-e", f".[{EXTRAS}]", "schemathesis", "crypt4gh", "PyNaCl")
    session.run("python", "-m", "tests.support.schema_fuzzer", os.environ.get("FUZZ_SECONDS", "600"))


@nox.session
def cluster(session: nox.Session) -> None:
    """Test an archive of two servers behind nginx and two workers, on MongoDB (a replica set of three) and JuiceFS."""
    test_cluster(session, "juicefs")


@nox.session
def ceph(session: nox.Session) -> None:
    """The same on a real Ceph radosgw, from Debian's packages, and the storage suite on that."""
    provide(session, CEPH_PROGRAMS)
    test_cluster(session, "ceph")


def test_cluster(session: nox.Session, s3_server: str) -> None:
    """Run those tests of both set-ups that run on a cluster, in one run on the same servers; or what is asked for."""
    session.install("-e", f".[{EXTRAS}]", *group("tests"))
    provide(session, TEST_PROGRAMS)
    more = ON_ITS_SERVERS[s3_server]
    chosen = " or ".join(["cluster", *(Path(file).stem for file in more)])
    usual = (*ON_A_CLUSTER, *more, "--ignore", LOAD, "-m", "", "-k", chosen)
    environment = {
        "PERSISTENCE_TEST_S3_SERVER": s3_server,
        "CI": "true",
        "GHGA_CONNECTOR": install_apart(session, GHGA_CONNECTOR, "ghga-connector"),
        "HEXKIT_PYTHON": install_apart(session, HEXKIT, "python"),
    }
    session.run("pytest", *(session.posargs or usual), env=environment)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure against peers: nox -s bench runs all, nox -s bench -- download one of them."""
    session.install("-e", f".[{EXTRAS}]", *group("tests"))
    provide(session, BENCH_PROGRAMS)
    # As users have it: compiled once, also where the surroundings forbid Python to keep that.
    session.run("python", "-m", "benchmarks", *session.posargs, env={"PYTHONDONTWRITEBYTECODE": ""})
