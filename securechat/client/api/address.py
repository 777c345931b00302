"""The address of the local API: ``[ADDRESS:]PORT`` or ``unix:PATH`` on the command line."""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from securechat.client.destination import MAX_PORT

LOOPBACK: Final = ("127.0.0.1", "::1")  # the addresses whose names a request may give in its Host header
MAX_SOCKET_PATH: Final = 107  # bytes, on Linux
_PREFIX: Final = "unix:"
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - addresses to listen on, and where they are reached


@dataclass(frozen=True, slots=True)
class ServeAddress:
    """An IP address and a port, or the path of a UNIX socket."""

    host: str = ""
    port: int = 0
    path: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine can connect to it."""
        return self.path is not None or self.host in LOOPBACK

    @property
    def base_url(self) -> str:
        """The URL of OpenAI's API for programs on this machine."""
        if self.path is not None:
            return "http://localhost/v1"
        return f"http://{_with_port(_ANY.get(self.host, self.host), self.port)}/v1"

    def __str__(self) -> str:
        if self.path is not None:
            return f"{_PREFIX}{self.path}"
        return _with_port(self.host, self.port)


def _with_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str) -> ServeAddress:
    """ValueError if the text is no address."""
    if text.startswith(_PREFIX):
        try:
            path = Path(text.removeprefix(_PREFIX)).expanduser().absolute()
        except RuntimeError:  # of expanduser
            raise ValueError("no such user") from None
        if text == _PREFIX or len(os.fsencode(path)) > MAX_SOCKET_PATH:
            raise ValueError("the path is empty or too long")
        return ServeAddress(path=path)
    host, _colon, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) <= MAX_PORT):
        raise ValueError("invalid port")
    if host.startswith("[") and host.endswith("]"):
        return ServeAddress(str(ipaddress.IPv6Address(host[1:-1])), int(port))
    if host in ("", "localhost"):
        return ServeAddress(LOOPBACK[0], int(port))
    return ServeAddress(str(ipaddress.IPv4Address(host)), int(port))
