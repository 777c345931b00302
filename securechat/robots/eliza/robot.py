"""Eliza: the offline robot, after Weizenbaum's of 1966. It matches phrases, remembers a little and promises nothing.

What it says stands in `en.txt` and `zh.txt`. It has no state: what it remembers it finds in the
conversation, and what it says depends on that alone, and on the clock if it is asked for the time.
"""

import re
from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from importlib.resources import files
from typing import Final

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from securechat.conversation import Conversation, Speaker
from securechat.i18n import N_
from securechat.robots.eliza.script import Script
from securechat.robots.interface import IRobot, RobotMaker
from securechat.settings import Settings

MAX_READ: Final = 250  # characters of a message that are looked at: phrases come early
MAX_TURNS: Final = 40  # of a conversation, the last ones; with MAX_READ it bounds the time that an answer takes

_CHINESE: Final = re.compile("[\u3400-\u9fff]")
_WORD: Final = re.compile("[A-Za-z]+")
_WEEKDAYS: Final = "一二三四五六日"


def load_script(language: str, *, words: bool) -> Script:
    """A script that comes with the robot."""
    return Script(files(__package__).joinpath(f"{language}.txt").read_text("utf-8"), words=words)


@implementer(IRobot)
class ElizaRobot:
    """Answers in the language of what was said."""

    name = "eliza"

    def __init__(self, now: Callable[[], datetime] = datetime.now) -> None:
        """`now` tells the local time, which it can be asked for."""
        self._english = load_script("en", words=True)
        self._chinese = load_script("zh", words=False)
        self._now = now

    async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        turns = conversation.turns[-MAX_TURNS:]
        heard = [turn.text for turn in turns if turn.speaker is Speaker.ROBOT]
        said: dict[Script, list[str]] = {self._english: [], self._chinese: []}
        script = self._english
        for text in (turn.text[:MAX_READ] for turn in turns if turn.speaker is Speaker.USER):
            script = self._script_for(text, script)
            said[script].append(text)
        (other,) = said.keys() - {script}
        clock = _clock(self._now(), chinese=script is self._chinese)
        yield script.answer(said[script], heard, {**other.remembered(said[other]), **clock})

    def _script_for(self, text: str, before: Script) -> Script:
        """The language with more words in the text; a Chinese character is one. Without any it goes on as before."""
        chinese, english = len(_CHINESE.findall(text)), len(_WORD.findall(text))
        if chinese or english:
            return self._chinese if chinese >= english else self._english
        return before

    def close(self) -> Deferred[None]:
        return succeed(None)


def _clock(now: datetime, *, chinese: bool) -> dict[str, str]:
    """The time as facts."""
    if chinese:
        return {"time": f"{now:%H:%M}", "date": f"{now.month}月{now.day}日，星期{_WEEKDAYS[now.weekday()]}"}
    return {"time": f"{now:%H:%M}", "date": f"{now:%A, %Y-%m-%d}"}


ELIZA: Final = RobotMaker(
    "eliza",
    N_("the offline robot: small talk in Chinese and English, no network needed"),
    Settings,
    lambda _reactor, _settings, _key: ElizaRobot(),
)
