"""What a storage URL may lead to."""

from __future__ import annotations

import ipaddress

import pytest

from connector.http.address_policy import AddressPolicy, is_allowed_address


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"])
def test_only_an_archive_on_this_machine_may_name_this_machine(address: str) -> None:
    assert is_allowed_address(ipaddress.ip_address(address), archive_is_local=True)
    assert not is_allowed_address(ipaddress.ip_address(address), archive_is_local=False)


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize(
    "address", ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200", "fe80::1", "224.0.0.1"]
)
def test_metadata_services_are_out_of_reach_for_all(address: str, local: bool) -> None:
    assert not is_allowed_address(ipaddress.ip_address(address), archive_is_local=local)


@pytest.mark.parametrize("address", ["10.1.2.3", "192.168.1.1", "8.8.8.8", "2001:db8::1", "fd12::1"])
def test_private_and_public_addresses_are_within_reach(address: str) -> None:
    assert is_allowed_address(ipaddress.ip_address(address), archive_is_local=False)


def test_the_reach_depends_on_where_the_archive_is() -> None:
    here, there = AddressPolicy(), AddressPolicy()
    assert here.allows("127.0.0.1")
    assert here.allows("192.0.2.1")
    assert here.allows("127.0.0.1")
    assert there.allows("192.0.2.1")
    assert not there.allows("127.0.0.1")


def test_an_archive_behind_a_proxy_is_distant() -> None:
    assert not AddressPolicy(distant=True).allows("127.0.0.1")


def test_no_archive_is_a_metadata_service() -> None:
    assert not AddressPolicy().allows("169.254.169.254")
