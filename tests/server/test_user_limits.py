"""Limits of users, as their clients meet them."""

from typing import Any

from msgspec import json
from msgspec.structs import replace

from securechat.conversation import Usage
from securechat.errors import Fault, RobotError
from securechat.server.ledger.interface import ANONYMOUS, Entry
from securechat.wire.events import Event, FaultReceived, ReplyReceived, ResultReceived
from securechat.wire.items import Head, Piece, ServerEvent
from tests.harness.pair import USER_KEY
from tests.harness.robot import ApiPuppet
from tests.server.test_protocol import Listed, ServerTestCase, Session

CHAT = "chat/completions"
BODY = b'{"model": "m", "messages": []}'
OK = Head(200, "application/json")


class Named(Listed):
    """Authorized users who have a name."""

    def name_of(self, blob: bytes) -> str:
        return "ann"


class LimitTestCase(ServerTestCase):
    """One authorized user, and a robot that answers API requests."""

    def setUp(self) -> None:
        super().setUp()
        self.robot: ApiPuppet = ApiPuppet(echo=True)

    def open(self, **limits: Any) -> Session:
        self.factory = self.make_factory(users=Named(), api=True, **limits)
        return Session(self.factory, user_key=USER_KEY).open()

    def say(self, session: Session, text: str) -> list[Event]:
        """What comes back for a message."""
        session.events.clear()
        session.say(text)
        return session.events

    def call(self, session: Session, *items: Head | Piece | ServerEvent, path: str = CHAT) -> list[Any]:
        """The items of the response to a request, to which the robot gives these."""
        session.events.clear()
        session.client.call(path, BODY if path == CHAT else b"")
        session.pump()
        if items:
            self.robot.give(*items)
            self.robot.end()
            session.pump()
        self.assertFalse([event for event in session.events if isinstance(event, FaultReceived)])
        return [item for event in session.events if isinstance(event, ResultReceived) for item in event.items]

    def used(self) -> list[Entry]:
        """What is to be saved, without the day."""
        return self.factory.accounts.take_changes()


class MessageTests(LimitTestCase):
    """Messages."""

    def test_text(self) -> None:
        """A user who has reached a limit reads which one and when it ends, and that the message is not answered."""
        session = self.open(messages_per_minute=1)
        self.assertEqual(self.say(session, "hello")[0], ReplyReceived(1, "hello", True))
        text = "[You have reached your limit of 1 message a minute; try again in 1 min.]\n"
        self.assertEqual(
            self.say(session, "again"), [ReplyReceived(2, text, False), FaultReceived(2, Fault.LIMIT_REACHED)]
        )
        self.clock.advance(60)
        self.assertEqual(self.say(session, "hello")[0], ReplyReceived(3, "hello", True))
        self.assertEqual(self.robot.turns[-1], ["hello", "hello", "hello"])

    def test_otherSession(self) -> None:
        """Sessions of a user share the limits; those of anonymous clients have their source's."""
        first = self.open(messages_per_day=1)
        self.say(first, "hello")
        for key, fault in ((USER_KEY, True), (None, False), (None, True)):
            events = self.say(Session(self.factory, user_key=key).open(), "hello")
            self.assertEqual(isinstance(events[-1], FaultReceived), fault, key)

    def test_ownLimits(self) -> None:
        """A user may have limits of their own, which are those of all users with some replaced."""
        session = self.open(messages_per_day=1)
        self.factory.accounts.limits = {"ann": replace(self.factory.settings, messages_per_day=2)}
        faults = [isinstance(self.say(session, "hello")[-1], FaultReceived) for _ in range(3)]
        self.assertEqual(faults, [False, False, True])

    def test_reloaded(self) -> None:
        """A limit that is reloaded applies to the next message of an open session."""
        session = self.open(messages_per_day=1)
        self.say(session, "hello")
        self.assertEqual(self.say(session, "again")[-1], FaultReceived(2, Fault.LIMIT_REACHED))
        factory = self.factory
        factory.configure(replace(factory.settings, messages_per_day=2), factory.users, self.robot, {})
        self.assertEqual(self.say(session, "hello")[0], ReplyReceived(3, "hello", True))
        self.assertEqual(self.say(session, "again")[-1], FaultReceived(4, Fault.LIMIT_REACHED))
        own = replace(factory.settings, messages_per_day=3)
        factory.configure(factory.settings, factory.users, self.robot, {"ann": own})
        self.assertEqual(self.say(session, "hello")[0], ReplyReceived(5, "hello", True))
        self.assertEqual(self.say(session, "again")[-1], FaultReceived(6, Fault.LIMIT_REACHED))

    def test_concurrentReplies(self) -> None:
        """A user with several sessions may be limited to one reply at a time; a cancelled one is over."""
        self.robot.echo = False
        session = self.open(max_replies=1)
        session.say("one")
        second = Session(self.factory, user_key=USER_KEY).open()
        self.assertEqual(self.say(second, "two")[-1], FaultReceived(1, Fault.LIMIT_REACHED))
        session.client.cancel(1)
        session.pump()
        self.robot.echo = True
        self.assertEqual(self.say(second, "three")[0], ReplyReceived(2, "three", True))

    def test_lostConnection(self) -> None:
        """A reply whose client has gone is over."""
        self.robot.echo = False
        session = self.open(max_replies=1)
        session.say("one")
        session.lose()
        self.robot.echo = True
        second = Session(self.factory, user_key=USER_KEY).open()
        self.assertEqual(self.say(second, "two")[0], ReplyReceived(1, "two", True))

    def test_cancelledBeforeItsTurn(self) -> None:
        """A message that was cancelled while it waited does not count."""
        self.robot.echo = False
        session = self.open(messages_per_day=2)
        session.say("one")
        session.say("two")
        session.client.cancel(2)
        session.pump()
        self.robot.end()
        session.pump()
        self.robot.echo = True
        self.assertEqual(self.say(session, "three"), [ReplyReceived(3, "three", True)])

    def test_tokens(self) -> None:
        """Without numbers of the robot's server, tokens are estimated from the conversation and the reply."""
        session = self.open(tokens_per_day=20)
        self.say(session, "x" * 40)
        [entry] = self.used()
        self.assertEqual((entry.user, entry.counts.prompt_tokens, entry.counts.completion_tokens), ("ann", 10, 10))
        self.assertEqual(entry.counts.estimated_tokens, 20)
        self.assertEqual(self.say(session, "y")[-1], FaultReceived(2, Fault.LIMIT_REACHED))

    def test_failedReply(self) -> None:
        """A reply without text used no tokens, but was a message."""
        self.robot.echo = False
        session = self.open()
        session.say("x" * 40)
        self.robot.fail(RobotError(Fault.UNREACHABLE, "x"))
        session.pump()
        [entry] = self.used()
        self.assertEqual((entry.counts.messages, entry.counts.tokens), (1, 0))

    def test_cancelledReply(self) -> None:
        """A reply that is cancelled before its text, or whose client has gone, used what the server has to read."""
        self.robot.echo = False
        session = self.open()
        session.say("x" * 40)
        session.client.cancel(1)
        session.pump()
        session.say("x" * 80)
        session.lose()
        [entry] = self.used()
        counts = entry.counts
        self.assertEqual((counts.prompt_tokens, counts.completion_tokens, counts.estimated_tokens), (30, 0, 30))

    def test_anonymous(self) -> None:
        """Clients that are no authorized users count together, and without their addresses."""
        session = Session(self.factory).open()
        self.robot.echo = True
        session.say("x")
        self.assertEqual([entry.user for entry in self.used()], [ANONYMOUS])


class CallTests(LimitTestCase):
    """API requests."""

    def test_refused(self) -> None:
        """A tool gets status 429 with the time after which it may try again, and an error that says why."""
        session = self.open(calls_per_minute=1)
        self.assertEqual(self.call(session, OK, Piece(b"{}")), [OK, Piece(b"{}")])
        [head, body] = self.call(session)
        self.assertEqual(head, Head(429, "application/json", 60))
        self.assertEqual(
            json.decode(body.data),
            {
                "error": {
                    "message": "You have reached your limit of 1 API request a minute; try again in 1 min.",
                    "type": "rate_limit_error",
                    "param": None,
                    "code": "calls-per-minute",
                }
            },
        )
        self.clock.advance(60)
        self.assertEqual(self.call(session, OK, Piece(b"{}")), [OK, Piece(b"{}")])

    def test_models(self) -> None:
        """Requests for the list of models do not count."""
        session = self.open(calls_per_day=1)
        for _ in range(3):
            self.assertEqual(self.call(session, OK, Piece(b"{}"), path="models"), [OK, Piece(b"{}")])
        self.assertEqual(self.used(), [])

    def test_invalid(self) -> None:
        """What is wrong with a request is said first, and such a request does not count."""
        session = self.open(calls_per_day=1)
        session.client.call(CHAT, b"[]")
        session.pump()
        self.assertEqual(self.used(), [])

    def test_reported(self) -> None:
        """The tokens that the robot's server reports count, rather than an estimate."""
        session = self.open()
        session.client.call(CHAT, BODY)
        session.pump()
        usage = self.robot.calls[0].usage
        assert usage is not None
        usage.add(100, 50)
        self.robot.give(OK, Piece(b"{}"))
        self.robot.end()
        session.pump()
        [entry] = self.used()
        counts = entry.counts
        self.assertEqual((counts.calls, counts.prompt_tokens, counts.completion_tokens), (1, 100, 50))
        self.assertEqual(counts.estimated_tokens, 0)
        self.assertEqual(self.factory.counters.users[""].usage, Usage(100, 50))

    def test_cancelled(self) -> None:
        """A cancelled request used what it sent and received, whatever looked like numbers of tokens by then."""
        session = self.open()
        asked = -(-len(BODY) // 4)
        answer: tuple[Head | ServerEvent, ...] = (Head(200, "text/event-stream"), *[ServerEvent("", b"x")] * 7)
        for number, items in enumerate((answer[:0], answer), 1):
            session.client.call(CHAT, BODY)
            session.pump()
            usage = self.robot.calls[-1].usage
            assert usage is not None
            usage.add(1, 0)
            self.robot.give(*items)
            session.client.cancel(number)
            session.pump()
            [entry] = self.used()
            counts = entry.counts
            self.assertEqual((counts.prompt_tokens, counts.completion_tokens), (asked, len(items[1:])))
            self.assertEqual(counts.estimated_tokens, counts.tokens - 1)

    def test_estimated(self) -> None:
        """Without it, an event is a token, and so are four bytes of a body; an error is none."""
        session = self.open()
        stream = Head(200, "text/event-stream")
        asked = -(-len(BODY) // 4)
        cases: tuple[tuple[tuple[Head | Piece | ServerEvent, ...], int], ...] = (
            ((stream, *(ServerEvent("", b"%d" % number) for number in range(7))), asked + 7),
            ((OK, Piece(b"x" * 40)), asked + 10),
            ((Head(500, "application/json"), Piece(b"x" * 40)), 0),
        )
        for items, tokens in cases:
            self.call(session, *items)
            [entry] = self.used()
            self.assertEqual((entry.counts.tokens, entry.counts.estimated_tokens), (tokens, tokens))
