"""Which IP addresses the gateway may connect to on somebody else's word.

Only public unicast addresses, after the IANA special-purpose registries (RFC 6890 and its successors), and whatever networks
the operator allows by name. The tables stand here in full because `ipaddress.is_global` changes between Python releases.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_FORBIDDEN: tuple[tuple[IPNetwork, str], ...] = tuple(
    (ip_network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "an unspecified address"),  # Linux connects 0.0.0.0 to itself
        ("10.0.0.0/8", "a private address"),
        ("100.64.0.0/10", "a carrier-grade NAT address"),  # also Alibaba's metadata service
        ("127.0.0.0/8", "a loopback address"),
        ("168.63.129.16/32", "a cloud provider's internal address"),  # Azure's WireServer, on every Azure machine
        ("169.254.0.0/16", "a link-local address"),  # also the metadata services of most clouds
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.0/24", "a reserved address"),
        ("192.0.2.0/24", "a documentation address"),
        ("192.88.99.0/24", "a 6to4 relay address"),
        ("192.168.0.0/16", "a private address"),
        ("198.18.0.0/15", "a benchmarking address"),
        ("198.51.100.0/24", "a documentation address"),
        ("203.0.113.0/24", "a documentation address"),
        ("224.0.0.0/4", "a multicast address"),
        ("255.255.255.255/32", "a broadcast address"),
        ("240.0.0.0/4", "a reserved address"),
        # IPv6. The forms that carry an IPv4 address are refused whole: nobody needs them to name a public server.
        ("::/128", "an unspecified address"),
        ("::1/128", "a loopback address"),
        ("::ffff:0:0/96", "an IPv4-mapped address"),
        ("::/96", "an IPv4-compatible address"),
        ("::ffff:0:0:0/96", "an IPv4-translated address"),
        ("64:ff9b::/96", "a NAT64 address"),
        ("64:ff9b:1::/48", "a NAT64 address"),
        ("2001::/32", "a Teredo address"),
        ("2001::/23", "a reserved address"),
        ("2001:db8::/32", "a documentation address"),
        ("2002::/16", "a 6to4 address"),
        ("3fff::/20", "a documentation address"),
        ("fc00::/7", "a private address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a site-local address"),
        ("ff00::/8", "a multicast address"),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # everything else in IPv6 is unassigned or special


class AddressRules:
    """The tables above, less the networks an operator allows."""

    def __init__(self, allow_networks: Sequence[str] = ()) -> None:
        """`allow_networks` are CIDRs ("10.1.0.0/16", "fd00::/8"). Raises ValueError, naming the one that is none."""
        self._allowed = tuple(ip_network(network) for network in allow_networks)

    def objection(self, address: str) -> str | None:
        """None if we may connect to this numeric address, else what kind of address it is, in words with an article."""
        try:
            ip = ip_address(address)
        except ValueError:
            return "not an IP address"
        if isinstance(ip, IPv6Address) and ip.scope_id is not None:
            return "an address with a zone"  # it means something on this machine only, never on the Internet
        if any(ip in network for network in self._allowed):
            return None
        for network, kind in _FORBIDDEN:
            if ip in network:
                return kind
        if isinstance(ip, IPv6Address) and ip not in _GLOBAL_UNICAST:
            return "a reserved address"
        return None
