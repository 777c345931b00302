"""Scripts."""

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from securechat.robots.eliza.robot import load_script
from securechat.robots.eliza.script import Script, names_in

SAY = "say =\n  "


RULE = f"""
[reflect]
me = you
[memory]
{SAY}{{thing}}?
[wordless]
{SAY}Eh?
[numbers]
{SAY}One.
[nothing]
{SAY}Go on.
"""


SCRIPTS = {"en": load_script("en", words=True), "zh": load_script("zh", words=False)}


class ScriptTests(SynchronousTestCase):
    """Scripts."""

    def test_facts(self) -> None:
        """An answer is used only if its facts are known."""
        script = Script(RULE + "[a]\nwhen =\n  take\nremember = thing\nsay =\n  {rest} and {other}\n", words=True)
        self.assertEqual(script.answer(["x"]), "Go on.")
        self.assertEqual(script.answer(["take me", "x", "x", "x"]), "you?")
        self.assertEqual(script.answer(["take me", "x", "x", "x"], ["you?"]), "Go on.")
        self.assertEqual(script.answer(["take me"]), "Go on.")
        self.assertEqual(script.answer(["take me"], known={"other": "all"}), "you and all")
        self.assertEqual(script.answer(["?"]), "Eh?")
        self.assertEqual(script.answer(["1+1=?"]), "One.")

    def test_badScripts(self) -> None:
        """Rules without answers and scripts without the required sections are errors."""
        self.assertRaises(ValueError, Script, RULE + "[a]\nwhen =\n  b\n", words=True)
        self.assertRaises(KeyError, Script, "[reflect]\n", words=True)

    def test_completeScripts(self) -> None:
        """In the robot's scripts, all facts can be known, and each rule has two answers for each number of facts."""
        for script in SCRIPTS.values():
            rules = [
                *{rule for _phrase, rule in script._phrases},
                script._memory,
                script._wordless,
                script._numbers,
                script._nothing,
            ]
            known = {"rest", "time", "date"} | {rule.remember for rule in rules if rule.remember}
            for rule in rules:
                counts = Counter(len(names_in(answer) - {"rest"}) for answer in rule.answers)
                self.assertGreater(min(counts.values()), 1, rule.answers)
                self.assertLessEqual(set().union(*map(names_in, rule.answers)), known, rule.answers)
                self.assertEqual(len(set(rule.answers)), len(rule.answers), rule.answers)

    def test_hiddenPhrases(self) -> None:
        """No phrase is hidden by one of an earlier rule."""
        for script in SCRIPTS.values():
            hidden = [phrase for phrase, rule in script._phrases if script._match(phrase)[0] is not rule]
            self.assertEqual(hidden, [])

    def test_sameFacts(self) -> None:
        """Both scripts remember the same facts."""
        english, chinese = ({rule.remember for _phrase, rule in script._phrases} for script in SCRIPTS.values())
        self.assertEqual(english, chinese)
