"""The offline robot: what it says, in two languages, and what it remembers."""

import time

from twisted.trial.unittest import SynchronousTestCase

from securechat.robots import Conversation, Speaker, Turn
from securechat.robots.eliza import ElizaMaker, Script

RULE = "[reflect]\nme = you\n[memory]\nsay =\n  {thing}?\n[nothing]\nsay =\n  Go on.\n"


class ElizaTests(SynchronousTestCase):
    """Conversations with the robot as it comes."""

    def setUp(self) -> None:
        self.robot = ElizaMaker().makeRobot(None, {}, None)

    def talk(self, *said: str) -> list[str]:
        """Say one thing after the other; what the robot answers each."""
        conversation = Conversation("u")
        answers = []
        for text in said:
            conversation.turns.append(Turn(Speaker.USER, text))
            generator = self.robot.reply(conversation)
            try:
                generator.asend(None).send(None)
            except StopIteration as stop:
                answers.append(stop.value)
                conversation.turns.append(Turn(Speaker.ROBOT, stop.value))
        return answers

    def test_greets(self) -> None:
        """It answers a greeting in the language of the greeting."""
        self.assertEqual(self.talk("Hello!"), ["Hello! I am the offline robot. What is your name?"])
        self.assertEqual(self.talk("你好"), ["你好！我是离线机器人。怎么称呼你？"])

    def test_remembers(self) -> None:
        """It remembers a name and what one likes, for as long as the conversation goes."""
        answers = self.talk("My name is Ada, hello", "I like my old computers", "What's my name?", "Quux.")
        self.assertIn("Ada", answers[0])
        self.assertIn("your old computers", answers[1])
        self.assertIn("You are Ada", answers[2])
        self.assertIn("you like your old computers", answers[3])
        self.assertIn("not told me", self.talk("Who am I?")[0])
        self.assertIn("小明", self.talk("我叫小明。", "我叫什么？")[1])

    def test_isHonest(self) -> None:
        """Asked what it is, it says so, and how to get a better one."""
        for question in ("Who are you?", "are you human", "你是谁？", "你是真人吗"):
            self.assertRegex(self.talk(question)[0], "offline|离线")
        self.assertRegex(self.talk("What is the capital of France?")[0], "only the offline robot")

    def test_doesNotRepeatItself(self) -> None:
        """It has several answers, and gives them in turn; the same conversation has the same answers."""
        answers = self.talk(*["hmm"] * 4)
        self.assertEqual(len(set(answers)), 4)
        self.assertEqual(self.talk(*["hmm"] * 4), answers)

    def test_wholeWords(self) -> None:
        """ "hi" is a greeting, "this" is not."""
        self.assertNotIn("Hello", self.talk("this which chip")[0])
        self.assertIn("Hello", self.talk("this hi")[0])

    def test_anyLength(self) -> None:
        """The longest message is answered at once, and so is a letter that grows in lower case."""
        start = time.process_time()
        for text in ("a" * 32768, "我" * 10922, "I like " + "x" * 32000, "hi" * 16000, "\u0130 like it, hi"):
            self.assertEqual(len(self.talk(text)), 1)
        self.assertLess(time.process_time() - start, 1.0)

    def test_braces(self) -> None:
        """What looks like a format in the user's words is only text."""
        self.assertIn("{0}", self.talk("I like {0}")[0])
        self.assertIn("{name}", self.talk("I like {name}")[0])

    def test_close(self) -> None:
        """There is nothing to let go."""
        self.successResultOf(self.robot.close())


class ScriptTests(SynchronousTestCase):
    """The format of the scripts."""

    def test_whatIsKnownDecides(self) -> None:
        """An answer that names what is not known is not given."""
        script = Script(RULE + "[a]\nwhen =\n  take\nremember = thing\nsay =\n  {rest} and {other}\n", words=True)
        self.assertEqual(script.answer(["x"]), "Go on.")
        self.assertEqual(script.answer(["take me", "x"]), "you?")
        self.assertEqual(script.answer(["take me"]), "you?")

    def test_badScripts(self) -> None:
        """A rule without an answer, and a script without its sections, are refused."""
        self.assertRaises(ValueError, Script, RULE + "[a]\nwhen =\n  b\n", words=True)
        self.assertRaises(KeyError, Script, "[reflect]\n", words=True)
