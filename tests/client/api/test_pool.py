"""The pool of sessions, with sessions whose connection a test plays."""

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.api.calls import Unavailable
from securechat.client.api.pool import MAX_QUEUED, RETIREMENT, SessionPool
from securechat.client.api.session import ApiSession, Keeper, PendingCall
from securechat.client.exit_codes import NoApiError, NotConnectedError
from securechat.client.session_errors import PermissionDeniedError
from securechat.client.signer import NoSignatureError
from securechat.errors import Category, Fault, RemoteProtocolError, SecureChatError
from securechat.wire.events import Admitted, GoodbyeReceived
from securechat.wire.items import Head, Piece, ServerEvent
from securechat.wire.messages import Reason
from securechat.wire.shaping import Shaping

HEAD = Head(200, "text/plain")
CUT = RemoteProtocolError(Category.CUT, "the connection was closed unexpectedly")
MIB = 2**20


def about(*, api: bool = True, max_message: int = MIB) -> Admitted:
    return Admitted("", "robot", "test", max_message, api, Shaping.REPLY, 100, 1)


class FakeClient:
    """A ChatClient without a connection, which records what it is told."""

    def __init__(self, session: ApiSession, max_message: int) -> None:
        self.session = session
        self.calls: list[tuple[str, bytes]] = []
        self.cancelled: list[int] = []
        self.holds: list[bool] = []
        self.left: list[str] = []
        self.is_open = True
        self.is_moment = True  # whether a call may be sent now
        self._room: Deferred[None] | None = None
        self._max_message = max_message

    def call_room(self) -> Deferred[None]:
        self._room = Deferred()
        if self.is_moment:
            self.give_room()
            done: Deferred[None] = Deferred()
            done.callback(None)
            return done
        return self._room

    def give_room(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def call(self, path: str, body: bytes) -> int:
        if len(body) > self._max_message:
            raise ValueError
        self.calls.append((path, body))
        return len(self.calls)

    def cancel(self, message_id: int) -> None:
        self.cancelled.append(message_id)

    def holdReading(self, hold: bool) -> None:
        self.holds.append(hold)

    def leave(self) -> None:
        self.left.append("at once")
        self.is_open = False

    def leaveQuietly(self) -> None:
        self.left.append("quietly")

    # What the server does

    def send(self, *items: Head | Piece | ServerEvent, last: bool = False) -> None:
        self.session.resultReceived(len(self.calls), list(items), last)

    def end(self) -> None:
        self.send(HEAD, last=True)

    def fail(self, fault: Fault) -> None:
        self.session.faultReceived(len(self.calls), fault)

    def close(self, reason: SecureChatError | GoodbyeReceived | None) -> None:
        self.session.disconnected(reason)

    def say_goodbye(self, reason: Reason) -> None:
        self.close(GoodbyeReceived(reason, 0))


class Diary:
    """A Receiver that records its callbacks."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def itemsReceived(self, items: list[Head | Piece | ServerEvent]) -> None:
        self.events += items

    def ended(self) -> None:
        self.events.append("ended")

    def failed(self, fault: Fault) -> None:
        self.events.append(fault)

    def broken(self) -> None:
        self.events.append("broken")


class PoolTestCase(SynchronousTestCase):
    """A pool of three sessions."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.attempts: list[Deferred[ApiSession]] = []
        self.clients: list[FakeClient] = []
        self.reports: list[str | None] = []
        self.pool = SessionPool(self.open_session, 3, self.clock, self.reports.append, lambda: 1.0)

    async def open_session(self, pool: Keeper) -> ApiSession:
        attempt: Deferred[ApiSession] = Deferred()
        self.attempts.append(attempt)
        return await attempt

    def admit(self, max_message: int = MIB) -> FakeClient:
        """The oldest attempt to open a session succeeds."""
        session = ApiSession(self.pool, lambda step: None)
        client = FakeClient(session, max_message)
        self.clients.append(client)
        session.admitted(cast(Any, client), about(max_message=max_message))
        attempt = self.attempts.pop(0)
        attempt.callback(self.successResultOf(session.opened))
        return client

    def refuse(self, error: Exception) -> None:
        """The oldest attempt to open a session fails."""
        self.attempts.pop(0).errback(error)

    def begin(self, max_message: int = MIB) -> FakeClient:
        """The pool has its first session."""
        session = ApiSession(self.pool, lambda step: None)
        client = FakeClient(session, max_message)
        self.clients.append(client)
        session.admitted(cast(Any, client), about(max_message=max_message))
        self.pool.add(session)
        return client

    def start(self, body: bytes = b"{}", path: str = "completions") -> tuple[PendingCall, Diary]:
        diary = Diary()
        call = self.pool.start(path, body, diary)
        self.clock.advance(0)
        return call, diary

    def assertUnavailable(self, status: int, retry_after: int, body: bytes = b"") -> str:
        with self.assertRaises(Unavailable) as caught:
            self.pool.start("models", body, Diary())
        self.assertEqual((caught.exception.status, caught.exception.retry_after), (status, retry_after))
        return str(caught.exception)


class CallTests(PoolTestCase):
    """Single requests."""

    def test_result(self) -> None:
        """A request goes up on a session, and its response comes back."""
        client = self.begin()
        _call, diary = self.start(b"{1}")
        self.assertEqual(client.calls, [("completions", b"{1}")])
        client.send(HEAD)
        client.send(Piece(b"a"), Piece(b"b"))
        client.send(last=True)
        self.assertEqual(diary.events, [HEAD, Piece(b"a"), Piece(b"b"), "ended"])

    def test_fault(self) -> None:
        """A fault ends a request, not its session."""
        client = self.begin()
        _call, diary = self.start()
        client.fail(Fault.BUSY)
        self.assertEqual(diary.events, [Fault.BUSY])
        self.start()
        self.assertEqual(len(client.calls), 2)

    def test_startReturnsFirst(self) -> None:
        """There is no callback before `start` has returned."""
        self.begin(4096).is_moment = True
        self.clients[0]._max_message = 1
        diary = Diary()
        self.pool.start("completions", b"{}", diary)
        self.assertEqual(diary.events, [])
        self.clock.advance(0)
        self.assertEqual(diary.events, [Fault.TOO_LONG])

    def test_moment(self) -> None:
        """A request is sent when the session's moment has come."""
        client = self.begin()
        client.is_moment = False
        self.start()
        self.assertEqual(client.calls, [])
        client.give_room()
        self.assertEqual(len(client.calls), 1)

    def test_tooLarge(self) -> None:
        """A body that the server would not accept is refused with the limit; a path fits beside the largest one."""
        self.begin(4096)
        self.assertIn(str(self.pool.max_body), self.assertUnavailable(413, 0, bytes(self.pool.max_body + 1)))
        self.start(bytes(self.pool.max_body))
        self.assertEqual(self.pool.max_body, 4096 - 512)

    def test_veryLarge(self) -> None:
        """No body is larger than 16 MiB, whatever the server accepts."""
        self.begin(64 * MIB)
        self.assertEqual(self.pool.max_body, 16 * MIB)


class CancelTests(PoolTestCase):
    """Requests whose tool has gone."""

    def test_sent(self) -> None:
        """A request that was sent is cancelled, and its session is free when the server has confirmed that."""
        client = self.begin()
        call, diary = self.start()
        client.send(HEAD)
        call.cancel()
        call.cancel()
        self.assertEqual(client.cancelled, [1])
        client.send(Piece(b"a"))
        self.start()
        self.assertEqual(len(client.calls), 1)
        client.fail(Fault.CANCELLED)
        self.assertEqual(len(client.calls), 2)
        self.assertEqual(diary.events, [HEAD])

    def test_crossing(self) -> None:
        """A response that was complete before the server knew of the cancellation ends the request, too."""
        client = self.begin()
        call, diary = self.start()
        call.cancel()
        client.end()
        self.start()
        self.assertEqual((len(client.calls), diary.events), (2, []))

    def test_waitingForItsMoment(self) -> None:
        """A request that waits for its moment is not sent."""
        client = self.begin()
        client.is_moment = False
        call, diary = self.start()
        call.cancel()
        client.give_room()
        self.assertEqual((client.calls, client.cancelled, diary.events), ([], [], []))
        client.is_moment = True
        self.start()
        self.assertEqual(len(client.calls), 1)

    def test_queued(self) -> None:
        """A request that waits for a session is forgotten."""
        call, _diary = self.start(b"1")
        self.start(b"2")
        call.cancel()
        self.assertEqual(self.admit().calls, [("completions", b"2")])

    def test_inACallback(self) -> None:
        """A request may be cancelled in a callback, also in the last one."""
        client = self.begin()
        diary = Diary()
        call = self.pool.start("models", b"", diary)
        self.clock.advance(0)
        diary.itemsReceived = lambda items: call.cancel()  # type: ignore[method-assign]
        client.end()
        self.assertEqual(diary.events, [])
        self.start()
        self.assertEqual(len(client.calls), 2)


class PauseTests(PoolTestCase):
    """Tools that do not read."""

    def test_holds(self) -> None:
        """The session is not read while its tool does not read."""
        client = self.begin()
        call, _diary = self.start()
        call.resume()
        call.pause()
        call.pause()
        call.resume()
        self.assertEqual(client.holds, [True, False])

    def test_ends(self) -> None:
        """A session is read again when its request has ended or is cancelled."""
        client = self.begin()
        call, _diary = self.start()
        call.pause()
        client.end()
        self.assertEqual(client.holds, [True, False])
        call.pause()
        call, _diary = self.start()
        call.pause()
        call.cancel()
        self.assertEqual(client.holds, [True, False] * 2)  # the confirmation has to be read
        client.fail(Fault.CANCELLED)
        self.assertEqual(client.holds, [True, False] * 2)

    def test_early(self) -> None:
        """A request that is paused before it is sent is held when it is."""
        call, _diary = self.start()
        call.pause()
        self.assertEqual(self.admit().holds, [True])

    def test_beforeItsMoment(self) -> None:
        """The session is read while it waits for its moment."""
        client = self.begin()
        client.is_moment = False
        call, _diary = self.start()
        client.is_moment = True
        client.give_room()
        self.assertEqual(client.holds, [])
        call.pause()
        self.assertEqual(client.holds, [True])


class PoolTests(PoolTestCase):
    """Several requests at a time."""

    def test_opens(self) -> None:
        """A request never waits for another one while a session can be opened."""
        self.begin()
        _call, first = self.start(b"1")
        _call, second = self.start(b"2")
        self.assertEqual(len(self.attempts), 1)
        client = self.admit()
        self.assertEqual(client.calls, [("completions", b"2")])
        client.end()
        self.assertEqual((first.events, second.events), ([], [HEAD, "ended"]))

    def test_bound(self) -> None:
        """Beyond the size of the pool, requests wait in order."""
        for number in range(6):
            self.start(b"%d" % number)
        self.assertEqual(len(self.attempts), 3)
        clients = [self.admit() for _session in range(3)]
        self.assertEqual([client.calls[0][1] for client in clients], [b"0", b"1", b"2"])
        clients[1].end()
        clients[0].end()
        clients[1].end()
        self.assertEqual([body for _path, body in clients[1].calls], [b"1", b"3", b"5"])
        self.assertEqual([body for _path, body in clients[0].calls], [b"0", b"4"])
        self.assertEqual((self.attempts, self.pool.size), ([], 3))

    def test_reuses(self) -> None:
        """A free session is used before another is opened, the one whose request ended last first."""
        for _request in range(3):
            self.start()
        clients = [self.admit() for _session in range(3)]
        for number in (0, 2, 1):
            clients[number].end()
        self.start()
        self.assertEqual([len(client.calls) for client in clients], [1, 2, 1])

    def test_full(self) -> None:
        """When the queue is full, requests are refused."""
        for _request in range(MAX_QUEUED):
            self.start()
        self.assertUnavailable(429, 5)

    def test_fullOfBytes(self) -> None:
        """Large bodies fill the queue as well."""
        for _request in range(4):
            self.start(bytes(16 * MIB))
        self.assertUnavailable(429, 5, b"x")

    def await_moment(self) -> tuple[FakeClient, FakeClient]:
        """Two free sessions. The request of the first one ended last, and its moment has not come."""
        for _request in range(2):
            self.start()
        one, two = self.admit(), self.admit()
        two.end()
        one.is_moment = False
        one.end()
        return one, two

    def test_sharedMoment(self) -> None:
        """Requests that follow a result wait for its session's moment, also if others carry them or are opened."""
        one, two = self.await_moment()
        for _request in range(3):
            self.start()
        self.assertEqual(([len(one.calls), len(two.calls)], self.attempts), ([1, 1], []))
        one.is_moment = True
        one.give_room()
        self.assertEqual(([len(one.calls), len(two.calls)], len(self.attempts)), ([2, 2], 1))

    def test_oneMoment(self) -> None:
        """The session whose moment was waited for sends its next request then, and does not wait for another."""
        client = self.begin()
        self.start()
        client.is_moment = False
        client.end()
        self.start()
        self.assertEqual(len(client.calls), 1)
        client.give_room()
        self.assertEqual(len(client.calls), 2)

    def test_noMomentWhileUnanswered(self) -> None:
        """A request does not wait for the moment of a session that is busy again."""
        one = self.begin()
        self.start()
        one.end()
        self.start()
        one.is_moment = False
        self.start()
        self.assertEqual(len(self.attempts), 1)

    def test_momentOfALostSession(self) -> None:
        """If the session with the moment ends, the requests that wait for it do not wait for it any more."""
        one, two = self.await_moment()
        self.start()
        one.close(CUT)
        self.assertEqual(len(two.calls), 2)


class EndTests(PoolTestCase):
    """Sessions that end."""

    def test_quietly(self) -> None:
        """A session that the server ends in the ordinary course is made anew when it is needed, without a word."""
        for reason in (Reason.IDLE, Reason.TOO_OLD, Reason.LEAVING):
            client = self.begin()
            client.say_goodbye(reason)
            self.assertEqual((self.pool.size, self.attempts), (0, []))
            _call, diary = self.start()
            self.admit().end()
            self.assertEqual(diary.events, [HEAD, "ended"])
            self.clients[-1].close(None)
        self.assertEqual(self.reports, [])

    def test_crossesTheGoodbye(self) -> None:
        """A request that crosses the GOODBYE of an idle session is sent on another."""
        client = self.begin()
        _call, diary = self.start(b"1")
        client.say_goodbye(Reason.IDLE)
        again = self.admit()
        self.assertEqual((again.calls, diary.events), ([("completions", b"1")], []))

    def test_answeredAndIdle(self) -> None:
        """A request whose response has begun is not sent again, whatever the GOODBYE says."""
        client = self.begin()
        _call, diary = self.start(b"1")
        client.session.resultReceived(1, [HEAD], False)
        client.say_goodbye(Reason.IDLE)
        self.assertEqual((diary.events, self.attempts), ([HEAD, "broken"], []))

    def test_alwaysIdle(self) -> None:
        """A request is sent again once, even if the server calls every session idle."""
        client = self.begin()
        _call, diary = self.start(b"1")
        client.say_goodbye(Reason.IDLE)
        self.admit().say_goodbye(Reason.IDLE)
        self.assertEqual((diary.events, self.attempts), (["broken"], []))

    def test_keepsItsPlace(self) -> None:
        """A request that is sent again comes before those in the queue."""
        client = self.begin()
        for body in (b"1", b"2", b"3", b"4"):
            self.start(body)
        client.say_goodbye(Reason.IDLE)
        self.assertEqual([self.admit().calls[0][1] for _session in range(3)], [b"1", b"2", b"3"])

    def test_lostBeforeItWasSent(self) -> None:
        """When the only session is lost, a request that waits for its moment is broken."""
        client = self.begin()
        client.is_moment = False
        _call, diary = self.start(b"1")
        client.close(CUT)
        self.assertEqual((self.reports, diary.events), ([str(CUT)], ["broken"]))

    def test_notSentBesideAnother(self) -> None:
        """A request whose session ends before it is sent goes to another one."""
        one = self.begin()
        self.start(b"1")
        self.start(b"2")
        two = self.admit()
        two.end()
        two.is_moment = False
        _call, diary = self.start(b"3")
        two.close(CUT)
        self.assertEqual(self.admit().calls, [("completions", b"3")])
        self.assertEqual((len(one.calls), diary.events, self.reports), (1, [], []))

    def test_broken(self) -> None:
        """A request that was sent is broken, not repeated; the others go on."""
        one = self.begin()
        _call, first = self.start()
        _call, second = self.start()
        two = self.admit()
        one.close(CUT)
        self.assertEqual((first.events, second.events), (["broken"], []))
        two.end()
        self.assertEqual((second.events, self.reports), ([HEAD, "ended"], []))

    def test_cancelledAndLost(self) -> None:
        """A session may end while it waits for a cancellation to be confirmed."""
        client = self.begin()
        call, diary = self.start()
        call.cancel()
        client.say_goodbye(Reason.IDLE)
        self.assertEqual((diary.events, self.attempts), ([], []))

    def test_closing(self) -> None:
        """A session that is being closed gets no more requests."""
        client = self.begin()
        client.is_open = False
        self.start()
        self.assertEqual((client.calls, len(self.attempts)), ([], 1))

    def test_old(self) -> None:
        """A session that is nearly a day old gets no more requests, so that no response is cut at its end."""
        client = self.begin()
        self.clock.advance(RETIREMENT - 1)
        self.start()
        client.end()
        self.clock.advance(1)
        self.start()
        self.assertEqual((client.left, len(client.calls)), (["quietly"], 1))
        self.assertEqual(len(self.admit().calls), 1)
        client.close(None)
        self.assertEqual(self.reports, [])


class LineTests(PoolTestCase):
    """A server that cannot be reached."""

    def test_lost(self) -> None:
        """When the connection is lost, requests are refused until there is another."""
        client = self.begin()
        _call, running = self.start()
        client.close(CUT)
        self.assertEqual(running.events, ["broken"])
        self.assertIn(str(CUT), self.assertUnavailable(503, 1))
        self.clock.advance(1)
        self.assertUnavailable(503, 2)
        self.admit()
        self.assertEqual(self.reports, [str(CUT), None])
        self.start()
        self.assertEqual(len(self.clients[-1].calls), 1)

    def test_delays(self) -> None:
        """The delay between two attempts doubles up to a minute; the same problem is reported once."""
        self.begin().say_goodbye(Reason.STOPPING)
        error = NotConnectedError("connection refused")
        for delay in (1, 2, 4, 8, 16, 32, 60, 60):
            self.assertUnavailable(503, delay)
            self.clock.advance(delay - 0.5)
            self.assertEqual(self.attempts, [])
            self.clock.advance(0.5)
            self.refuse(error)
        self.assertEqual(self.reports, ["the server is shutting down; reconnect later", "connection refused"])

    def test_resets(self) -> None:
        """After a success, the delays begin anew."""
        self.begin().close(CUT)
        self.clock.advance(1)
        self.refuse(NotConnectedError("no"))
        self.clock.advance(2)
        self.admit().close(CUT)
        self.assertUnavailable(503, 1)

    def test_lasting(self) -> None:
        """A server that refuses the client is asked once a minute, because its operator may change that."""
        self.begin().close(CUT)
        self.clock.advance(1)
        self.refuse(NoApiError("no API"))
        self.assertUnavailable(503, 60)
        self.clock.advance(60)
        self.admit().close(None)

    def test_denied(self) -> None:
        """A server that is busy closes connections as one that denies access; the fifth time, this is believed."""
        self.begin().close(CUT)
        for seconds, retry in ((1, 2), (2, 4), (4, 8), (8, 16), (16, 60)):
            self.clock.advance(seconds)
            self.refuse(PermissionDeniedError(Category.CUT, "denied"))
            self.assertUnavailable(503, retry)
        self.clock.advance(60)
        self.admit().close(CUT)
        self.clock.advance(1)
        self.refuse(PermissionDeniedError(Category.CUT, "denied"))
        self.assertUnavailable(503, 2)

    def test_agent(self) -> None:
        """An agent that has gone is asked again soon."""
        self.begin().close(CUT)
        self.clock.advance(1)
        self.refuse(NoSignatureError(Category.USER_KEY, "cannot connect to ssh-agent"))
        self.assertUnavailable(503, 2)
        self.clock.advance(2)
        self.admit().close(None)

    def test_removed(self) -> None:
        """A user who was removed is told so, and asks the server once a minute."""
        self.begin().say_goodbye(Reason.KEY_WITHDRAWN)
        self.assertUnavailable(503, 60)
        self.assertIn("no longer authorized", str(self.reports))

    def test_waiting(self) -> None:
        """Requests that wait for the first session of several are broken when it cannot be opened."""
        diaries = [self.start()[1] for _request in range(3)]
        self.refuse(NotConnectedError("no"))
        self.refuse(NotConnectedError("no"))
        self.assertEqual(self.reports, [])
        self.refuse(NotConnectedError("no"))
        self.assertEqual([diary.events for diary in diaries], [["broken"]] * 3)
        self.assertEqual(self.reports, ["no"])

    def test_noFurther(self) -> None:
        """When no further session can be opened, requests wait for those that are open, and for the next attempt."""
        client = self.begin()
        self.start()
        self.start()
        self.refuse(PermissionDeniedError(Category.CUT, "too many sessions"))
        self.start()
        self.assertEqual((self.attempts, self.reports), ([], []))
        client.end()
        self.assertEqual(len(client.calls), 2)
        self.clock.advance(60)
        self.assertEqual(len(self.attempts), 1)
        self.admit()
        self.assertEqual(len(self.clients[-1].calls), 1)

    def test_unexpected(self) -> None:
        """An unexpected error is logged, and treated like the others."""
        self.start()
        self.refuse(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.reports, ["ZeroDivisionError"])

    def test_lostDuringAnAttempt(self) -> None:
        """While another session is being opened, requests are not refused."""
        client = self.begin()
        self.start()
        _call, diary = self.start()
        client.close(CUT)
        self.assertEqual(self.reports, [])
        self.admit().end()
        self.assertEqual(diary.events, [HEAD, "ended"])


class StopTests(PoolTestCase):
    """The end of the program."""

    def test_waits(self) -> None:
        """Requests that were accepted are carried out; further ones are refused."""
        self.begin()
        self.start()
        self.start()
        stopped = self.pool.stop()
        self.assertUnavailable(503, 0)
        self.admit().end()
        self.assertNoResult(stopped)
        self.clients[0].end()
        self.successResultOf(stopped)

    def test_idle(self) -> None:
        """A pool without requests does not wait."""
        self.begin()
        self.successResultOf(self.pool.stop())

    def test_cancelledRequest(self) -> None:
        """A request that is cancelled is not waited for."""
        call, _diary = self.start()
        stopped = self.pool.stop()
        call.cancel()
        self.successResultOf(stopped)

    def test_leaves(self) -> None:
        """All sessions end, the requests in the queue are broken, and no timer is left."""
        self.begin()
        for _request in range(4):
            self.start()
        self.admit()
        gone = self.pool.leave()
        self.assertEqual([client.left for client in self.clients], [["quietly"]] * 2)
        self.clients[0].close(None)
        self.assertNoResult(gone)
        self.clients[1].close(None)
        self.successResultOf(gone)
        self.assertTrue(self.attempts[0].called)
        self.assertEqual((self.clock.getDelayedCalls(), self.reports), ([], []))

    def test_leavesAtOnce(self) -> None:
        """The wait for the quiet end can be cut short."""
        client = self.begin()
        self.pool.leave()
        self.pool.leave(at_once=True)
        self.assertEqual(client.left, ["quietly", "at once"])

    def test_leavesNothing(self) -> None:
        """A pool without a session leaves at once, and dials no more."""
        self.begin().close(CUT)
        self.successResultOf(self.pool.leave())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leavesBeforeItsTurn(self) -> None:
        """A request that was accepted just before is broken."""
        self.begin()
        diary = Diary()
        self.pool.start("models", b"", diary)
        self.pool.leave()
        self.assertEqual((diary.events, self.clock.getDelayedCalls()), (["broken"], []))
