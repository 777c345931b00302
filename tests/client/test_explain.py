"""Descriptions of failures."""

import errno
import os

from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import DNSLookupError, NoRouteError, getConnectError
from twisted.internet.error import TimeoutError as TimedOut
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.destination import Destination
from securechat.client.explain import of_failed_connection, of_fault, of_goodbye
from securechat.errors import Fault
from securechat.wire.messages import Reason

DESTINATION = Destination("chat.example.org", 8080)

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
        """If part of the reply was shown, the user is told that it is incomplete, unless he cancelled it himself."""
        for fault in Fault:
            text, whole = (of_fault(fault, has_begun=has_begun) for has_begun in (True, False))
            self.assertNotIn("incomplete", whole)
            if fault is Fault.CANCELLED:
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
