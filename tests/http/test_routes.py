"""The choice of a proxy, held against httpx's own."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import UsageError
from connector.http.routes import Origin, Proxy, Route, proxy_for

PROXIES = {"http": "http://a:1", "https": "b:2"}


@pytest.mark.parametrize(
    ("url", "proxies", "expected"),
    [
        ("http://s3.example.org/x?y", PROXIES, "http://a:1"),
        ("https://s3.example.org/x?y", PROXIES, "http://b:2"),
        ("https://s3.example.org/", {"all": "socks5://c:3"}, "socks5://c:3"),
        ("https://s3.example.org/", {"all": "http://c:3", "https": "http://d:4"}, "http://d:4"),
        ("https://s3.example.org/", {"http": "http://a:1"}, None),
        ("https://s3.example.org/", {}, None),
        ("http://s3.example.org/", {**PROXIES, "no": "*"}, None),
        ("http://s3.example.org/", {**PROXIES, "no": "example.org"}, None),
        ("http://example.org/", {**PROXIES, "no": " other.net , example.org"}, None),
        ("http://notexample.org/", {**PROXIES, "no": "example.org"}, "http://a:1"),
        ("http://s3.example.org/", {**PROXIES, "no": ".example.org"}, None),
        ("http://example.org/", {**PROXIES, "no": ".example.org"}, "http://a:1"),
        ("http://localhost:8080/", {**PROXIES, "no": "localhost"}, None),
        ("http://127.0.0.1:8080/", {**PROXIES, "no": "localhost,127.0.0.1"}, None),
        ("http://127.0.0.2/", {**PROXIES, "no": "127.0.0.1"}, "http://a:1"),
        ("http://[::1]:80/", {**PROXIES, "no": "::1"}, None),
        ("http://example.org:81/", {**PROXIES, "no": "example.org:81"}, None),
        ("http://example.org:82/", {**PROXIES, "no": "example.org:81"}, "http://a:1"),
        ("https://example.org/", {**PROXIES, "no": "http://example.org"}, "http://b:2"),
        ("http://example.org/", {**PROXIES, "no": "http://example.org"}, None),
        ("http://10.1.2.3/", {**PROXIES, "no": "10.0.0.0/8"}, None),
        ("http://10.1.2.3:9000/", {**PROXIES, "no": "localhost 10.1.2.7/29"}, None),
        ("http://11.1.2.3/", {**PROXIES, "no": "10.0.0.0/8"}, "http://a:1"),
        ("http://[fd00::1]/", {**PROXIES, "no": "fd00::/8"}, None),
        ("http://[fd00::1]/", {**PROXIES, "no": "10.0.0.0/8,::/128"}, "http://a:1"),
        ("http://ten.example.org/", {**PROXIES, "no": "0.0.0.0/0"}, "http://a:1"),
        ("http://10.1.2.3/", {**PROXIES, "no": "10.0.0.0/99"}, "http://a:1"),
        ("http://10.1.2.3:81/", {**PROXIES, "no": "10.1.2.3:81"}, None),
        ("https://example.org/", {**PROXIES, "no": "example.org:443"}, None),
        ("http://s3.example.org/", {**PROXIES, "no": "*.example.org"}, None),
        ("http://s3.example.org/", {"no": "http://["}, None),
    ],
)
def test_environment(url: str, proxies: Any, expected: str | None) -> None:
    proxy = proxy_for(url, proxies=proxies)
    assert (proxy and proxy.url) == expected


def test_an_exception_that_is_none_is_named() -> None:
    with pytest.raises(UsageError, match="NO_PROXY"):
        proxy_for("http://x/", proxies={**PROXIES, "no": "http://[::1"})


@pytest.mark.parametrize("kind", ["http", "all"])
def test_the_setting_of_a_proxy_that_cannot_be_used_is_named(kind: str) -> None:
    origin = Origin("http", "archive.test", 80)
    with pytest.raises(UsageError, match=f"{kind.upper()}_PROXY.*socks5"):
        Route.of(origin, proxy_for("http://archive.test/", proxies={kind: "socks5://u:secret@c:3"}))
    with pytest.raises(UsageError, match="--proxy"):
        Route.of(origin, proxy_for("http://archive.test/", proxies={}, option="socks4://c:3"))


def test_the_option_wins() -> None:
    assert proxy_for("http://x/", proxies=PROXIES, option="http://mine:9") == Proxy("http://mine:9", "--proxy")
    assert proxy_for("http://x/", proxies={**PROXIES, "no": "*"}, option="http://m:9") == Proxy("http://m:9", "--proxy")
    assert proxy_for("http://x/", proxies=PROXIES, option="") is None


HOSTS = ["example.org", "s3.example.org", "xexample.org", "localhost", "127.0.0.1", "10.0.0.1", "[::1]"]
EXCEPTIONS = ["*", "example.org", ".example.org", "localhost", "127.0.0.1", "::1", "http://example.org", "10.0.0.1"]


@given(
    scheme=st.sampled_from(["http", "https"]),
    host=st.sampled_from(HOSTS),
    given_for=st.sets(st.sampled_from(["http", "https", "all"])),
    exceptions=st.lists(st.sampled_from(EXCEPTIONS), max_size=3),
)
def test_httpx_decides_alike(scheme: str, host: Any, given_for: Any, exceptions: Any) -> None:
    names = {"http": "HTTP_PROXY", "https": "HTTPS_PROXY", "all": "ALL_PROXY"}
    proxies = {kind: f"http://{kind}-proxy:1" for kind in given_for}
    environment = {names[kind]: url for kind, url in proxies.items()}
    if exceptions:
        proxies["no"] = environment["NO_PROXY"] = ",".join(exceptions)
    with pytest.MonkeyPatch.context() as patch:
        for name in [*names.values(), "NO_PROXY"]:
            patch.delenv(name, raising=False)
            patch.delenv(name.lower(), raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        client = httpx.Client(verify=False)
    url = f"{scheme}://{host}/"
    theirs = client._transport_for_url(httpx.URL(url))
    ours = proxy_for(url, proxies=proxies)
    assert (theirs is not client._transport) == (ours is not None)
