from __future__ import annotations

import pytest

from connector.errors import BrokenError
from connector.transfer import Outcome


def test_a_success_gives_its_value() -> None:
    assert Outcome("a", value=5).ok
    assert Outcome("a", value=5).unwrap() == 5


def test_nothing_is_a_value_too() -> None:
    assert Outcome[None]("a").ok
    assert Outcome[None]("a").unwrap() is None


def test_a_failure_raises_its_error() -> None:
    error = BrokenError("Cut.")
    outcome = Outcome[int]("a", error=error)
    assert not outcome.ok
    with pytest.raises(BrokenError) as caught:
        outcome.unwrap()
    assert caught.value is error
