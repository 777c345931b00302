"""The offline robot: its answers in two languages, and what it remembers."""

import time
from collections import Counter
from datetime import datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.conversation import Conversation, Speaker, Turn
from securechat.robots.eliza.robot import ELIZA, MAX_READ, MAX_TURNS, ElizaRobot
from securechat.settings import Settings


class ElizaTests(SynchronousTestCase):
    """Conversations with the robot and its own scripts."""

    def setUp(self) -> None:
        self.robot = ElizaRobot(lambda: datetime(2026, 11, 23, 21, 5))

    def answer(self, turns: list[Turn]) -> str:
        """The answer to the last turn, which is there at once."""
        with self.assertRaises(StopIteration) as stopped:
            self.robot.reply(Conversation("u", turns)).asend(None).send(None)
        return str(stopped.exception.value)

    def talk(self, *said: str) -> list[str]:
        """Send messages one after the other; the answers."""
        turns: list[Turn] = []
        for text in said:
            turns.append(Turn(Speaker.USER, text))
            turns.append(Turn(Speaker.ROBOT, self.answer(turns)))
        return [turn.text for turn in turns if turn.speaker is Speaker.ROBOT]

    def test_greets(self) -> None:
        """A greeting is answered in its language."""
        self.assertEqual(self.talk("Hello!"), ["Hello! I am the offline robot. What is your name?"])
        self.assertEqual(self.talk("你好"), ["你好！我是离线机器人。怎么称呼你？"])
        self.assertEqual(self.talk("My name is Ada", "hi")[1], "Hello again, Ada.")

    def test_made(self) -> None:
        """As the daemon creates it, it knows the machine's time."""
        robot = ELIZA.makeRobot(None, Settings(), None)
        assert isinstance(robot, ElizaRobot)
        self.robot = robot
        self.assertRegex(self.talk("What time is it?")[0], r"It is \d\d:\d\d where I run")

    def test_dates(self) -> None:
        """It knows each day of the week, and the time of each half of the day."""
        for day, (chinese, english) in enumerate(
            zip("一二三四五六日", ("Mon", "Tues", "Wednes", "Thurs", "Fri", "Satur", "Sun"), strict=True)
        ):
            for hour in (0, 9, 15):
                self.robot = ElizaRobot(lambda day=day, hour=hour: datetime(2026, 11, 23 + day, hour, 5))  # type: ignore[misc]
                answer = f"{hour:02}:05 where I run, {english}day, 2026-11-{23 + day}"
                self.assertIn(answer, self.talk("What time is it?")[0])
                self.assertIn(f"{hour:02}:05，11月{23 + day}日，星期{chinese}", self.talk("今天星期几")[0])

    def test_remembers(self) -> None:
        """It remembers the user's name and likings across languages; the last one counts."""
        answers = self.talk("My name is Ada, hello", "I like my old computers", "What's my name?", "我叫什么？")
        self.assertIn("Ada", answers[0])
        self.assertIn("your old computers", answers[1])
        self.assertIn("You are Ada", answers[2])
        self.assertIn("Ada", answers[3])
        self.assertIn("not told me", self.talk("Who am I?")[0])
        self.assertIn("小明", self.talk("我叫小明。", "我叫什么？")[1])
        self.assertIn("Bob", self.talk("My name is Ada.", "Call me Bob!", "Who am I?")[2])
        self.assertIn("tea", self.talk("I like tea", "What do I like?")[1])
        self.assertIn("喜欢茶", self.talk("我喜欢茶。", "我喜欢什么？")[1])

    def test_recalls(self) -> None:
        """Some messages without a known phrase are answered with a remembered fact, once for each."""
        for like, blank in (("I like tea", "Quux."), ("我喜欢茶", "呜啦")):
            answers = self.talk(like, *[blank] * 30)
            self.assertEqual(sum("Earlier you said" in text or "你说过" in text for text in answers), 1)

    def test_isHonest(self) -> None:
        """Asked what it is or for facts, it says that it is the offline robot, and what an operator can do."""
        for question in (
            *("Who are you?", "are you human", "What is the capital of France?", "Can you translate this?"),
            *("How many people live in China?", "Are you ChatGPT?", "What's the weather like?", "where is Wuhan"),
            *(
                "你是谁？",
                "你是真人吗",
                "你会翻译吗",
                "北京天气怎么样",
                "1+1等于几",
                "介绍一下你自己",
                "为什么天是蓝的",
            ),
        ):
            answers = self.talk(question, question)
            self.assertTrue(any("operator" in text or "管理员" in text for text in answers), (question, answers))
            self.assertTrue(any("offline" in text.lower() or "离线" in text for text in answers), (question, answers))
            self.assertNotEqual(*answers)

    def test_privacy(self) -> None:
        """Asked about privacy, it says that the operator can read the conversation."""
        for question in ("Is this encrypted?", "Is it safe?", "这里加密吗？", "能保密吗"):
            for text in self.talk(question, question):
                self.assertRegex(text, "operator|runs the server|管理员")

    def test_crisis(self) -> None:
        """A user in a crisis is told at once where to find help."""
        for text in ("I want to kill myself", "haha I want to die, thanks", "我不想活了", "想自杀"):
            for answer in self.talk(text, text):
                self.assertRegex(answer, "crisis line|热线")

    def test_smallTalk(self) -> None:
        """It answers common small talk."""
        for said, words in (
            ("Tell me a joke", "TCP"),
            ("讲个笑话", "10 种"),
            ("haha :)", "applause"),
            ("哈哈哈哈", "掌声"),
            ("thanks!", "welcome"),
            ("谢谢", "不客气"),
            ("Bye.", "Goodbye"),
            ("再见", "再见"),
            ("help", "/?new|name"),
            ("你会什么？", "聊聊天"),
            ("I am so sad", "sorry"),
            ("I'm not happy", "sorry"),
            ("今天好累啊", "不太好受"),
            ("I am happy", "good to hear"),
            ("我很开心", "真好"),
            ("What time is it?", "21:05 where I run, Monday, 2026-11-23"),
            ("今天星期几", "21:05，11月23日，星期一"),
            ("I can't sleep", "if you could sleep"),
            ("I love you", "noticed"),
            ("我喜欢你", "惦记"),
            ("You are stupid", "I am stupid"),
            ("我想要一只熊猫了", "一只熊猫对你"),
            ("I like to watch you", "often do you watch me"),
            ("1+1=?", "sums"),
            ("test", "works"),
            ("I don't know", "two of us"),
            ("你多大了", "1966"),
            ("I think you are my friend", "I am your friend"),
            ("I\u2019m not really a robot", "been not really a robot"),
        ):
            self.assertRegex(self.talk(said)[0], words, said)

    def test_language(self) -> None:
        """It answers in the language with more words; without words, in the language before."""
        self.assertIn("继续", self.talk("好 ok")[0])
        chinese = [text > "\u3000" for text in self.talk("你好 hello", "OK", "🙂", "好", "?!", "I use 微信 every day")]
        self.assertEqual(chinese, [True, False, False, True, True, False])

    def test_wordless(self) -> None:
        """Messages without letters have answers, too, which differ."""
        answers = self.talk("", "🙂", "...")
        self.assertEqual(len(set(answers)), 3)
        self.assertRegex(answers[0], "Which words")

    def test_doesNotRepeatItself(self) -> None:
        """A repeated message has another answer each time; the same conversation has the same answers."""
        for text in ("hmm", "你好", "joke", "Who am I?", "为什么", "thanks", "🙂", "Is it safe?", "I like tea"):
            answers = self.talk("I like tea", "I feel fine", "my name is Ada", *[text] * 60)[3:]
            self.assertTrue(all(one != other for one, other in pairwise(answers)), text)
        self.assertEqual(len(set(self.talk(*["hmm"] * 6))), 6)
        self.assertEqual(self.talk(*["hmm"] * 60), self.talk(*["hmm"] * 60))

    def test_usesAllAnswers(self) -> None:
        """It uses all of its answers before it repeats one, also with remembered facts in between."""
        answers = Counter(self.talk("I like tea", "I feel fine", *["hmm"] * 24)[2:])
        self.assertLessEqual(max(answers.values()), 4)

    def test_wholeWords(self) -> None:
        """Phrases match whole words: "hi" is a greeting, "this" is not."""
        self.assertNotIn("Hello", self.talk("this which chip")[0])
        self.assertIn("Hello", self.talk("this hi")[0])

    def test_isQuick(self) -> None:
        """The longest messages and conversations take hardly longer than what is read of them."""
        longest = 32768

        def seconds(text: str, turns: int) -> float:
            asked = [Turn(Speaker.USER, text), Turn(Speaker.ROBOT, text)] * turns
            times = []
            for _ in range(7):  # the best time counts, because the machine may be busy
                start = time.thread_time()
                for _ in range(10):
                    self.assertTrue(self.answer(asked[:-1]))
                times.append(time.thread_time() - start)
            return min(times)

        for text in (
            *("", "a" * longest, "我" * longest, "I like " + "x" * longest, "hi" * longest, "hmm " * longest),
            *("😀" * longest, "你 i " * longest, "\u0130 like it, hi" * longest, ", " * longest, "the cats" * longest),
        ):
            read = seconds(text[:MAX_READ], MAX_TURNS // 2)
            self.assertLess(seconds(text[:longest], 500), 10 * read + 0.001, text[:20])

    def test_limits(self) -> None:
        """It reads only the beginning of a message and the end of a conversation."""
        self.assertNotIn("Hello", self.talk("x " * MAX_READ + "hello")[0])
        answers = self.talk("my name is Ada", *["hmm"] * (MAX_TURNS // 2), "who am I?")
        self.assertRegex(answers[-1], "have not told me your name, or it was too long ago")

    @given(said=st.lists(st.text() | st.text("我你是喜欢叫iI am not,. '{}0", max_size=30), min_size=1, max_size=4))
    def test_anyText(self, said: list[str]) -> None:
        """Any text has a short answer that is not empty, and never the same one twice in a row."""
        answers = self.talk(*said, said[-1])
        for answer in answers:
            self.assertTrue(answer.strip())
            self.assertLess(len(answer), 400)
        self.assertNotEqual(answers[-1], answers[-2])

    def test_growingLetters(self) -> None:
        """Letters that become two in lower case do not shift the repeated words."""
        self.assertIn("about teapots", self.talk("\u0130\u0130\u0130: i like teapots")[0])

    def test_braces(self) -> None:
        """Braces in a message are text."""
        self.assertIn("{0}", self.talk("I like {0}")[0])
        self.assertIn("{name}", self.talk("I like {name}")[0])

    def test_repeatsLittle(self) -> None:
        """It repeats only a few words, without the particles at their end."""
        answer = self.talk("I like " + "rainy days " * 30)[0]
        self.assertIn("about rainy days", answer)
        self.assertRegex(answer, "days…")
        self.assertIn("做学生是什么感觉", self.talk("我是学生啦啦啦")[0])

    def test_close(self) -> None:
        """It can be closed."""
        self.successResultOf(self.robot.close())
