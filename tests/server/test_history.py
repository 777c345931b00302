"""What a session remembers."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.conversation import Speaker, Turn
from securechat.server.history import History

MANY = 1000


class HistoryTests(SynchronousTestCase):
    """Whole questions with their answers, the newest."""

    def history(self, max_turns: int, max_bytes: int, *texts: str) -> list[str]:
        """What is left after each text was asked, and answered with itself."""
        history = History(max_turns, max_bytes, self.fail)
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
        history = History(MANY, 12, self.fail)
        history.add(Turn(Speaker.USER, "aaaaaa"), "aaaaaa")
        history.clear()
        self.assertEqual(history.turns, [])
        history.add(Turn(Speaker.USER, "bbbbbb"), "bbbbbb")
        self.assertEqual(len(history.turns), 2)


class RecallTests(SynchronousTestCase):
    """Turns that the client recalled."""

    def setUp(self) -> None:
        self.forgotten: list[int] = []

    def recall(self, max_turns: int, max_bytes: int, *texts: str) -> History:
        """A history in which these turns replaced another."""
        history = History(max_turns, max_bytes, self.forgotten.append)
        history.add(Turn(Speaker.USER, "b"), "b")
        history.replace([Turn(Speaker.ROBOT, text) for text in texts])
        return history

    def test_replaces(self) -> None:
        """They replace the whole conversation; none at all forgets it."""
        self.assertEqual([turn.text for turn in self.recall(MANY, MANY, "a", "你").turns], ["a", "你"])
        self.assertEqual(self.recall(MANY, MANY).turns, [])
        self.assertEqual(self.forgotten, [])

    def test_limits(self) -> None:
        """The oldest that exceed a limit are dropped one by one, and their bytes are reported."""
        self.assertEqual([turn.text for turn in self.recall(2, MANY, "aaa", "你", "c").turns], ["你", "c"])
        self.assertEqual([turn.text for turn in self.recall(MANY, 3, "aaa", "你", "c").turns], ["c"])
        self.assertEqual(self.recall(MANY, 2, "aaa").turns, [])
        self.assertEqual(self.forgotten, [3, 6, 3])

    def test_pushedOut(self) -> None:
        """Later messages push them out, and only what was recalled is reported."""
        history = self.recall(4, MANY, "a", "bb", "ccc")
        for text in ("d", "e", "f"):
            history.add(Turn(Speaker.USER, text), text)
        self.assertEqual([turn.text for turn in history.turns], ["e", "e", "f", "f"])
        self.assertEqual(self.forgotten, [1, 5])
        history.replace([Turn(Speaker.USER, "gggg")])
        history.clear()
        self.assertEqual(self.forgotten, [1, 5, 4])
