"""A connection through a proxy, for OpenSSH: `python -I tunnel.py`, between standard input and output.

Where to, and the proxy's address (http or socks5, with user and password if it wants them), are in variables. A program
of its own, and so of the standard library alone: it has to start quickly.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import socket
import ssl
import sys
import threading
from urllib.parse import SplitResult, unquote, urlsplit

_PROXY, _HOST, _PORT = "WEIR_SSH_PROXY", "WEIR_SSH_HOST", "WEIR_SSH_PORT"
_SECONDS = 30.0
_CHUNK = 65536
_PORTS = {"http": 80, "https": 443, "socks5": 1080}


def environment(url: str, proxy: str) -> dict[str, str]:
    """The variables for a connection to the host of an ssh address."""
    parts = urlsplit(url)
    return {_PROXY: proxy, _HOST: parts.hostname or "", _PORT: str(parts.port or 22)}


def connect(proxy: str, host: str, port: int) -> socket.socket:
    """A connection to the host, by way of the proxy. Raises OSError that tells what the proxy said."""
    parts = urlsplit(proxy)
    plain = socket.create_connection((parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 1080)), _SECONDS)
    if parts.scheme == "socks5":
        _by_socks(plain, parts, host, port)
        return plain
    through = plain
    if parts.scheme == "https":
        through = ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname)
    _by_http(through, parts, host, port)
    return through


def _by_http(proxy: socket.socket, parts: SplitResult, host: str, port: int) -> None:
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if parts.username:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}")
    proxy.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        # Byte by byte: what follows the head is the other side's already.
        head += _exactly(proxy, 1)
        if len(head) > _CHUNK:
            raise OSError("the proxy's answer is too long")
    status = head.split(b"\r\n", 1)[0].decode(errors="replace").split(" ", 1)[-1]
    if not status.startswith("200"):
        raise OSError(f"the proxy refused: {status}")


def _by_socks(proxy: socket.socket, parts: SplitResult, host: str, port: int) -> None:
    """RFC 1928 and 1929; the proxy finds the host."""
    method = 2 if parts.username else 0
    proxy.sendall(bytes([5, 1, method]))
    if _exactly(proxy, 2)[1] != method:
        raise OSError("the proxy refused: it wants another kind of credentials")
    if parts.username:
        user, password = (unquote(text or "").encode()[:255] for text in (parts.username, parts.password))
        proxy.sendall(bytes([1, len(user)]) + user + bytes([len(password)]) + password)
        if _exactly(proxy, 2)[1] != 0:
            raise OSError("the proxy refused the user and password")
    proxy.sendall(bytes([5, 1, 0]) + _address(host) + port.to_bytes(2, "big"))
    answer = _exactly(proxy, 4)
    if answer[1] != 0:
        raise OSError(f"the proxy refused: code {answer[1]}")
    length = {1: 4, 4: 16}.get(answer[3]) or _exactly(proxy, 1)[0]
    _exactly(proxy, length + 2)


def _address(host: str) -> bytes:
    try:
        known = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode()[:255]
        return bytes([3, len(name)]) + name
    return bytes([1 if known.version == 4 else 4]) + known.packed


def _exactly(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = source.recv(count - len(data))
        if not more:
            raise OSError("the proxy closed the connection")
        data += more
    return data


def _upload(target: socket.socket) -> None:
    while data := os.read(0, _CHUNK):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


def main() -> None:
    """Relay until the other side closes."""
    try:
        through = connect(os.environ[_PROXY], os.environ[_HOST], int(os.environ[_PORT]))
    except OSError as error:
        sys.exit(f"ssh: proxy: {error}")
    through.settimeout(None)
    threading.Thread(target=_upload, args=(through,), daemon=True).start()
    while data := through.recv(_CHUNK):
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]


if __name__ == "__main__":
    main()
