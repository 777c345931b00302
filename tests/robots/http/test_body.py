"""The body of a response, with a producer under the test's control."""

from typing import Any, cast

from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from securechat.errors import Fault, RobotError
from securechat.robots.http.body import Body


class BodyTests(SynchronousTestCase):
    """A body whose bytes arrive with and without a reader."""

    def setUp(self) -> None:
        self.wire = StringTransport()
        self.body = Body()
        self.body.makeConnection(cast(Any, self.wire))

    def test_beforeItIsRead(self) -> None:
        """What arrives before it is read, in several pieces, is read together; meanwhile the connection is paused."""
        for piece in (b"one ", b"two ", b"three"):
            self.body.dataReceived(piece)
        self.assertEqual(self.wire.producerState, "paused")
        self.assertEqual(self.successResultOf(self.body.read()), b"one two three")
        reading = self.body.read()
        self.assertEqual(self.wire.producerState, "producing")
        self.body.dataReceived(b"four")
        self.assertEqual(self.successResultOf(reading), b"four")
        self.body.dataReceived(b"five")
        self.assertEqual(self.successResultOf(self.body.read()), b"five")

    def test_cancelled(self) -> None:
        """A read that is cancelled pauses the connection, and loses nothing."""
        reading = self.body.read()
        reading.cancel()
        self.failureResultOf(reading)
        self.assertEqual(self.wire.producerState, "paused")
        self.body.dataReceived(b"late")
        self.assertEqual(self.successResultOf(self.body.read()), b"late")

    def test_ends(self) -> None:
        """After the last bytes each read is empty, or an error if the body was truncated."""
        for reason, is_whole in (ResponseDone(), True), (PotentialDataLoss(), True), (ConnectionLost(), False):
            for is_read in (True, False):
                self.setUp()
                self.body.dataReceived(b"last")
                self.assertEqual(self.successResultOf(self.body.read()), b"last")
                early = [self.body.read()] if is_read else []
                self.body.connectionLost(Failure(reason))
                for reading in (*early, self.body.read(), self.body.read()):
                    if is_whole:
                        self.assertEqual(self.successResultOf(reading), b"")
                    else:
                        self.assertIs(self.failureResultOf(reading, RobotError).value.fault, Fault.BROKEN_ANSWER)

    def test_errorsAreNotKept(self) -> None:
        """An error is not kept: with it would stay all that the frames contain through which it was raised."""
        self.body.connectionLost(Failure(ConnectionLost()))
        first, second = (self.failureResultOf(self.body.read(), RobotError).value for _read in range(2))
        self.assertIsNot(first, second)
