"""Eliza: the offline robot, after Weizenbaum's of 1966. It matches phrases, remembers a little and promises nothing.

What it says stands in `eliza.en.txt` and `eliza.zh.txt`; how those are read is said at the head of the first. It has no
state: what it remembers it finds in the conversation, and what it says next depends on that alone.
"""

import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from configparser import ConfigParser
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from string import Formatter
from typing import Final

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from securechat.i18n import N_
from securechat.robots.interface import Conversation, IRobot, IRobotMaker, Option, Speaker

MAX_REST: Final = 60  # characters of the user's words that are said back or remembered
MAX_READ: Final = 2000  # characters of a message that are looked at: phrases come early

_CHINESE = re.compile("[\u3400-\u9fff]")
_CLAUSE_END = re.compile(r"[,.;:!?\n，。；：！？、…]| and | but ")


@dataclass(frozen=True)
class Rule:
    """Phrases, and what is said to what follows one of them."""

    phrases: tuple[str, ...]
    answers: tuple[str, ...]
    remember: str | None

    def __post_init__(self) -> None:
        if not self.answers:
            raise ValueError("a rule without an answer")

    def choose(self, facts: Mapping[str, str], count: int) -> str | None:
        """An answer all of whose names are known, another each time; the ones that know most come first."""
        usable = [answer for answer in self.answers if _names(answer) <= facts.keys()]
        personal = [answer for answer in usable if _names(answer) - {"rest"}]
        chosen = (personal or usable)[count % len(personal or usable)] if usable else None
        return chosen.format_map(facts) if chosen is not None else None


def _names(answer: str) -> set[str]:
    return {name for _text, name, _spec, _conversion in Formatter().parse(answer) if name is not None}


class Script:
    """The rules of one language."""

    def __init__(self, text: str, *, words: bool) -> None:
        """`words`: the language has words, and a phrase matches whole ones. ValueError if the text is no script."""
        parser = ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",), strict=True)
        parser.read_string(text)
        self._words = words
        self._reflections = dict(parser["reflect"])
        self._memory, self._nothing = (_rule(parser, name) for name in ("memory", "nothing"))
        self._rules = [_rule(parser, name) for name in parser.sections() if "when" in parser[name]]

    @cached_property
    def _reflected(self) -> re.Pattern[str]:
        edge = r"\b" if self._words else ""
        return re.compile(edge + f"({'|'.join(map(re.escape, self._reflections))})" + edge, re.IGNORECASE)

    def answer(self, said: list[str]) -> str:
        """What to say to the last of what the user said."""
        facts = {}
        for earlier in said:
            rule, rest = self._match(earlier)
            if rule is not None and rule.remember and rest:
                facts[rule.remember] = rest
        rule, rest = self._match(said[-1])
        if rest:
            facts["rest"] = rest
        for candidate in (rule, self._memory, self._nothing):
            if candidate is not None:
                answer = candidate.choose(facts, len(said) - 1)
                if answer is not None:
                    return answer
        raise AssertionError("the last rule answers everything")

    def _match(self, text: str) -> tuple[Rule | None, str]:
        """The first rule with a phrase in the text, and what follows the phrase in its clause, reflected."""
        text = text[:MAX_READ].replace("\u2019", "'")
        lower = text.lower()
        if len(lower) != len(text):  # there are letters that grow; what was found has to be where it was found
            lower = text
        for rule in self._rules:
            for phrase in rule.phrases:
                end = self._find(lower, phrase)
                if end >= 0:
                    rest = _CLAUSE_END.split(text[end:].strip(), maxsplit=1)[0].strip()
                    return rule, self._reflect(rest[:MAX_REST])
        return None, ""

    def _find(self, text: str, phrase: str) -> int:
        """Where the phrase ends in the text; -1 if it is not there."""
        start = text.find(phrase)
        while start >= 0:
            end = start + len(phrase)
            if not self._words or not (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum()):
                return end
            start = text.find(phrase, start + 1)
        return -1

    def _reflect(self, rest: str) -> str:
        """ "I" and "you" exchanged."""
        return self._reflected.sub(lambda found: self._reflections[found[0].lower()], rest)


def _lines(value: str) -> Iterator[str]:
    return (line.strip() for line in value.splitlines() if line.strip())


def _rule(parser: ConfigParser, name: str) -> Rule:
    section = parser[name]
    return Rule(tuple(_lines(section.get("when", ""))), tuple(_lines(section.get("say", ""))), section.get("remember"))


def load_script(language: str, *, words: bool) -> Script:
    """A script that comes with the robot."""
    return Script(files(__package__).joinpath(f"eliza.{language}.txt").read_text("utf-8"), words=words)


@implementer(IRobot)
class ElizaRobot:
    """Answers in the language of what was said."""

    name = "eliza"

    def __init__(self) -> None:
        self._english = load_script("en", words=True)
        self._chinese = load_script("zh", words=False)

    async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        said = [turn.text for turn in conversation.turns if turn.speaker is Speaker.USER]
        script = self._chinese if _CHINESE.search(said[-1][:MAX_READ]) else self._english
        yield script.answer(said)

    def close(self) -> Deferred[None]:
        return succeed(None)


@implementer(IRobotMaker)
class ElizaMaker:
    """``--robot eliza``"""

    name = "eliza"
    summary = N_("the offline robot: small talk in Chinese and English, no network needed")
    options: tuple[Option, ...] = ()

    def makeRobot(self, reactor: object, options: Mapping[str, str], key: str | None) -> IRobot:
        return ElizaRobot()
