"""Messages to systemd, or another service manager with its protocol: sd_notify(3)."""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

MICROSECONDS: Final = 1_000_000
STOP_MARGIN: Final = 15  # seconds that stopping may take in addition to `drain`


class ServiceManager:
    """Tells the service manager, if there is one, about the state of the daemon. Failures are ignored."""

    def __init__(self, clock: IReactorTime, environ: Mapping[str, str]) -> None:
        """`environ` has NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, if the manager has set them."""
        self._clock = clock
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._watchdog: IDelayedCall | None = None
        self._interval = _watchdog_interval(environ)

    def ready(self) -> None:
        """The daemon has started. From now on, the watchdog hears from it."""
        self._send("READY=1", f"MAINPID={os.getpid()}")
        if self._interval and self._watchdog is None:
            self._feed_watchdog()

    def reloading(self) -> None:
        """The daemon begins to reload; `ready` ends that."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, drain: float) -> None:
        """The daemon stops, which may take `drain` seconds and a few more."""
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int((drain + STOP_MARGIN) * MICROSECONDS)}")

    def close(self) -> None:
        """The watchdog hears no more."""
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None

    def _feed_watchdog(self) -> None:
        self._watchdog = self._clock.callLater(self._interval, self._feed_watchdog)
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        # A leading @ stands for the null byte of an abstract socket. Another kind of address, vsock:, is for machines.
        if not self._address.startswith(("/", "@")):
            return
        address = os.fsencode(self._address)
        if address.startswith(b"@"):
            address = b"\0" + address[1:]
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), address)


def _watchdog_interval(environ: Mapping[str, str]) -> float:
    """Half the time after which the manager considers this process dead, in seconds; 0 without a watchdog."""
    with suppress(ValueError):
        if int(environ.get("WATCHDOG_PID", os.getpid())) == os.getpid():
            return max(0, int(environ.get("WATCHDOG_USEC", "0"))) / MICROSECONDS / 2
    return 0.0
