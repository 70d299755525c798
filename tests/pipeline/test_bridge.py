"""The jobs from plain code, asyncio, threads, processes and notebooks: nothing outlives a call, all is resumable."""

from __future__ import annotations

import ast
import asyncio
import inspect
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import trio

import connector
from tests.support.pipeline_site import SIZE, Site

ONE, TWO, THREE = (f"GHGAF0000000000000{number}" for number in (1, 2, 3))
PARTS = 20

pytestmark = pytest.mark.usefixtures("nothing_leaks")


@contextmanager
def ending_soon() -> Iterator[None]:
    """Within a second of the processor's time: by the clock it may be more, on a machine that is busy."""
    began, used = time.monotonic(), time.process_time()
    yield
    assert time.process_time() - used < 1
    assert time.monotonic() - began < 30


def assert_resumes(site: Site) -> None:
    """The interrupted download left parts that are not fetched again."""
    assert not (site.folder / "out" / f"{ONE}.bin").exists()
    before = len(site.archive.ranges)
    site.archive.latency.clear()
    (result,) = connector.download_files(ONE, output_dir=site.folder / "out", decrypt=True, **site.arguments)
    assert result.unwrap().size == SIZE
    assert site.is_whole(ONE)
    assert len(site.archive.ranges) - before < PARTS


def test_plain_code(site: Site) -> None:
    seen: list[connector.FileProgress] = []
    results = connector.download_files(
        [TWO, ONE], output_dir=site.folder / "out", decrypt=True, on_progress=seen.append, **site.arguments
    )
    assert [(result.unwrap().accession, result.unwrap().path.name) for result in results] == [
        (TWO, f"{TWO}.bin"),
        (ONE, f"{ONE}.bin"),
    ]
    assert site.is_whole(ONE)
    assert site.is_whole(TWO)
    ends = {progress.label: progress for progress in seen if progress.finished}
    assert ends == {each: connector.FileProgress(each, ends[each].size, ends[each].size, True) for each in (ONE, TWO)}
    assert pickle.loads(pickle.dumps(results)) == results


def test_plain_code_fails_as_the_library_does(site: Site) -> None:
    with pytest.raises(connector.RefusedError):
        connector.download_files("GHGAF9", output_dir=site.folder / "out", **site.arguments)
    site.archive.fail("object", 404, {"exception_id": "noSuchObject", "description": "", "data": {}})
    (failed,) = connector.download_files(ONE, output_dir=site.folder / "out", **site.arguments)
    assert isinstance(failed.error, connector.RefusedError)
    twin = pickle.loads(pickle.dumps(failed)).error
    assert (type(twin), str(twin), twin.status) == (connector.RefusedError, str(failed.error), failed.error.status)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_ends_it_in_good_order(site: Site, raised: type[BaseException]) -> None:
    site.archive.latency["get"] = 0.1
    soon, seen = ExitStack(), list[connector.FileProgress]()

    def interrupt(progress: connector.FileProgress) -> None:
        if progress.transferred > SIZE / 4 and not seen:
            seen.append(progress)
            soon.enter_context(ending_soon())
            if raised is SystemExit:
                raise SystemExit(3)
            signal.raise_signal(signal.SIGINT)  # Ctrl-C

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with soon, pytest.raises(raised):
            connector.download_files(
                ONE, output_dir=site.folder / "out", decrypt=True, on_progress=interrupt, **site.arguments
            )
    finally:
        signal.signal(signal.SIGINT, handler)
    assert_resumes(site)


def test_asyncio(site: Site) -> None:
    places: set[threading.Thread] = set()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    async def main() -> list[connector.Outcome[connector.DownloadedFile]]:
        ticker = asyncio.create_task(tick())
        site.archive.latency["get"] = 0.01
        results = await asyncio.gather(
            *(
                connector.download_files_async(
                    accession,
                    output_dir=site.folder / "out",
                    decrypt=True,
                    on_progress=lambda progress: places.add(threading.current_thread()),
                    **site.arguments,
                )
                for accession in (ONE, TWO)
            )
        )
        ticker.cancel()
        assert asyncio.all_tasks() <= {asyncio.current_task(), ticker}
        return [result for batch in results for result in batch]

    results = asyncio.run(main())
    assert [result.unwrap().accession for result in results] == [ONE, TWO]
    assert site.is_whole(ONE)
    assert site.is_whole(TWO)
    assert ticks > 10  # the loop was free
    assert places == {threading.current_thread()}
    with pytest.raises(connector.RefusedError):
        asyncio.run(connector.download_files_async("GHGAF9", output_dir=site.folder / "out", **site.arguments))


@pytest.mark.parametrize("moment", ["in the middle", "twice", "at the start"])
def test_a_cancelled_asyncio_task_ends_with_its_engine(site: Site, moment: str) -> None:
    site.archive.latency["get"] = 0.1

    async def main() -> None:
        moved = asyncio.Event()

        def look(progress: connector.FileProgress) -> None:
            if progress.transferred > SIZE / 4:
                moved.set()

        task = asyncio.create_task(
            connector.download_files_async(
                ONE, output_dir=site.folder / "out", decrypt=True, on_progress=look, **site.arguments
            )
        )
        if moment == "at the start":
            await asyncio.sleep(0)
        else:
            await asyncio.wait_for(moved.wait(), 60)
        with ending_soon():
            task.cancel("enough")
            if moment == "twice":
                await asyncio.sleep(0)
                task.cancel("enough")
            with pytest.raises(asyncio.CancelledError, match="enough"):
                await task
        assert not [thread for thread in threading.enumerate() if thread.name == "connector"]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    if moment != "at the start":
        assert_resumes(site)


ABANDONED = """
import asyncio, os, threading
import connector

def interrupt(progress):
    raise KeyboardInterrupt  # as by Ctrl-C, which `run_until_complete` does not turn into a cancellation

loop = asyncio.new_event_loop()
loop.create_task(connector.download_files_async(
    output_dir="out", private_key="my.sec", token=os.environ["CONNECTOR_ACCESS_TOKEN"], on_progress=interrupt,
))
try:
    loop.run_forever()
except KeyboardInterrupt:
    print([thread.name for thread in threading.enumerate() if thread.name == "connector"])
"""


def test_an_event_loop_that_is_left_does_not_keep_the_process(site: Site) -> None:
    site.archive.latency["get"] = 3
    done = site.script(ABANDONED, timeout=60)  # the downloads would take 90 s
    assert (done.out.strip(), done.code) == ("['connector']", 0), done.err


def test_six_threads(site: Site) -> None:
    def fetch(number: int) -> list[Any]:
        return connector.download_files(
            output_dir=site.folder / f"out{number}", decrypt=True, memory="4MiB", **site.arguments
        )

    with ThreadPoolExecutor(6) as threads:
        batches = list(threads.map(fetch, range(6)))
    assert [result.ok for batch in batches for result in batch] == [True] * 18
    assert all(site.is_whole(each, f"out{number}") for number in range(6) for each in (ONE, TWO, THREE))


FORK = """
import os, traceback
import connector

def fetch(accession):
    (result,) = connector.download_files(
        accession, output_dir="out", decrypt=True, private_key="my.sec", token=os.environ["CONNECTOR_ACCESS_TOKEN"],
    )
    return result.unwrap()

def fork(accession):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            fetch(accession)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

fetch("GHGAF00000000000001")
print("child", fork("GHGAF00000000000002"))
print("parent", fetch("GHGAF00000000000003").path)
"""


def test_after_fork(site: Site) -> None:
    """In a process whose parent has used the library, and in the parent again."""
    done = site.script(FORK)
    assert (done.out.splitlines(), done.code) == (["child 0", f"parent out/{THREE}.bin"], 0), done.err
    assert site.is_whole(ONE)
    assert site.is_whole(TWO)
    assert site.is_whole(THREE)


SPAWN = """
import os
from functools import partial
from multiprocessing import get_context
import connector

if __name__ == "__main__":
    fetch = partial(
        connector.download_files,
        output_dir="out", decrypt=True, private_key="my.sec", token=os.environ["CONNECTOR_ACCESS_TOKEN"],
    )
    with get_context("spawn").Pool(2) as pool:
        for results in pool.map(fetch, ["GHGAF00000000000001", "GHGAF00000000000002"]):
            print(results[0].unwrap().path.name)
        try:
            pool.apply(fetch, ["GHGAF9"])
        except connector.RefusedError as error:
            print(type(error).__name__)
"""


def test_a_spawn_pool(site: Site) -> None:
    done = site.script(SPAWN)
    assert (done.out.split(), done.code) == ([f"{ONE}.bin", f"{TWO}.bin", "RefusedError"], 0), done.err
    assert site.is_whole(ONE)
    assert site.is_whole(TWO)


async def run_cell(code: str, names: dict[str, Any]) -> None:
    """Run a cell as IPython does: in the running loop, with `await` outside of functions."""
    value = eval(compile(code, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.iscoroutine(value):
        await value


def test_a_notebook(site: Site) -> None:
    names: dict[str, Any] = {"connector": connector, "arguments": site.arguments, "out": site.folder / "out"}

    async def kernel() -> None:
        with pytest.raises(connector.UsageError, match=r"await connector\.download_files_async"):
            await run_cell("connector.download_files(output_dir=out, **arguments)", names)
        for _ in range(2):
            await run_cell("results = await connector.download_files_async(output_dir=out, **arguments)", names)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(kernel())
    assert [result.unwrap().already_there for result in names["results"]] == ["record"] * 3


def test_trio(site: Site) -> None:
    async def main() -> None:
        with pytest.raises(connector.UsageError, match="decrypt_files_async"):
            connector.decrypt_files("x.c4gh", private_key=site.folder / "my.sec")
        results = await connector.download_files_async(output_dir=site.folder / "out", decrypt=True, **site.arguments)
        assert all(result.ok for result in results)
        with trio.move_on_after(0):
            await connector.download_files_async(output_dir=site.folder / "out", **site.arguments)
            raise AssertionError("it was not cancelled")

    trio.run(main)
    assert site.is_whole(ONE)


def test_the_engine_itself_names_the_forms_for_asyncio(site: Site) -> None:
    async def main() -> None:
        token = connector.AccessToken.parse(site.archive.access_token)
        with pytest.raises(connector.UsageError, match="download_files_async"):
            async with connector.open_session(connector.Settings(), site.archive.user, token):
                raise AssertionError("it was opened")
        scheduler = connector.Scheduler(
            pool=connector.BufferPool(1024),
            limit=connector.ConcurrencyLimit.fixed(1),
            retrier=connector.Retrier(attempts=1),
            observer=connector.SilentObserver(),
        )
        with pytest.raises(connector.UsageError, match=r"trio\.run"):
            await scheduler.run([])

    asyncio.run(main())


def test_awaited_by_nothing_that_is_known(site: Site) -> None:
    job = connector.decrypt_files_async("x.c4gh", private_key=site.folder / "my.sec")
    with pytest.raises(connector.UsageError, match=r"plain code use: connector\.decrypt_files"):
        job.send(None)


def test_a_callback_that_would_have_to_be_awaited_is_refused(site: Site) -> None:
    async def look(progress: connector.FileProgress) -> None:
        raise AssertionError("it was called")

    class Look:
        async def __call__(self, progress: connector.FileProgress) -> None:
            raise AssertionError("it was called")

    for callback in (look, Look()):
        arguments: dict[str, Any] = {"private_key": site.folder / "my.sec", "on_progress": callback}
        with pytest.raises(connector.UsageError, match="on_progress"):
            connector.decrypt_files("x.c4gh", **arguments)
        with pytest.raises(connector.UsageError, match="on_progress"):
            asyncio.run(connector.decrypt_files_async("x.c4gh", **arguments))


CTRL_C = """
import asyncio, os, signal
import connector

def interrupt(progress):
    if progress.transferred > progress.size / 4:
        signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    asyncio.run(connector.download_files_async(
        "GHGAF00000000000001", output_dir="out", decrypt=True, private_key="my.sec",
        token=os.environ["CONNECTOR_ACCESS_TOKEN"], on_progress=interrupt,
    ))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_under_asyncio_is_a_cancellation(site: Site) -> None:
    site.archive.latency["get"] = 0.1
    done = site.script(CTRL_C)
    assert (done.out.strip(), done.code) == ("interrupted", 0), done.err
    assert_resumes(site)


def test_a_callback_of_the_event_loop_is_the_wrong_place(site: Site) -> None:
    errors: list[Exception] = []

    def call() -> None:
        try:
            connector.encrypt_files("x", recipients=site.folder / "my.pub")
        except connector.UsageError as error:
            errors.append(error)

    async def main() -> None:
        asyncio.get_running_loop().call_soon(call)  # no task runs it
        await asyncio.sleep(0)

    asyncio.run(main())
    assert "encrypt_files_async" in str(*errors)


@pytest.mark.parametrize("name", ["download_files", "upload_files", "decrypt_files", "encrypt_files"])
def test_both_forms_are_documented_and_can_be_pickled(name: str) -> None:
    for form in (getattr(connector, name), getattr(connector, f"{name}_async")):
        assert pickle.loads(pickle.dumps(form)) is form
        assert "Args:" in (inspect.getdoc(form) or "")
        assert "on_progress" in inspect.signature(form).parameters
    assert inspect.iscoroutinefunction(form)
    assert not inspect.iscoroutinefunction(getattr(connector, name))
