"""Which redirects of the storage lead to the same object."""

from __future__ import annotations

import pytest

from connector.clients.object_responses import redirect_target

PATH_STYLE = "https://s3.example.org/bucket/a/key?X-Amz-Signature=1"
HOST_STYLE = "https://bucket.s3.example.org/a/key?X-Amz-Signature=1"


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize(
    ("url", "location"),
    [
        (PATH_STYLE, "https://s3.eu.example.org/bucket/a/key?X-Amz-Signature=1&rk=2"),
        (PATH_STYLE, "https://s3.example.org:8443/bucket/a/key"),
        (PATH_STYLE, "https://bucket.s3.eu.example.org/a/key?x"),
        (PATH_STYLE, "/bucket/a/key?rk=1"),
        (HOST_STYLE, "https://bucket.s3-eu.example.org/a/key?x"),
        (HOST_STYLE, "https://s3-eu.example.org/bucket/a/key"),
        ("http://s3.test/b/k", "https://s3.test/b/k"),
        ("https://s3.test/b/k%2Fl%C3%BC?x=%2f", "https://s4.test/b/k%2Fl%C3%BC?x=%2f"),
    ],
)
def test_another_endpoint_of_the_object(url: str, location: str, status: int) -> None:
    target = redirect_target(url, status, {"location": location})
    assert target is not None
    assert target.endswith(location)


@pytest.mark.parametrize(
    "location",
    [
        "",
        "https://s3.example.org/bucket/a/other",
        "https://s3.example.org/other/a/key",
        "https://other.s3.example.org/a/key",
        "https://s3.example.org/",
        "http://s3.example.org/bucket/a/key",
        "ftp://s3.example.org/bucket/a/key",
        "file:///bucket/a/key",
        "https://user:password@s3.example.org/bucket/a/key",
        PATH_STYLE,
    ],
)
def test_no_endpoint_of_the_object(location: str) -> None:
    assert redirect_target(PATH_STYLE, 307, {"location": location}) is None


@pytest.mark.parametrize("status", [200, 300, 301, 302, 303, 304, 403])
def test_the_other_redirects_may_change_the_method(status: int) -> None:
    assert redirect_target(PATH_STYLE, status, {"location": "https://s3.eu.example.org/bucket/a/key"}) is None
