"""Which addresses may be asked: those of the internet, those in the cluster that a policy names, and some never."""

from __future__ import annotations

import ipaddress
import socket
import urllib.request
from collections.abc import Callable, Collection
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_OF_MACHINES: Final = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16")))
"""Addresses of the clouds' metadata services that are not link-local."""


class ForbiddenAddressError(OSError):
    """A name leads to addresses that may not be asked."""


def address_of(host: str) -> Address | None:
    """The address that a host is, None for a name. An IPv4 address within one of IPv6 is the IPv4 address.

    Raises ForbiddenAddressError for the spellings of addresses that only old C libraries understand.
    """
    try:
        found = ipaddress.ip_address(host.rstrip("."))
    except ValueError:
        if host.replace(".", "").isdigit():
            raise ForbiddenAddressError(f"{host} is not a name, and not an address as it should be written") from None
        return None
    return _within(found)


def is_public(address: Address) -> bool:
    """Whether it is on the internet."""
    return address.is_global and not address.is_multicast


def is_of_machines(address: Address) -> bool:
    """Whether services of the machine itself are there, which know credentials."""
    return address.is_link_local or address in _OF_MACHINES


def proxies() -> list[tuple[str, int]]:
    """Host and port of the proxies that the environment names; what is no address there, nobody connects to."""
    found = []
    for scheme in ("http", "https"):
        try:
            proxy = URL(urllib.request.getproxies().get(scheme, ""))
            found += [(proxy.host, proxy.port)] if proxy.host and proxy.port else []
        except ValueError:
            continue
    return found


class CheckedResolver(AbstractResolver):
    """Resolves names to allowed addresses only: what is checked is what is connected to.

    Those of `proxies` (host, port) may be anywhere: whoever runs the agent has chosen them, and they do the connecting.
    """

    def __init__(
        self, allowed: Callable[[Address], bool], otherwise: str, *, proxies: Collection[tuple[str, int]] = ()
    ) -> None:
        self._inner = aiohttp.ThreadedResolver()
        self._allowed = allowed
        self._otherwise = otherwise
        self._proxies = frozenset(proxies)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The allowed ones. Raises ForbiddenAddressError if there is none, OSError if there is no such name."""
        found = await self._inner.resolve(host, port, family)
        if (host, port) in self._proxies:
            return found
        allowed = [entry for entry in found if self._allowed(_within(ipaddress.ip_address(entry["host"])))]
        if not allowed:
            raise ForbiddenAddressError(f"{host} {self._otherwise}")
        return allowed

    async def close(self) -> None:
        """Nothing is held."""
        await self._inner.close()


def _within(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
