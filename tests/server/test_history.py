"""What a session remembers."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.conversation import Speaker, Turn
from securechat.server.history import History

MANY = 1000


class HistoryTests(SynchronousTestCase):
    """Whole questions with their answers, the newest."""

    def history(self, max_turns: int, max_bytes: int, *texts: str) -> list[str]:
        """What is left after each text was asked, and answered with itself."""
        history = History(max_turns, max_bytes)
        for text in texts:
            history.add(Turn(Speaker.USER, text), text)
        self.assertEqual(
            [turn.speaker for turn in history.turns], [Speaker.USER, Speaker.ROBOT] * (len(history.turns) // 2)
        )
        return [turn.text for turn in history.turns[::2]]

    def test_turns(self) -> None:
        """The oldest go first, a question with its answer."""
        self.assertEqual(self.history(4, MANY, "a", "b", "c"), ["b", "c"])
        self.assertEqual(self.history(3, MANY, "a", "b", "c"), ["c"])
        self.assertEqual(self.history(1, MANY, "a"), [])

    def test_bytes(self) -> None:
        """Bytes of UTF-8 are what counts, and an exchange that is too large by itself is not remembered."""
        self.assertEqual(self.history(MANY, 12, "aaa", "你", "b"), ["你", "b"])
        self.assertEqual(self.history(MANY, 12, "a", "你好吗", "b"), ["b"])
        self.assertEqual(self.history(MANY, 12, "\ud83d" * 6), ["\ud83d" * 6])

    def test_clear(self) -> None:
        """After a new beginning there is room for everything."""
        history = History(MANY, 12)
        history.add(Turn(Speaker.USER, "aaaaaa"), "aaaaaa")
        history.clear()
        self.assertEqual(history.turns, [])
        history.add(Turn(Speaker.USER, "bbbbbb"), "bbbbbb")
        self.assertEqual(len(history.turns), 2)
