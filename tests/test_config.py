from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from connector.config import (
    GIB,
    KIB,
    MIB,
    SETTING_NAMES,
    Settings,
    config_place,
    load_settings,
    parse_duration,
    parse_size,
)
from connector.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16777216", 16 * MIB),
        ("16MiB", 16 * MIB),
        ("16 MiB", 16 * MIB),
        ("16mib", 16 * MIB),
        ("16M", 16 * MIB),
        ("64KiB", 64 * KIB),
        ("1GiB", GIB),
        ("1.5GiB", 3 * GIB // 2),
        ("10MB", 10_000_000),
        ("0", 0),
        ("7B", 7),
        ("2TiB", 2048 * GIB),
    ],
)
def test_sizes_people_write(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1e6", "16 Mib b", "1.0000001", "0.3B", "16XB", "١٦", "1 2", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|whole"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=2**59), st.sampled_from(["", "B", " B"]))
def test_plain_bytes_mean_themselves(size: int, unit: str) -> None:
    assert parse_size(f"{size}{unit}") == size


@given(st.text())
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_size(text) >= 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400),
        ("90min", 5400),
        ("3h30m", 12_600),
        ("3H 30M", 12_600),
        ("1.5h", 5400),
        ("5400s", 5400),
        ("5400", 5400),
        ("0.5", 0.5),
        ("2d", 172_800),
        ("1d 2h 3m 4s", 93_784),
        ("1:30:00", 5400),
        ("1-02:03:04", 93_784),
        ("29:58", 1798),
    ],
)
def test_time_spans_people_and_slurm_write(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "0", "0s", "0:00:00", "-5", "+5", "5x", "m", "1e3", "30m3h", "3h3h", "3h30", "1:2:3", "1:60:00", "1:30:00s",
     "1:5", "29:61", "1-2", "nan", "inf", "UNLIMITED", "INVALID", "١٢", "123456789s", "5 5"],
)  # fmt: skip
def test_what_is_no_time_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="time span"):
        parse_duration(text)


@given(st.integers(0, 999), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_all_notations_of_a_time_span_agree(days: int, hours: int, minutes: int, seconds: int) -> None:
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assume(total)
    assert parse_duration(f"{days}d{hours}h{minutes}m{seconds}s") == total
    assert parse_duration(f"{days}-{hours:02}:{minutes:02}:{seconds:02}") == total
    assert parse_duration(f"{total}") == parse_duration(f"{total} s") == total


@given(st.text() | st.from_regex(r"[-0-9:.dhms ]{1,12}"))
def test_any_text_is_a_time_span_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert 0 < parse_duration(text) < 2**44


def test_nothing_said_gives_the_defaults() -> None:
    assert load_settings({}, {}, None) == Settings()
    assert Settings().memory == 256 * MIB
    assert Settings().max_concurrency is None


def test_option_beats_environment_beats_file_beats_default() -> None:
    file = b"part_size = '5MiB'\nretries = 1\nmemory = 134217728\n"
    environment = {"CONNECTOR_PART_SIZE": "6MiB", "CONNECTOR_RETRIES": "2"}
    settings = load_settings({"part_size": "7MiB"}, environment, file)
    assert settings.part_size == 7 * MIB
    assert settings.retries == 2
    assert settings.memory == 128 * MIB
    assert settings.read_timeout == Settings().read_timeout


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load_settings({}, {"CONNECTOR_RETRIES": ""}, b"retries = 3").retries == 3


def test_option_values_that_are_no_settings_are_left_alone() -> None:
    assert load_settings({"json": True, "overwrite": False, "part_size": None}, {}, None) == Settings()


def test_every_setting_can_be_said_in_all_three_places() -> None:
    samples = {
        "wkvs_url": "https://archive.example/.well-known",
        "part_size": "9MiB",
        "max_concurrency": "3",
        "memory": "64MiB",
        "connect_timeout": "2.5",
        "read_timeout": "7s",
        "retries": "4",
        "proxy": "http://proxy.example:3128",
    }
    assert {field.name for field in attrs.fields(Settings)} == set(SETTING_NAMES)
    for name in SETTING_NAMES:
        text = samples.get(name, "/some/file")
        by_option = load_settings({name: text}, {}, None)
        assert by_option != Settings()
        assert load_settings({}, {f"CONNECTOR_{name.upper()}": text}, None) == by_option
        assert load_settings({}, {}, f"{name} = '{text}'".encode()) == by_option
        assert load_settings({}, {}, f"{name.replace('_', '-')} = '{text}'".encode()) == by_option


@pytest.mark.parametrize(
    ("values", "environment", "file", "begins"),
    [
        ({"part_size": "lots"}, {}, None, "--part-size: 'lots'"),
        ({}, {"CONNECTOR_PART_SIZE": "1"}, None, "CONNECTOR_PART_SIZE: 1 "),
        ({}, {"CONNECTOR_MAX_CONCURRENCY": "0"}, None, "CONNECTOR_MAX_CONCURRENCY: 0 "),
        ({}, {}, b"retries = true", "config.toml, retries: "),
        ({}, {}, b"read_timeout = -1", "config.toml, read_timeout: '-1'"),
        ({}, {}, b"read_timeout = nan", "config.toml, read_timeout: 'nan'"),
        ({}, {}, b"ca_file = 3", "config.toml, ca_file: "),
        ({}, {}, b"retries =", "config.toml: not valid TOML"),
        ({}, {}, b"\xff", "config.toml: not UTF-8"),
        ({}, {}, b"retries = " + b"[" * 5000, "config.toml: not valid TOML"),
        ({}, {}, b"partsize = 1", "config.toml: there is no"),
        ({}, {}, b"read_timeout = true", "config.toml, read_timeout: expected seconds"),
        ({}, {"CONNECTOR_TOKEN_FILE": "a\0b"}, None, "CONNECTOR_TOKEN_FILE: a path"),
        ({}, {}, b"access_token = 'x'", "config.toml: 'access_token'"),
        ({"wkvs_url": "archive.example"}, {}, None, "--wkvs-url: 'archive.example'"),
        ({"wkvs_url": "https://a:b@archive.example"}, {}, None, "--wkvs-url: the address"),
        ({"wkvs_url": "https://archive.example:port"}, {}, None, "--wkvs-url: Port"),
    ],
)
def test_an_error_names_the_place_it_came_from(
    values: dict[str, object], environment: dict[str, str], file: bytes | None, begins: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load_settings(values, environment, file)
    assert str(caught.value).startswith(begins)


@pytest.mark.parametrize(("name", "advice"), [("partsize", "'part_size'"), ("colour", "wkvs_url")])
def test_a_misspelt_setting_is_told_with_the_one_that_is_meant_or_with_all(name: str, advice: str) -> None:
    with pytest.raises(UsageError, match=name) as caught:
        load_settings({}, {}, f"{name} = 1".encode())
    assert advice in caught.value.hint


def test_little_memory_makes_parts_smaller_unless_their_size_was_asked_for() -> None:
    assert load_settings({"memory": "6MiB"}, {}, None).part_size == 6 * MIB
    assert load_settings({"memory": "1GiB"}, {}, None).part_size == Settings().part_size
    asked = load_settings({"part_size": "32MiB"}, {"CONNECTOR_MEMORY": "16MiB"}, None)
    assert (asked.part_size, asked.memory) == (32 * MIB, 16 * MIB)


@pytest.mark.parametrize(
    "values",
    [{"max_concurrency": 0}, {"read_timeout": 0}, {"connect_timeout": -1.0}, {"memory": "64MiB"}, {"retries": -1}],
)
def test_settings_with_which_no_transfer_would_end_are_refused(values: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        Settings(**values)


def test_the_address_may_be_pasted_with_its_last_step() -> None:
    settings = load_settings({"wkvs_url": "https://archive.example/.well-known/values/"}, {}, None)
    assert settings.wkvs_url == "https://archive.example/.well-known"


def test_the_proxy_password_stays_out_of_the_repr() -> None:
    settings = load_settings({"proxy": "http://ann:s3cret@proxy.example:3128"}, {}, None)
    assert settings.proxy == "http://ann:s3cret@proxy.example:3128"
    assert "s3cret" not in repr(settings)
    assert "proxy.example:3128" in repr(settings)


def test_where_the_file_is_looked_for() -> None:
    assert config_place("/a.toml", {"CONNECTOR_CONFIG": "/b.toml"}) == (Path("/a.toml"), True)
    assert config_place(None, {"CONNECTOR_CONFIG": "/b.toml"}) == (Path("/b.toml"), True)
    place, named = config_place(None, {})
    assert place.name == "config.toml"
    assert place.parent.name == "connector"
    assert not named


def test_home_is_understood_wherever_a_path_is_said() -> None:
    settings = load_settings({}, {"CONNECTOR_TOKEN_FILE": "~/token"}, None)
    assert settings.token_file == Path.home() / "token"
    assert load_settings({"token_file": Path("~/as it is")}, {}, None).token_file == Path("~/as it is")
