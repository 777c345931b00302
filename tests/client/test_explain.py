"""Descriptions of failures."""

import errno
import os
import socket

from twisted.internet.error import ConnectError, DNSLookupError, NoRouteError, getConnectError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as TimedOut
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.destination import Destination
from securechat.client.explain import of_denial, of_failed_connection, of_fault, of_goodbye
from securechat.errors import Fault
from securechat.wire.messages import Reason

DESTINATION = Destination("chat.example.org", 8080)
THERE = Destination("example.org", 80)

# A word or two that tell one from the others: the cause, and what to do.
FAULTS = {
    Fault.UNREACHABLE: ("unreachable", "later"),
    Fault.REFUSED: ("refused", "rephrase"),
    Fault.TOO_LONG: ("too long", "new conversation"),
    Fault.TIMED_OUT: ("timed out", "try again"),
    Fault.BROKEN_ANSWER: ("invalid response", "operator"),
    Fault.BUSY: ("overloaded", "later"),
    Fault.CANCELLED: ("cancelled", ""),
    Fault.TOO_MANY_MESSAGES: ("too many", "wait"),
    Fault.INTERNAL: ("internal", "operator"),
    Fault.NOT_FOUND: ("not have", ""),
    Fault.NOT_ALLOWED: ("not allow", "operator"),
    Fault.LIMIT_REACHED: ("not answered", "limit"),
}
REASONS = {
    Reason.LEAVING: ("closed", "reconnect"),
    Reason.STOPPING: ("shutting down", "later"),
    Reason.IDLE: ("inactivity", "reconnect"),
    Reason.TOO_OLD: ("maximum duration", "reconnect"),
    Reason.KEY_WITHDRAWN: ("no longer authorized", "operator"),
    Reason.REMOVED: ("operator closed", "contact"),
}
CONNECTIONS = (
    (DNSLookupError("x"), "resolve"),
    (Refused(), "refused"),
    (TimedOut(), "timed out"),
    (NoRouteError(), "no route"),
    (getConnectError((errno.EACCES, "x")), os.strerror(errno.EACCES)),
    (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), os.strerror(errno.EMFILE)),
)


class ExplainTests(SynchronousTestCase):
    """Each failure has a description of its own."""

    def test_faults(self) -> None:
        """Every fault is described, and differently."""
        self.assertEqual(FAULTS.keys(), set(Fault))
        texts = {fault: of_fault(fault, has_begun=False) for fault in Fault}
        self.assertEqual(len(set(texts.values())), len(texts))
        for fault, words in FAULTS.items():
            for word in words:
                self.assertIn(word, texts[fault])

    def test_partOfAReply(self) -> None:
        """If part of the reply was shown, the user is told that it is incomplete, unless it was cancelled or none."""
        for fault in Fault:
            text, whole = (of_fault(fault, has_begun=has_begun) for has_begun in (True, False))
            self.assertNotIn("incomplete", whole)
            if fault in (Fault.CANCELLED, Fault.LIMIT_REACHED):
                self.assertEqual(text, whole)
            else:
                self.assertIn("incomplete", text)
                self.assertTrue(text.endswith(whole))

    def test_goodbyes(self) -> None:
        """Every reason of a GOODBYE is described, and differently."""
        self.assertEqual(REASONS.keys(), set(Reason))
        self.assertEqual(len({of_goodbye(reason) for reason in Reason}), len(Reason))
        for reason, words in REASONS.items():
            for word in words:
                self.assertIn(word, of_goodbye(reason))

    def test_failedConnections(self) -> None:
        """A failed connection is described with the server's name, and with the system's words where there are some."""
        for error, words in CONNECTIONS:
            text = of_failed_connection(error, DESTINATION)
            self.assertTrue(text.startswith("[chat.example.org]:8080: "), text)
            self.assertIn(words, text)
            self.assertNotIn("Errno", text)
        self.assertEqual(len({of_failed_connection(error, DESTINATION) for error, _words in CONNECTIONS}), 6)


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

    def test_zone(self) -> None:
        """For a link-local address without a zone, the user is told that it needs one; with one, he is not."""
        error = getConnectError((errno.EINVAL, "x"))
        for destination, is_told in (
            (Destination("fe80::1", 1), True),
            (Destination("fe80::1", 1, "eth0"), False),
            (Destination("2001:db8::1", 1), False),
        ):
            text = of_failed_connection(error, destination)
            self.assertTrue(text.startswith(f"{destination.local_name}: {os.strerror(errno.EINVAL)}; "), text)
            self.assertEqual("add the network interface" in text, is_told)
