"""The live row. What it says is tested with the front end."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.terminal.live import SecondHand, question
from tests.client.test_terminal import Screen


class SecondHandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.screen = Screen()
        self.seconds = SecondHand(self.clock, self.screen)

    def test_ticks(self) -> None:
        """The row is drawn once a second, however often that was begun."""
        self.seconds.start()
        self.seconds.start()
        self.clock.pump([0.5, 0.5, 1, 0.9])
        self.assertEqual(self.screen.refreshed, 2)

    def test_stop(self) -> None:
        """After the end nothing is drawn, and no timer is left; it can begin again."""
        self.seconds.stop()
        self.seconds.start()
        self.seconds.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.seconds.start()
        self.clock.advance(1)
        self.assertEqual(self.screen.refreshed, 1)


class QuestionTests(SynchronousTestCase):
    def test_question(self) -> None:
        """The question names the first message, on one line, and the number of messages if there are several."""
        self.assertEqual(question(["a\nb"]), "send it again? Enter or y: yes, n or Ctrl-C: no · a\ufffdb")
        self.assertIn("send 2 messages again?", question(["a", "b"]))
