"""Eliza: the offline robot, after Weizenbaum's of 1966. It matches phrases, remembers a little and promises nothing.

What it says stands in `eliza.en.txt` and `eliza.zh.txt`. It has no state: what it remembers it finds in the
conversation, and what it says depends on that alone, and on the clock if it is asked for the time.
"""

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import datetime
from typing import Final

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from securechat.i18n import N_
from securechat.robots.eliza_file import load_script
from securechat.robots.eliza_script import Rule, Script
from securechat.robots.interface import Conversation, IRobot, IRobotMaker, Option, Speaker

MAX_READ: Final = 400  # characters of a message that are looked at: phrases come early
MAX_REMEMBERED: Final = 100  # messages of the user; with MAX_READ it bounds an answer to milliseconds

_CHINESE = re.compile("[\u3400-\u9fff]")
_WORD = re.compile("[A-Za-z]+")


@implementer(IRobot)
class ElizaRobot:
    """Answers in the language of what was said."""

    name = "eliza"

    def __init__(self, now: Callable[[], datetime] = datetime.now) -> None:
        """`now` tells the local time."""
        self._english = load_script("en")
        self._chinese = load_script("zh")
        self._now = now

    async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        said = [turn.text[:MAX_READ] for turn in conversation.turns if turn.speaker is Speaker.USER]
        script = self._english
        facts: dict[str, str] = {}
        applied: list[Rule] = []
        for text in said[-MAX_REMEMBERED:]:
            script = self._script_for(text, script)
            match = script.match(text)
            facts.update(match.remembered)
            applied.append(match.rule)
        now = script.clock(self._now())
        yield script.answer(match.rule, {**facts, **match.facts, **now}, applied.count(match.rule) - 1)

    def _script_for(self, text: str, before: Script) -> Script:
        """The language with more words in the text; a text with none of either goes on in the one before."""
        chinese, english = len(_CHINESE.findall(text)), len(_WORD.findall(text))
        if chinese == english:
            return before
        return self._chinese if chinese > english else self._english

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
