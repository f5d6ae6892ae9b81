"""Which hosts and addresses images may come from. Pure rules: nothing here opens a connection or resolves a name."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import socket
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from backend.errors import ImageRefused

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""NAT64: IPv6 addresses that stand for the IPv4 address in their last 32 bits."""
_INSIDE = tuple(
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    )
)
"""Loopback and private networks. Link-local ones are not among them: clouds hand out credentials there."""
_METADATA = frozenset(
    ipaddress.ip_address(address)
    for address in (
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure: the host of the virtual machine
        "192.0.0.192",  # Oracle Cloud
        "fd00:42::42",  # Scaleway
        "fd00:c1::a9fe:a9fe",  # Oracle Cloud
        "fd00:ec2::253",  # AWS: names
        "fd00:ec2::254",  # AWS: credentials
        "fd20:ce::254",  # Google Cloud
    )
)
"""Where clouds tell virtual machines of themselves, beside link-local addresses. From the clouds' own documents."""
_SPECIAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # IETF protocol assignments
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # automatic multicast tunnelling
        "192.88.99.0/24",  # relays from 6to4, which lead to any IPv4 address
        "192.175.48.0/24",  # AS112
        "2001::/23",  # IETF protocol assignments, Teredo among them
        "2002::/16",  # 6to4, which hides any IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
"""Of IANA's registries of special-purpose addresses, those that Python of some release calls global."""


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """Where a request goes. host: in lower case, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port in (None, _DEFAULT_PORTS.get(self.scheme)) else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


def find_origin(parts: SplitResult) -> Origin:
    """Scheme, host and port of an address, in one spelling. Raises ValueError for a port that is no number."""
    host = (parts.hostname or "").rstrip(".")
    address = parse_address(host)
    return Origin(parts.scheme, str(address or host), parts.port or _DEFAULT_PORTS.get(parts.scheme))


def parse_address(host: str) -> IPAddress | None:
    """The address that a host is written as; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class HostRules:
    """The hosts beside Label Studio that images may come from.

    allowed: patterns (``host``, ``host:port``, ``*.domain``, ``*``) of hosts at public addresses; without a port they
    mean 80 and 443. private: patterns of hosts that may be at private addresses too.
    """

    def __init__(self, allowed: Sequence[str], private: Sequence[str]) -> None:
        self._allowed = tuple(_parse_pattern(pattern) for pattern in (*allowed, *private))
        self._private = tuple(_parse_pattern(pattern) for pattern in private)

    def check_host(self, origin: Origin) -> None:
        """Raise ImageRefused unless images may come from this origin, as far as its name tells."""
        if origin.scheme not in _DEFAULT_PORTS:
            raise ImageRefused(f"addresses of the kind {origin.scheme or 'without a scheme'!r} are not fetched")
        address = parse_address(origin.host)
        if address is not None:
            self.check_address(origin, address)
        elif not _HOST_NAME.fullmatch(origin.host):
            raise ImageRefused("the host is no plain name: write it in letters, digits, '-' and '.' (no setting helps)")
        elif _is_disguised(origin.host):
            raise ImageRefused(
                f"the host {origin.host} is an IPv4 address in an unusual form: write it as four decimal numbers "
                "(no setting allows other forms)"
            )
        if not _fits(self._allowed, origin):
            raise ImageRefused(
                f"{origin} is not among the hosts that images come from (LABEL_STUDIO_URL and those of "
                "M2N2_ALLOWED_IMAGE_HOSTS): add it there or move the image"
            )

    def check_address(self, origin: Origin, address: IPAddress) -> None:
        """Raise ImageRefused unless this address, found for the host of the origin, may be connected to."""
        address = _unwrap(address)
        if _is_public(address):
            return
        if address in _METADATA or not any(address in network for network in _INSIDE):
            raise ImageRefused(
                f"{origin.host} is at {address}, a {_name_kind(address)} address: no setting allows those"
            )
        if not _fits(self._private, origin):
            raise ImageRefused(
                f"{origin.host} is at {address}, a loopback or private address: "
                "name the host in M2N2_PRIVATE_IMAGE_HOSTS if images may come from it"
            )


def _parse_pattern(pattern: str) -> tuple[str, int | None]:
    origin = find_origin(urlsplit(f"//{pattern}"))
    return origin.host, origin.port


def _fits(patterns: Sequence[tuple[str, int | None]], origin: Origin) -> bool:
    return any(
        (origin.port == port if port else origin.port in _DEFAULT_PORTS.values()) and _fits_host(host, origin.host)
        for host, port in patterns
    )


def _fits_host(pattern: str, host: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return pattern in ("*", host)


def _is_disguised(host: str) -> bool:
    """Whether the C library reads this name as an IPv4 address: ``2130706433``, ``0x7f.1``, ``0177.0.0.1``."""
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True


def _unwrap(address: IPAddress) -> IPAddress:
    """The IPv4 address that packets to an IPv6 address end up at, where it is one of those."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address


def _name_kind(address: IPAddress) -> str:
    if address in _METADATA:
        return "cloud's metadata"
    return "link-local" if address.is_link_local else "special"


def _is_public(address: IPAddress) -> bool:
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    if address in _METADATA or any(address in network for network in _SPECIAL):
        return False
    # The library calls global what is merely not known to be private.
    return isinstance(address, ipaddress.IPv4Address) or address in _GLOBAL_UNICAST
