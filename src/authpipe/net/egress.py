"""Where the process may connect to: public addresses over TLS, and in development this machine as well."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from yarl import URL

from authpipe.domain.errors import ProviderError

# IANA special-purpose registries, written out because `ipaddress.is_global` differs between Python releases.
_REFUSED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; some clouds serve metadata here
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's host agent, on a public-looking address
        "169.254.0.0/16",  # link-local, and 169.254.169.254
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
#: All that IANA has given out as global unicast; the rest of IPv6 is special or unassigned.
_GLOBAL_V6 = IPv6Network("2000::/3")
_REFUSED_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, among them Teredo
        "2001:db8::/32",
        "3fff::/20",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_NUMERIC_HOST = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+))*\.?", re.IGNORECASE)
#: A name as it goes to a resolver, and one whose last label begins as an address's last number does.
_NAME = re.compile(
    r"(?=.{1,254}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*\.?", re.IGNORECASE
)
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:0x[0-9a-f]*|[0-9]+)\.?", re.IGNORECASE)
#: Parsers differ in what they make of these: some drop them, some take a backslash for a slash.
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")
#: Interface identifiers of ISATAP (RFC 5214), which carry an IPv4 address of somebody's private network.
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})


class EgressRefused(ProviderError):
    """The policy forbids this destination.  Nothing was sent; the private detail names the address."""

    code = "egress_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressPolicy:
    """Decides by scheme and by address, never by name: names are an attacker's to choose.

    ``allow_loopback`` is for development: it admits this machine, over plain HTTP too, and nothing else
    that is private.
    """

    allow_loopback: bool = False

    def check_url(self, url: str) -> None:
        """Raise :class:`EgressRefused` unless the URL is one we may call.

        Wants https (http only to loopback, when allowed), no user information, a valid port, and no character
        that parsers disagree about; checks the host when it is an address.  A name is checked by its
        addresses, when it is resolved.
        """
        try:
            parsed = URL(url)
            # Both forms of the name: one that cannot be decoded would fail where it is shown.
            host, shown, port = parsed.raw_host, parsed.host, parsed.explicit_port
        except (ValueError, TypeError):
            host = shown = None
        if not host or not shown or _AMBIGUOUS.search(url):
            raise EgressRefused("the provider's URL is malformed")
        if parsed.user is not None or parsed.password is not None:
            raise EgressRefused(f"the URL of {host} must not carry user information")
        if port is not None and not 1 <= port <= 65535:
            raise EgressRefused(f"the URL of {host} has an invalid port")
        address = _parse(host)
        if address is None and _NUMERIC_HOST.fullmatch(host):
            # 127.1, 0x7f000001 and their kind: resolvers read them as addresses, people do not.
            raise EgressRefused(f"{host} is not an address in its usual form")
        if address is not None:
            self.check_address(host)
        elif not _NAME.fullmatch(host) or _ENDS_IN_NUMBER.fullmatch(host):
            raise EgressRefused("the host in the provider's URL is not a name")
        if parsed.scheme == "https":
            return
        if parsed.scheme != "http" or not (self.allow_loopback and _is_local(host, address)):
            raise EgressRefused(f"the URL of {host} must begin with https://")

    def check_address(self, address: str) -> None:
        """Raise :class:`EgressRefused` unless the literal address is public (or loopback, when allowed).

        Addresses that carry an IPv4 address inside (mapped, 6to4, NAT64) are judged by that one as well.
        """
        parsed = _parse(address)
        if parsed is None or not self._may_connect(parsed):
            raise EgressRefused(
                "the provider's address is not a public one; calls to it are refused", detail=address
            )

    def _may_connect(self, address: IPv4Address | IPv6Address) -> bool:
        if isinstance(address, IPv6Address):
            inner = _embedded(address)
            if inner is not None:
                return self._may_connect(inner)
            if address.is_loopback:
                return self.allow_loopback
            if address.scope_id is not None or (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
                return False
            return address in _GLOBAL_V6 and not any(address in network for network in _REFUSED_V6)
        if address.is_loopback:
            return self.allow_loopback
        return not any(address in network for network in _REFUSED_V4)


@lru_cache(maxsize=4096)
def _parse(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else None


def _is_local(host: str, address: IPv4Address | IPv6Address | None) -> bool:
    if address is not None:
        inner = _embedded(address) if isinstance(address, IPv6Address) else None
        return (inner or address).is_loopback
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")  # RFC 6761 section 6.3
