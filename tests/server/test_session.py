"""A session's single task: what starts it, what stops it, and what it does with robots that misbehave."""

from collections.abc import AsyncGenerator

from twisted.internet.defer import CancelledError, Deferred

from securechat.conversation import Conversation
from securechat.errors import Fault
from securechat.wire.events import FaultReceived, ReplyReceived
from tests.harness.robot import PuppetRobot
from tests.server.test_protocol import ServerTestCase, Session


class TaskTests(ServerTestCase):
    """The task that answers."""

    def test_newBetweenMessages(self) -> None:
        """NEW takes effect between the messages that it came between, also while both wait."""
        session = Session(self.factory).open()
        session.client.say("a")
        session.client.say("b")
        session.client.start_afresh()
        session.client.say("c")
        session.client.say("d")
        session.pump()
        for number in range(4):
            self.robot.say(str(number))
            self.robot.end()
            session.pump()
        self.assertEqual(self.robot.turns, [["a"], ["a", "0", "b"], ["c"], ["c", "2", "d"]])

    def test_textIsExact(self) -> None:
        """What the robot is told later is what was said, to the last space: chunks are joined as they came."""
        session = Session(self.factory).open()
        session.say("  one\n\n")
        self.robot.say(" a", "b\n", "", "\tc 你", "好 \n")
        self.robot.end()
        session.say("two")
        self.assertEqual(self.robot.turns[-1], ["  one\n\n", " ab\n\tc 你好 \n", "two"])
        session.pump()
        replies = [event for event in session.events if isinstance(event, ReplyReceived)]
        self.assertEqual("".join(event.text for event in replies), " ab\n\tc 你好 \n")

    def test_oneReplyInATurn(self) -> None:
        """Of messages that are read together, only one is answered at once, also if each of them is cancelled."""
        for cancel in (False, True):
            self.robot = PuppetRobot(echo=not cancel)
            self.factory = self.make_factory()
            session = Session(self.factory).open()
            for _ in range(2):
                self.robot.asked.clear()
                for number in range(4):
                    message_id = session.client.say(str(number))
                    if cancel:
                        session.client.cancel(message_id)
                session.server.dataReceived(session.client.data_to_send())
                self.assertEqual(self.robot.asked, ["0"])
                session.pump()
                self.assertEqual(session.client.next_reply_id, message_id + 1)

    def test_newTakesNoPlace(self) -> None:
        """Any number of NEWs takes no room in the inbox."""
        session = Session(self.factory).open()
        session.say("a")
        for _ in range(100):
            session.client.start_afresh()
        session.pump()
        self.assertEqual(session.wire.producerState, "producing")

    def test_aRobotThatCancelsItself(self) -> None:
        """A reply that is cancelled by the robot itself ends, and the next message is answered."""
        session = Session(self.factory).open()
        session.say("one")
        session.say("two")
        self.robot.fail(CancelledError())
        session.pump()
        self.assertEqual(self.robot.asked, ["one", "two"])
        self.robot.say("2")
        self.robot.end()
        session.pump()
        self.assertEqual(session.events[0], FaultReceived(1, Fault.CANCELLED))
        self.assertEqual(session.events[-1], ReplyReceived(2, "", True))

    def test_aRobotThatCancelsTheOnlyReply(self) -> None:
        """The end of a reply that is cancelled by the robot itself is sent at once, without a further message."""
        session = Session(self.factory).open()
        session.say("one")
        self.robot.fail(CancelledError())
        session.pump()
        self.assertEqual(session.events, [FaultReceived(1, Fault.CANCELLED)])

    def test_cancelledAgainAndAgain(self) -> None:
        """CANCELs for one reply, however many, cancel its robot once, and the robot may take its time to stop."""
        disturbed: list[object] = []
        stopped: Deferred[None] = Deferred(disturbed.append)
        cancels: list[str] = []

        class SlowToStop(PuppetRobot):
            async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
                self.asked.append(conversation.turns[-1].text)
                try:
                    await Deferred()
                    yield "never"
                except CancelledError:
                    cancels.append(conversation.turns[-1].text)
                    await stopped
                    raise

        robot = SlowToStop()
        self.factory = self.make_factory(robot=robot)
        session = Session(self.factory).open()
        session.say("one")
        session.server.pauseProducing()  # so that the fault is not sent meanwhile
        for _ in range(2000):
            session.client.cancel(1)
        session.client.say("two")
        session.pump()
        self.assertEqual((cancels, robot.asked, disturbed), (["one"], ["one"], []))
        session.server.resumeProducing()
        stopped.callback(None)
        self.assertEqual(robot.asked, ["one", "two"])

    def test_aThousandCancelledReplies(self) -> None:
        """Each message may be cancelled while another waits, as often as the client likes."""
        session = Session(self.factory).open()
        session.client.say("first")
        for number in range(1, 1001):
            session.client.say("next")
            session.client.cancel(number)
            session.pump()
        self.assertEqual(self.robot.cancelled, 1000)
        self.assertEqual(session.client.next_reply_id, 1001)
        self.assertTrue(self.robot.is_waiting)
