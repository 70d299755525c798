"""Parts that come out of order: the sha256 is that of the whole, and one that is late holds up no other."""

from __future__ import annotations

import hashlib
import random

import httpx
import pytest
import trio
from trio.testing import MockClock

from connector.crypt4gh.segments import Plaintext
from connector.download.content import OrderedDigest
from connector.errors import NO_RETRY, IntegrityError
from connector.parts import Part, Parts
from connector.transfer import RunContext, SilentObserver
from tests.download.conftest import Desk
from tests.support.virtual_time import let_time_pass
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.trio

CONTENT = random.Random(1).randbytes(10_500)
PARTS = Parts(len(CONTENT), 1000)


def run_context(threads: int) -> RunContext:
    return RunContext(threads=trio.CapacityLimiter(threads), observer=SilentObserver(), part_size=1000)


@pytest.fixture
def digest() -> OrderedDigest:
    return OrderedDigest(run_context(2))


def read_back(part: Part, buffer: memoryview) -> Plaintext:
    buffer[:] = CONTENT[part.start : part.stop]
    return [buffer[: part.size // 3], buffer[part.size // 3 :]]


def start_of(request: httpx.Request) -> int:
    return int(request.headers["range"].removeprefix("bytes=").split("-")[0])


async def bring(digest: OrderedDigest, part: Part, after: float = 0.0) -> None:
    await trio.sleep(after)
    buffer = memoryview(bytearray(part.size))
    if digest.is_next(part.number):
        await digest.add(part, lambda: read_back(part, buffer))
    else:
        await digest.add_or_defer(part, read_back(part, buffer))
    # From here on the buffer may be used for other parts.
    buffer[:] = bytes(part.size)
    await digest.catch_up(buffer, read_back)


@pytest.mark.parametrize("seed", range(6))
async def test_any_order_gives_the_sha256_of_the_whole(digest: OrderedDigest, seed: int) -> None:
    rng = random.Random(seed)
    async with trio.open_nursery() as nursery:
        for part in PARTS:
            nursery.start_soon(bring, digest, part, rng.choice([0.0, 0.05, 0.3, 0.6]))
    assert digest.hexdigest() == hashlib.sha256(CONTENT).hexdigest()


async def test_who_comes_too_early_is_left_and_read_back_by_who_is_late(digest: OrderedDigest) -> None:
    with trio.fail_after(PATIENCE):
        for part in reversed(PARTS):
            assert not digest.has(part.number)
            await bring(digest, part)
            assert digest.has(part.number)
    assert digest.hexdigest() == hashlib.sha256(CONTENT).hexdigest()


async def test_only_the_first_waits_for_one_that_does_not_come(mock_clock: MockClock) -> None:
    run = run_context(2)
    digest, began = OrderedDigest(run), trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(let_time_pass, mock_clock, run.threads)
        for part in list(PARTS)[1:]:
            await bring(digest, part)
        nursery.cancel_scope.cancel()
    assert trio.current_time() - began < 0.2 * 5, "nine of them would wait 1.8 s"


@pytest.mark.parametrize("threads", [1, 3])
async def test_few_threads_for_many_parts_are_no_deadlock(threads: int) -> None:
    run = run_context(threads)
    files = [OrderedDigest(run) for _ in range(5)]
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for digest in files:
                for part in reversed(PARTS):
                    nursery.start_soon(bring, digest, part)
    assert {digest.hexdigest() for digest in files} == {hashlib.sha256(CONTENT).hexdigest()}


async def test_a_part_that_arrives_damaged_passes_no_turn_on(digest: OrderedDigest) -> None:
    first, second = list(PARTS)[:2]

    def damaged() -> Plaintext:
        raise IntegrityError("A segment is damaged.")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(digest.add_or_defer, second, [memoryview(CONTENT[second.start : second.stop])])
        with pytest.raises(IntegrityError):
            await digest.add(first, damaged)
        assert digest.is_next(1)
        await digest.add(first, lambda: [memoryview(CONTENT[: first.size])])
    buffer = memoryview(bytearray(1000))
    await digest.catch_up(buffer, read_back)
    assert digest.hexdigest() == hashlib.sha256(CONTENT[: second.stop]).hexdigest()


async def test_a_part_that_the_disk_lost_is_named_and_not_tried_again(digest: OrderedDigest) -> None:
    first, second = list(PARTS)[:2]
    await bring(digest, second)
    buffer = memoryview(bytearray(first.size))
    await digest.add(first, lambda: read_back(first, buffer))
    with pytest.raises(IntegrityError, match="bytes 1000 to 2000") as caught:
        await digest.catch_up(buffer, lambda part, view: None)
    assert caught.value.advice == NO_RETRY


@pytest.mark.parametrize("verify", [True, False])
async def test_a_part_that_has_to_wait_holds_up_no_other(desk: Desk, virtual_time: MockClock, verify: bool) -> None:
    data = desk.file(12.5)
    desk.archive.fail("get", 503, when=lambda request: start_of(request) == 0, retry_after="100")
    began: dict[int, float] = {}

    def note(request: httpx.Request) -> bool:
        began[start_of(request)] = trio.current_time()
        return False

    desk.archive.stick("get", note)
    async with desk.session() as session:
        (outcome,) = await session.download(output_dir=desk.folder, verify=verify)
    assert outcome.ok
    assert desk.plaintext("GHGAF01.bin.c4gh", decrypt=False) == data
    assert began.pop(0) >= 100
    assert len(began) == 12
    assert max(began.values()) < 50
