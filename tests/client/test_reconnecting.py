"""The frontend on a terminal when a session is lost, with a screen in memory."""

import random
from typing import cast

from twisted.internet.defer import CancelledError, Deferred

from securechat.client.exit_codes import ExitCode
from securechat.client.protocol import ChatClient
from securechat.client.redial import Redial
from securechat.client.terminal.session import MAX_STEPS
from securechat.client.terminal.styles import Style
from securechat.errors import Category, RemoteProtocolError, SecureChatError
from securechat.wire.events import Admitted, GoodbyeReceived
from securechat.wire.messages import Reason
from securechat.wire.shaping import Shaping
from tests.client.test_terminal import ABOUT, Client, TerminalTestCase

CUT = RemoteProtocolError(Category.CUT, "the connection was closed unexpectedly")


class ReconnectingTestCase(TerminalTestCase):
    def lose(self, reason: SecureChatError | GoodbyeReceived | None = CUT) -> None:
        """The session ends, and the terminal goes on."""
        ended = self.terminal.ended
        self.client.is_open = False
        self.in_loop(lambda: self.terminal.disconnected(reason))
        self.assertIs(self.successResultOf(ended), reason)
        self.assertIsNotNone(self.terminal.redial)
        self.assertFalse(self.screen.is_closed)

    def regain(self, about: Admitted = ABOUT) -> None:
        """There is a session with another client."""
        self.client = Client()
        self.terminal.admitted(cast(ChatClient, self.client), about)
        self.assertIsNone(self.terminal.redial)
        self.give_room()

    def dial(self, redial: Redial) -> list[Deferred[None]]:
        """Begin to dial; the attempts so far, which do not end."""
        attempts: list[Deferred[None]] = []

        async def attempt() -> None:
            attempts.append(Deferred())
            await attempts[-1]

        Deferred.fromCoroutine(redial.run(attempt)).addErrback(lambda failure: failure.trap(CancelledError))
        return attempts

    def give_room(self) -> None:
        while any(not room.called for room in self.client.rooms):
            for room in self.client.rooms:
                if not room.called:
                    room.callback(5)


class LossTests(ReconnectingTestCase):
    """What the user sees."""

    def test_notices(self) -> None:
        """One line says that the session was lost, and why; the age of a session is nothing to tell."""
        for reason, *texts in (
            (CUT, "-- the connection was closed unexpectedly; reconnecting", "-- reconnected"),
            (GoodbyeReceived(Reason.STOPPING, 0), "-- the server is shutting down; reconnecting", "-- reconnected"),
            (GoodbyeReceived(Reason.LEAVING, 0), "-- the server closed the session; reconnecting", "-- reconnected"),
            (GoodbyeReceived(Reason.TOO_OLD, 0),),
            (None,),
        ):
            self.start()
            self.lose(reason)
            self.regain()
            self.assertEqual(self.screen.text, texts)
            self.screen.rows.clear()

    def test_incompleteReply(self) -> None:
        """The part of a reply that has arrived stays, with a line that says that it is incomplete."""
        self.start()
        self.enter("q")
        self.terminal.replyReceived(1, "half", False)
        self.lose()
        self.assertEqual(self.screen.text[:3], ["> q", "puppet", "half"])
        text = " ".join(row.strip() for row in self.screen.text[3:])
        self.assertEqual(text, "-- the reply is incomplete: the connection was closed unexpectedly; reconnecting")

    def test_otherServer(self) -> None:
        """If the robot or the user's name has changed meanwhile, the line with both comes again."""
        self.start()
        self.lose()
        self.screen.rows.clear()
        self.regain(Admitted("ann", "other", "test", 4096, False, Shaping.REPLY, 100, 1))
        self.assertIn("ann → other", self.screen.text[0])

    def test_live(self) -> None:
        """The live row says when the server is dialled next, and what was wrong the last time."""
        self.patch(random, "random", lambda: 1.0)
        self.start()
        self.lose()
        redial = self.terminal.redial
        assert redial is not None
        redial.problem = "connection refused\n"
        self.assertEqual(self.live, "-- reconnecting · connection refused\ufffd")
        self.dial(redial)
        self.assertEqual(self.live, "-- reconnecting in 4 s; Enter tries now · connection refused\ufffd")
        self.terminal.input_ended()

    def test_delay(self) -> None:
        """A user who waits for a reply is reconnected sooner than one who does not."""
        self.patch(random, "random", lambda: 1.0)
        self.start()
        self.enter("q")
        self.lose()
        redial = self.terminal.redial
        assert redial is not None
        self.dial(redial)
        self.assertEqual(redial.seconds, 1)
        self.terminal.input_ended()

    def test_steps(self) -> None:
        """The steps of the latest handshakes are kept for /info, and no more."""
        self.start()
        self.lose()
        for number in range(100):
            self.terminal.step(f"step {number}")
        self.regain()
        self.enter("/info")
        steps = [text for text in self.screen.text if "step" in text]
        self.assertEqual((len(steps), steps[-1]), (MAX_STEPS, "-- step 99"))

    def test_verboseSteps(self) -> None:
        """With -v, the steps of a later handshake are displayed above the prompt."""
        self.start(is_verbose=True)
        self.lose()
        self.terminal.step("a step")
        self.assertEqual(self.screen.text[-1], "-- a step")


class ResumptionTests(ReconnectingTestCase):
    """What the server gets after that."""

    def test_recalls(self) -> None:
        """The first message of the new session takes along what was answered completely since /new, and no other."""
        self.start()
        self.enter("old")
        self.reply(1, "0")
        self.enter("/new", "one", "two", "three")
        self.reply(2, "1")
        self.reply(3, "")
        self.terminal.replyReceived(4, "half", False)
        self.lose()
        self.regain()
        self.terminal.interrupted()
        self.assertEqual(self.client.log, [])
        self.enter("four", "five")
        self.assertEqual(self.client.log, ["four", "five"])
        self.assertEqual(self.client.recalled, [["one", "1"], None])

    def test_nothingToRecall(self) -> None:
        """Without an earlier exchange, the first message of the new session is an ordinary one."""
        self.start()
        self.lose()
        self.regain()
        self.enter("q")
        self.assertEqual((self.client.log, self.client.recalled), (["q"], [None]))

    def test_limit(self) -> None:
        """The oldest exchanges are left out if the server accepts less."""
        self.start()
        for number in range(1, 5):
            self.enter(f"q{number}")
            self.reply(number, "x" * 1500)
        self.lose()
        self.regain()
        self.enter("q5")
        [turns] = self.client.recalled
        assert turns is not None
        self.assertEqual(turns[::2], ["q3", "q4"])

    def test_asks(self) -> None:
        """An unanswered message is sent again only if the user says so; the draft and what is typed stay behind it."""
        for answer, sent in (("", ["q", "next"]), ("y", ["q", "next"]), ("n", ["next"])):
            self.client = Client()
            self.start()
            self.enter("q")
            self.screen.draft = "draft"
            self.lose()
            self.enter("next")
            self.assertIn("queued: next", self.screen.text[-1])
            self.assertFalse(self.terminal.asks)
            self.regain()
            self.assertEqual(self.client.log, [])
            self.assertTrue(self.terminal.asks)
            self.assertEqual(self.live, "-- send it again? Enter or y: yes, n or Ctrl-C: no · q")
            self.enter(answer)
            self.give_room()
            self.assertEqual((self.client.log, self.screen.draft), (sent, "draft"))
            self.assertFalse(self.terminal.asks)

    def test_order(self) -> None:
        """Several unanswered messages are sent again in their order, before those that were entered later."""
        self.start()
        self.enter("1", "2", "3")
        self.lose()
        self.enter("4")
        self.regain()
        self.enter("y")
        self.give_room()
        self.assertEqual(self.client.log, ["1", "2", "3", "4"])

    def test_interrupted(self) -> None:
        """Ctrl-C at the question forgets the message, and keeps the draft."""
        self.start()
        self.enter("q", "r")
        self.screen.draft = "draft"
        self.lose()
        self.regain()
        self.assertIn("send 2 messages again?", self.live)
        self.terminal.interrupted()
        self.assertEqual((self.client.log, self.screen.draft, self.live), ([], "draft", ""))

    def test_lostAgain(self) -> None:
        """A session that is lost at the question, or before a message was sent, changes nothing."""
        self.start()
        self.enter("q")
        self.reply(1, "r")
        self.enter("s")
        for _time in range(3):
            self.lose()
            self.regain()
        self.enter("/retry")
        self.give_room()
        self.assertEqual((self.client.log, self.client.recalled), (["s"], [["q", "r"]]))

    def test_queue(self) -> None:
        """Messages that waited are sent in the new session, without a question."""
        self.start()
        self.lose()
        self.enter("1", "2")
        self.regain()
        self.assertEqual(self.client.log, ["1", "2"])

    def test_goodbye(self) -> None:
        """What is entered between the server's GOODBYE and the end of the connection is sent in the new session."""
        self.start()
        self.client.is_open = False
        self.enter("q")
        self.assertEqual(self.client.log, [])
        self.lose(GoodbyeReceived(Reason.IDLE, 0))
        self.assertIn("reconnecting", self.live)
        self.regain()
        self.assertEqual(self.client.log, ["q"])

    def test_tooLong(self) -> None:
        """A message that waited is too long for the new server: the user is told."""
        self.start()
        self.lose()
        self.enter("x")
        self.client = Client()
        self.client.error = ValueError("a message has at most …")
        self.terminal.admitted(cast(ChatClient, self.client), ABOUT)
        self.give_room()
        self.assertIn("message too long", self.screen.text[-1])
        self.assertIs(self.screen.rows[-1][-1][0], Style.ERROR)

    def test_new(self) -> None:
        """/new without a session forgets the conversation and the unanswered messages."""
        self.start()
        self.enter("q")
        self.reply(1, "r")
        self.enter("s")
        self.lose()
        self.enter("/new")
        self.assertEqual(self.screen.text[-1], "-- started a new conversation")
        self.regain()
        self.enter("t")
        self.assertEqual((self.client.log, self.client.recalled), (["t"], [None]))

    def test_newAtTheQuestion(self) -> None:
        """/new instead of an answer forgets the unanswered messages, and what waited behind them is sent."""
        self.start()
        self.enter("1")
        self.lose()
        self.enter("2")
        self.regain()
        self.enter("/new", "3")
        self.give_room()
        self.assertEqual(self.client.log, ["2", "new", "3"])

    def test_idle(self) -> None:
        """After a period of inactivity, the server is dialled when there is a message."""
        self.start()
        self.lose(GoodbyeReceived(Reason.IDLE, 0))
        redial = self.terminal.redial
        assert redial is not None
        dialled = self.dial(redial)
        self.reactor.advance(1000)
        self.assertEqual((len(dialled), self.live), (0, ""))
        self.enter("q")
        self.assertEqual(len(dialled), 1)


class LeavingTests(ReconnectingTestCase):
    """Leaving without a session."""

    def test_leaves(self) -> None:
        """The user can leave at any time; the exit code is 5 if a message was not answered."""
        for texts, code in ((), ExitCode.ANSWERED), (("q",), ExitCode.FAULT):
            self.client = Client()
            self.start()
            self.enter(*texts)
            self.lose()
            self.terminal.input_ended()
            self.assertIsNone(self.terminal.redial)
            self.assertTrue(self.screen.is_closed)
            self.assertIs(self.terminal.exit, code)
            self.assertEqual((self.client.log, self.reactor.getDelayedCalls()), ([*texts], []))

    def test_interrupts(self) -> None:
        """Ctrl-C clears the draft, and leaves at the third time."""
        self.start()
        self.lose()
        self.screen.draft = "draft"
        for _key in range(3):
            self.terminal.interrupted()
        self.assertIs(self.terminal.exit, ExitCode.INTERRUPTED)
        self.assertTrue(self.screen.is_closed)
