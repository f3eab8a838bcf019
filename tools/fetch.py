"""Fetch one page over HTTP, within limits: its size, its type, its redirects and where it may lie.

A URL in a graph often comes from a model or from another page, so nothing that is not public is fetched: every host
is looked up once, an address that is private, of this machine or of the cloud's own is refused, and the request goes
to exactly the address that was checked, also after a redirect. What may be fetched nevertheless is listed in
`PRIVATE`. No proxy is used, because a proxy would look hosts up again by itself.
"""

from __future__ import annotations

import socket
import ssl
import zlib
from collections.abc import Collection, Iterable
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import anyio
import httpx

from orchestrator import ToolFailed

__all__ = ("fetch",)

# Settings. This file is yours: change them here.
PRIVATE: Collection[str] = ()
"""Networks that may be fetched from although they are not public, such as ``10.1.0.0/16`` or ``127.0.0.1``."""
TYPES: Collection[str] = ("text/", "application/json", "application/xml", "application/xhtml+xml", "+json", "+xml")
"""Content types that are text: what one begins with, or after a plus, ends with."""
MAX_BYTES = 2_000_000
"""Bytes of a page, unpacked: twenty times an ordinary one, and what a model could never read anyway."""
MAX_REDIRECTS = 5
"""Redirects in a row: a site needs one or two, a loop has no end."""
PATIENCE = 5.0
"""Seconds to connect, and between two pieces of an answer; the node's `timeout` bounds the whole."""
AGENT = "orchestrator-fetch/1"
"""What the tool calls itself: sites want to know whom they serve."""

_NAT64 = ip_network("64:ff9b::/96")
Address = IPv4Address | IPv6Address


async def fetch(
    url: str,
    *,
    private: Collection[str] = PRIVATE,
    types: Collection[str] = TYPES,
    max_bytes: int = MAX_BYTES,
    max_redirects: int = MAX_REDIRECTS,
) -> dict[str, Any]:
    """Return the page at *url*: ``{"url", "status", "type", "text"}``, the URL being the last one of all redirects.

    Args:
        url: ``http`` or ``https``, without credentials.
        private: Networks that may be fetched from although they are not public.
        types: Content types that are taken.
        max_bytes: Of the page, unpacked.
        max_redirects: In a row.

    Raises:
        ToolFailed: It may not be fetched, or is not what is taken; another try would not help.
        httpx.HTTPError: It did not answer, or with an error; the run sees whether another try may help.
    """
    networks = [ip_network(network) for network in private]
    target = _parsed(url)
    for _ in range(max_redirects + 1):
        answer = await _get(target, networks, types, max_bytes)
        if isinstance(answer, dict):
            return answer
        target = answer
    raise ToolFailed(f"more than {max_redirects} redirects, the last one to {target.host}")


def _parsed(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ToolFailed(f"no URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ToolFailed(f"only http:// and https:// are fetched, not {parsed.scheme or 'a text without a scheme'}")
    if parsed.userinfo:
        raise ToolFailed(f"the URL of {parsed.host} holds credentials, which a page would be told")
    return parsed.copy_with(fragment=None)


# ------------------------------------------------------------------------------------------------------------ addresses


async def _addresses(url: httpx.URL, networks: Iterable[IPv4Network | IPv6Network]) -> list[str]:
    """Look the host up and return the addresses that may be asked."""
    host = url.raw_host.decode("ascii")
    found = await anyio.getaddrinfo(host, url.port or 443, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
    networks = tuple(networks)
    permitted = [text for text in addresses if _permitted(ip_address(text), networks)]
    if not permitted:
        raise ToolFailed(f"{url.host} is not public: list its network in PRIVATE if it may be fetched from")
    return permitted


def _permitted(address: Address, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    inner = _inside(address)
    if any(inner in network or address in network for network in networks):
        return True
    return all(each.is_global and not each.is_multicast for each in (address, inner))


def _inside(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, or the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


# -------------------------------------------------------------------------------------------------------------- request


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


async def _get(
    url: httpx.URL, networks: Iterable[IPv4Network | IPv6Network], types: Collection[str], max_bytes: int
) -> dict[str, Any] | httpx.URL:
    """Return the page, or where it is said to lie."""
    addresses = await _addresses(url, networks)
    verify = _tls() if url.scheme == "https" else False
    async with httpx.AsyncClient(verify=verify, timeout=PATIENCE, trust_env=False) as client:
        for address in addresses:
            try:
                return await _ask(client, url, address, types, max_bytes)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if address == addresses[-1]:
                    raise
    raise AssertionError("there is always an address")


async def _ask(
    client: httpx.AsyncClient, url: httpx.URL, address: str, types: Collection[str], max_bytes: int
) -> dict[str, Any] | httpx.URL:
    headers = {
        "Host": url.netloc.decode("ascii"),
        "User-Agent": AGENT,
        "Accept": "text/html, text/*;q=0.9, application/json;q=0.9, */*;q=0.1",
        "Accept-Encoding": "gzip",
    }
    # The address instead of the name; the certificate is still checked against the name.
    extensions = {"sni_hostname": url.raw_host.decode("ascii")}
    async with client.stream("GET", url.copy_with(host=address), headers=headers, extensions=extensions) as answer:
        if answer.has_redirect_location:
            return _parsed(str(url.join(answer.headers["location"])))
        if answer.status_code != 200:
            message = f"{url.host} answered {answer.status_code} {answer.reason_phrase}".rstrip()
            raise httpx.HTTPStatusError(message, request=answer.request, response=answer)
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not any(kind.endswith(each) if each[0] == "+" else kind.startswith(each) for each in types):
            raise ToolFailed(f"{url.host} has a page of the type {kind or 'unknown'}, which is not taken")
        body = await _body(answer, url.host, max_bytes)
    return {"url": str(url), "status": 200, "type": kind, "text": _text(body, answer.charset_encoding)}


async def _body(answer: httpx.Response, host: str, max_bytes: int) -> bytes:
    """Read the body, unpacking no more than may be held: a small answer can unpack to gigabytes."""
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", "deflate"):
        raise ToolFailed(f"{host} sends its page packed as {encoding}, which was not asked for")
    unpack = None if encoding == "identity" else zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)
    body = bytearray()
    try:
        async for piece in answer.aiter_raw():
            body += piece if unpack is None else unpack.decompress(piece, max_bytes + 1 - len(body))
            if len(body) > max_bytes:
                raise ToolFailed(f"{host} has a page of more than {max_bytes} bytes")
    except zlib.error:
        raise ToolFailed(f"the page of {host} cannot be unpacked", transient=True) from None
    if unpack is not None and not unpack.eof:
        raise ToolFailed(f"the page of {host} ended early", transient=True)
    return bytes(body)


def _text(body: bytes, charset: str | None) -> str:
    try:
        return body.decode(charset or "utf-8", errors="replace")
    except LookupError:  # a charset that nobody knows
        return body.decode("utf-8", errors="replace")
