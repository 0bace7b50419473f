from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.addresses import AddressRules

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1",
    "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255",
    "198.20.0.0", "223.255.255.255", "2001:4860:4860::8888", "2606:4700::1111", "2a00:1450::1", "2001:200::1", "3ffe::1",
]  # fmt: skip

FORBIDDEN = {
    "0.0.0.0": "an unspecified address",
    "0.255.255.255": "an unspecified address",
    "10.0.0.0": "a private address",
    "10.255.255.255": "a private address",
    "100.64.0.0": "a carrier-grade NAT address",
    "100.100.100.200": "a carrier-grade NAT address",
    "100.127.255.255": "a carrier-grade NAT address",
    "127.0.0.1": "a loopback address",
    "127.255.255.254": "a loopback address",
    "168.63.129.16": "a cloud provider's internal address",
    "169.254.169.254": "a link-local address",
    "172.16.0.0": "a private address",
    "172.31.255.255": "a private address",
    "192.0.0.192": "a reserved address",
    "192.0.2.1": "a documentation address",
    "192.88.99.1": "a 6to4 relay address",
    "192.168.255.255": "a private address",
    "198.18.0.1": "a benchmarking address",
    "198.19.255.255": "a benchmarking address",
    "198.51.100.7": "a documentation address",
    "203.0.113.7": "a documentation address",
    "224.0.0.1": "a multicast address",
    "239.255.255.255": "a multicast address",
    "240.0.0.1": "a reserved address",
    "255.255.255.255": "a broadcast address",
    "::": "an unspecified address",
    "::1": "a loopback address",
    "::7f00:1": "an IPv4-compatible address",
    "::ffff:127.0.0.1": "an IPv4-mapped address",
    "::ffff:8.8.8.8": "an IPv4-mapped address",
    "::ffff:0:127.0.0.1": "an IPv4-translated address",
    "64:ff9b::7f00:1": "a NAT64 address",
    "64:ff9b:1:ffff::1": "a NAT64 address",
    "100::1": "a reserved address",
    "2001::1": "a Teredo address",
    "2001:1ff:ffff::1": "a reserved address",
    "2001:db8::1": "a documentation address",
    "2002:7f00:1::": "a 6to4 address",
    "3fff:fff::1": "a documentation address",
    "4000::1": "a reserved address",
    "5f00::1": "a reserved address",
    "fd00:ec2::254": "a private address",
    "fc00::1": "a private address",
    "fe80::1": "a link-local address",
    "febf::1": "a link-local address",
    "fec0::1": "a site-local address",
    "ff02::1": "a multicast address",
    "fe80::1%eth0": "an address with a zone",
    "2606:4700::1111%1": "an address with a zone",
    "localhost": "not an IP address",
    "127.1": "not an IP address",
    "0177.0.0.1": "not an IP address",
    "": "not an IP address",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_not_objected_to(address: str) -> None:
    assert AddressRules().objection(address) is None


@pytest.mark.parametrize(("address", "kind"), FORBIDDEN.items())
def test_an_address_that_is_not_public_is_refused_by_its_kind(address: str, kind: str) -> None:
    assert AddressRules().objection(address) == kind


@given(st.ip_addresses())
def test_whatever_the_standard_library_calls_special_is_refused_too(ip: ipaddress.IPv4Address) -> None:
    special = ip.is_private or ip.is_multicast or ip.is_reserved or ip.is_link_local or ip.is_unspecified
    if special:
        assert AddressRules().objection(str(ip)) is not None


def test_an_allowed_network_is_reachable_and_its_neighbours_are_not() -> None:
    rules = AddressRules(["10.1.0.0/16", "fd00:1::/32"])
    assert rules.objection("10.1.255.255") is None
    assert rules.objection("10.2.0.0") == "a private address"
    assert rules.objection("fd00:1::5") is None
    assert rules.objection("fd00:2::5") == "a private address"


def test_allowing_an_ipv4_network_does_not_allow_its_ipv6_disguises() -> None:
    rules = AddressRules(["127.0.0.0/8", "10.0.0.0/8"])
    for disguise in ("::ffff:127.0.0.1", "::7f00:1", "64:ff9b::10.0.0.1", "2002:0a00:0001::", "::1"):
        assert rules.objection(disguise) is not None


def test_an_allowed_network_does_not_allow_zones() -> None:
    assert AddressRules(["fe80::/10"]).objection("fe80::1%eth0") == "an address with a zone"


@pytest.mark.parametrize("network", ["10.0.0.1/8", "localhost", "10.0.0.0/33", "10.0.0.0/8,"])
def test_a_malformed_network_is_refused_by_name(network: str) -> None:
    with pytest.raises(ValueError, match=re.escape(network)):
        AddressRules([network])
