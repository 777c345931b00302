"""Descriptions of failures for the user."""

import errno
import socket

from twisted.internet.error import ConnectError, DNSLookupError, NoRouteError, getConnectError
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.destination import Destination
from securechat.client.explain import of_denial, of_failed_connection

THERE = Destination("example.org", 80)


class ConnectionTests(SynchronousTestCase):
    """Connections that could not be established."""

    def test_inWords(self) -> None:
        """The problem is described in words, not by its number."""
        for error, words in (
            (getConnectError((errno.EINVAL, "Invalid argument")), "Invalid argument"),
            (getConnectError((errno.EACCES, "")), "Permission denied"),
            (ConnectError(errno.EADDRNOTAVAIL), "Cannot assign requested address"),
            (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
            (ConnectError(string="no reason"), "no reason"),
        ):
            text = of_failed_connection(error, THERE)
            self.assertEqual(text.count(words), 1, text)
            self.assertTrue(text.startswith("[example.org]:80: "), text)
            self.assertNotRegex(text.removeprefix("[example.org]:80"), r"\d")

    def test_known(self) -> None:
        """Frequent problems have a description of their own."""
        self.assertIn("could not resolve hostname", of_failed_connection(DNSLookupError(), THERE))
        self.assertIn("no route to host", of_failed_connection(NoRouteError(), THERE))
        for error in (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), ConnectError(-2)):
            self.assertIn("could not resolve hostname", of_failed_connection(error, THERE))

    def test_zone(self) -> None:
        """The address is shown as it was dialled; without a zone, the user is told to add one."""
        error = ConnectError(errno.EINVAL)
        self.assertIn(
            "Invalid argument; add the network interface", of_failed_connection(error, Destination("fe80::1", 80))
        )
        self.assertIn("[fe80::1%eth0]:80: ", of_failed_connection(error, Destination("fe80::1", 80, "eth0")))


class DenialTests(SynchronousTestCase):
    """Connections that the server closed after the client's proof."""

    def test_keys(self) -> None:
        """The keys that were offered are named; a client that offered none is not told that one was refused."""
        self.assertNotIn("your key", of_denial("[h]:1", []))
        self.assertIn("use -i FILE or --agent", of_denial("[h]:1", []))
        self.assertIn("your key SHA256:a is not", of_denial("[h]:1", ["SHA256:a"]))
        self.assertIn("none of your keys SHA256:a, SHA256:b is", of_denial("[h]:1", ["SHA256:a", "SHA256:b"]))
