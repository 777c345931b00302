"""Eliza: the offline robot, after Weizenbaum's program of 1966. It matches phrases and remembers a few facts.

Its answers are in `en.txt` and `zh.txt`. It is stateless: an answer depends on the conversation only, and on the clock
if the user asks for the time.
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

MAX_READ: Final = 250  # characters at the beginning of a message; the rest is ignored
MAX_TURNS: Final = 40  # at the end of a conversation; with MAX_READ it limits the time that an answer takes

_CHINESE: Final = re.compile("[\u3400-\u9fff]")
_WORD: Final = re.compile("[A-Za-z]+")
_WEEKDAYS: Final = "一二三四五六日"


def load_script(language: str, *, words: bool) -> Script:
    """One of the robot's own scripts; `words` as in `Script`."""
    return Script(files(__package__).joinpath(f"{language}.txt").read_text("utf-8"), words=words)


@implementer(IRobot)
class ElizaRobot:
    """Answers in the language of the message, English or Chinese."""

    name = "eliza"

    def __init__(self, now: Callable[[], datetime] = datetime.now) -> None:
        """`now` returns the local time."""
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
        """By the number of words, of which a Chinese character is one. Without words, the script before."""
        chinese, english = len(_CHINESE.findall(text)), len(_WORD.findall(text))
        if chinese or english:
            return self._chinese if chinese >= english else self._english
        return before

    def close(self) -> Deferred[None]:
        return succeed(None)


def _clock(now: datetime, *, chinese: bool) -> dict[str, str]:
    """The facts `time` and `date`."""
    if chinese:
        return {"time": f"{now:%H:%M}", "date": f"{now.month}月{now.day}日，星期{_WEEKDAYS[now.weekday()]}"}
    return {"time": f"{now:%H:%M}", "date": f"{now:%A, %Y-%m-%d}"}


ELIZA: Final = RobotMaker(
    "eliza",
    N_("the offline robot: small talk in Chinese and English, no network needed"),
    Settings,
    lambda _reactor, _settings, _key: ElizaRobot(),
)
