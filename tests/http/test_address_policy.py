"""What a URL from the archive may lead to."""

from __future__ import annotations

import pytest

from connector.http import AddressPolicy

LOCAL = AddressPolicy.of("http://127.0.0.1:8080/values")
REMOTE = AddressPolicy.of("https://archive.example/values")
LOOPBACK = ["127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"]


@pytest.mark.parametrize("address", LOOPBACK)
def test_only_an_archive_on_this_machine_may_name_this_machine(address: str) -> None:
    assert LOCAL.is_allowed("storage.example", 443, address)
    assert not REMOTE.is_allowed("storage.example", 443, address)


@pytest.mark.parametrize("policy", [LOCAL, REMOTE])
@pytest.mark.parametrize(
    "address", ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200", "fe80::1", "224.0.0.1"]
)
def test_metadata_services_are_refused_always(address: str, policy: AddressPolicy) -> None:
    assert not policy.is_allowed("storage.example", 443, address)
    assert not policy.is_allowed(policy.host, policy.port, address)


@pytest.mark.parametrize("address", ["10.1.2.3", "192.168.1.1", "8.8.8.8", "2001:db8::1", "fd12::1", "fe80::1%eth0"])
def test_private_and_public_addresses_are_allowed(address: str) -> None:
    assert REMOTE.is_allowed("storage.example", 443, address) is not address.startswith("fe80")


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("http://localhost:8080/x", True),
        ("https://LocalHost/x", True),
        ("http://archive.localhost/x", True),
        ("http://127.0.0.1/x", True),
        ("http://[::1]:80/x", True),
        ("http://0.0.0.0:8080/x", True),
        ("https://archive.example/x", False),
        ("https://notlocalhost/x", False),
        ("http://10.0.0.1/x", False),
        ("http://[bad/x", False),
        ("http://h:x/x", False),
        ("nonsense", False),
    ],
)
def test_the_settings_tell_whether_the_archive_is_local(url: str, is_local: bool) -> None:
    assert AddressPolicy.of(url).archive_is_local is is_local


def test_the_archive_itself_may_be_on_this_machine_under_another_name() -> None:
    """Institutes forward ports, and name them in the hosts file; the user chose this host and port."""
    assert REMOTE.is_allowed("archive.example", 443, "127.0.0.1")
    assert REMOTE.is_allowed("Archive.Example", 443, "127.0.0.1")
    assert not REMOTE.is_allowed("archive.example", 6379, "127.0.0.1")
    assert not REMOTE.is_allowed("127.0.0.1", 443, "127.0.0.1")
