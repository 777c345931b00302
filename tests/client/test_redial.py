"""Dialling again."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.backoff import IDLE_DELAY, MAX_DELAY
from securechat.client.exit_codes import NotConnectedError
from securechat.client.redial import Redial
from securechat.client.session_errors import PermissionDeniedError
from securechat.client.signer import NoSignatureError
from securechat.errors import AuthenticationError, Category


class RedialTests(SynchronousTestCase):
    """One server that is dialled until it answers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.redial = Redial(self.clock, lambda: 1.0)
        self.attempts: list[Deferred[str]] = []

    async def dial(self) -> str:
        self.attempts.append(Deferred())
        return await self.attempts[-1]

    def start(self) -> Deferred[str]:
        return Deferred.fromCoroutine(self.redial.run(self.dial))

    def refuse(self) -> None:
        self.attempts[-1].errback(NotConnectedError("refused"))

    def test_delays(self) -> None:
        """The delay grows with each failure; the result is that of the attempt that succeeds."""
        done = self.start()
        for seconds in (1, 2, 4):
            self.assertEqual(self.redial.seconds, seconds)
            self.clock.advance(seconds)
            self.assertIsNone(self.redial.seconds)
            if seconds < 4:
                self.refuse()
                self.assertEqual(self.redial.problem, "refused")
        self.attempts[-1].callback("session")
        self.assertEqual(self.successResultOf(done), "session")
        self.redial.succeeded()
        self.assertEqual(self.redial.problem, "")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_now(self) -> None:
        """The user need not wait, and not for the first attempt at all if it is lazy."""
        self.start().addErrback(lambda _failure: None)
        self.redial.now()
        self.redial.now()
        self.assertEqual((len(self.attempts), self.clock.getDelayedCalls()), (1, []))
        self.redial.cancel()
        self.redial.lost(is_lazy=True, is_idle=True)
        self.start()
        self.clock.advance(1000)
        self.assertEqual((len(self.attempts), self.redial.seconds), (1, None))
        self.redial.now()
        self.assertEqual(len(self.attempts), 2)

    def test_useful(self) -> None:
        """After a session of a minute, the delays begin anew; a server that drops each session is dialled less."""
        for seconds, delay in (0.0, 1), (0.0, 2), (MAX_DELAY, 1), (MAX_DELAY - 1, 2):
            self.redial.succeeded()
            self.clock.advance(seconds)
            self.redial.lost(is_lazy=False, is_idle=False)
            self.start().addErrback(lambda _failure: None)
            self.assertEqual(self.redial.seconds, delay)
            self.redial.now()
            self.attempts[-1].callback("session")

    def test_idle(self) -> None:
        """A user who waits for nothing may be reconnected later, so that not all clients come at once."""
        self.redial.lost(is_lazy=False, is_idle=True)
        self.start().addErrback(lambda _failure: None)
        self.assertEqual(self.redial.seconds, IDLE_DELAY)
        self.clock.advance(IDLE_DELAY)
        self.refuse()
        self.assertEqual(self.redial.seconds, 2)
        self.redial.cancel()

    def test_lasting(self) -> None:
        """An error that would come again ends it."""
        done = self.start()
        self.redial.now()
        self.attempts[-1].errback(AuthenticationError(Category.HOST_KEY))
        self.failureResultOf(done, AuthenticationError)

    def test_agent(self) -> None:
        """An agent that has gone may come back."""
        done = self.start()
        self.redial.now()
        self.attempts[-1].errback(NoSignatureError(Category.USER_KEY, "cannot connect to ssh-agent"))
        self.assertEqual(self.redial.problem, "cannot connect to ssh-agent")
        self.redial.now()
        self.attempts[-1].callback("session")
        self.assertEqual(self.successResultOf(done), "session")

    def test_denied(self) -> None:
        """A busy server closes connections as one that denies access: the fifth denial in a row ends it."""
        done = self.start()
        denial = PermissionDeniedError(Category.CUT, "denied")
        for error in (*[denial] * 4, NotConnectedError("refused"), *[denial] * 5):
            self.assertNoResult(done)
            self.redial.now()
            self.attempts[-1].errback(error)
        self.failureResultOf(done, PermissionDeniedError)

    def test_deniedLater(self) -> None:
        """A denial before a session does not count after it."""
        for _session in range(5):
            done = self.start()
            self.redial.now()
            self.attempts[-1].errback(PermissionDeniedError(Category.CUT, "denied"))
            self.redial.now()
            self.attempts[-1].callback("session")
            self.assertEqual(self.successResultOf(done), "session")
            self.redial.succeeded()

    def test_cancelled(self) -> None:
        """It can be cancelled in a delay and in an attempt."""
        for is_waiting in (True, False):
            done = self.start()
            if not is_waiting:
                self.redial.now()
            self.redial.cancel()
            self.failureResultOf(done, CancelledError)
            self.assertEqual(self.clock.getDelayedCalls(), [])
