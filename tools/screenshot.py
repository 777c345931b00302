"""The pictures in docs/ of a session at a terminal: ``python -m tools.screenshot [en|zh_CN]…``.

A real client on a pseudo-terminal talks to a real daemon on port 8080 of this machine, behind which a server follows a
script instead of a language model. What an emulated screen displays at the end is written as SVG.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import pyte
from pyte.screens import Char
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.internet.threads import blockingCallFromThread, deferToThread
from wcwidth import wcwidth

from tests.harness import openai_peer
from tests.harness.daemon import ENVIRON, Daemon
from tests.harness.openai_peer import OpenAIPeer, Step, good, says, stream
from tests.harness.terminal import Terminal

DOCS: Final = Path(__file__).parents[1] / "docs"
COLUMNS, ROWS = 84, 60
TIMEOUT: Final = 60  # seconds
LISTEN: Final = ("--listen", "tcp:8080:interface=127.0.0.1", "--name", "[localhost]:8080")
PROMPT: Final = "\x1b[?2004h"

CELL, LINE, SIZE, MARGIN = 8.4, 18, 14, 16  # pixels
FONT: Final = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Noto Sans Mono CJK SC',monospace"
PANEL, BORDER, TEXT, CURSOR = "#20242c", "#6b7280", "#d8dee9", "#9aa3b2"
COLOURS: Final = {
    "red": "#e5737f",
    "green": "#9ccc7a",
    "brown": "#e3b96b",
    "blue": "#7cabec",
    "magenta": "#c893d8",
    "cyan": "#6fc3cf",
}


@dataclass(frozen=True, slots=True)
class Story:
    """What is said in a picture."""

    file: str
    title: str
    question: str
    reply: str
    follow_up: str
    answer: str
    draft: str


STORIES: Final = {
    "en": Story(
        "terminal.svg",
        "A session with securechat at a terminal",
        "How do I find the ten largest files below a directory?",
        "Let `find` print sizes, and **sort** them:\n\n"
        "```sh\nfind . -type f -printf '%s\\t%p\\n' | sort -rn | head -n 10\n```\n\n"
        "| part | does |\n|---|---|\n| `%s` | prints the size in bytes |\n| `sort -rn` | the largest first |\n",
        "And without GNU find?",
        "Then ask `du`, which counts *blocks* on disk:\n\n```sh\ndu -ak . | sort -rn | head -n 10\n```\n",
        "Does that follow symbolic links",
    ),
    "zh_CN": Story(
        "terminal.zh-CN.svg",
        "终端里的 securechat 会话",
        "怎样找出目录下最大的十个文件？",
        "让 `find` 打印大小，再**排序**：\n\n"
        "```sh\nfind . -type f -printf '%s\\t%p\\n' | sort -rn | head -n 10\n```\n\n"
        "| 部分 | 作用 |\n|---|---|\n| `%s` | 以字节为单位打印大小 |\n| `sort -rn` | 最大的排在最前 |\n",
        "没有 GNU find 呢？",
        "那就用 `du`，它统计的是磁盘上的*块*：\n\n```sh\ndu -ak . | sort -rn | head -n 10\n```\n",
        "它会跟随符号链接吗",
    ),
}


def slowly(text: str, seconds: float) -> list[Step]:
    """A reply in pieces."""
    steps: list[Step] = []
    for start in range(0, len(text), 8):
        steps += [*says(text[start : start + 8]), seconds]
    return [*steps, *good("")]


async def record(reactor: Any, language: str) -> str:
    """The output of a session in which the daemon is restarted."""
    story = STORIES[language]
    openai_peer.SCRIPTS[story.question] = lambda: stream(*slowly(story.reply, 0.01))
    openai_peer.SCRIPTS[story.follow_up] = lambda: stream(*slowly(story.answer, 0.01))
    port = reactor.listenTCP(0, OpenAIPeer(reactor), interface="127.0.0.1")
    url = f"url=http://127.0.0.1:{port.getHost().port}"
    options = (*LISTEN, "--robot", "openai", "-R", url, "-R", "model=peer-model")
    directory = mkdtemp()
    daemons = [await Daemon(directory, *options).started()]

    def restart() -> "Deferred[Any]":
        daemons.append(Daemon(directory, *options))
        return Deferred.fromCoroutine(daemons[-1].started())

    def session() -> str:
        environ = {**ENVIRON, "LANGUAGE": language, "HOME": directory, "TERM": "xterm", "PS1": "$ "}
        environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
        environ.pop("NO_COLOR", None)
        terminal = Terminal(["/bin/sh", "-i"], environ, TIMEOUT)
        try:
            terminal.resize(COLUMNS)
            terminal.wait_for("$ ")
            terminal.type("securechat --accept-new -m hello >/dev/null 2>&1; clear\r")
            terminal.wait_for("\x1b[2J")
            terminal.wait_for("$ ")
            start = terminal.screen.rindex("$ ")
            terminal.type("securechat\r")
            terminal.wait_for(PROMPT)
            terminal.read_for(1)
            terminal.type(f"{story.question}\r")
            terminal.wait_for("sort -rn\x1b[0m")
            terminal.read_for(1)
            daemons[0].process.terminate()
            daemons[0].process.wait()
            terminal.read_for(1)
            daemons[0].log.unlink()
            blockingCallFromThread(reactor, restart)
            terminal.read_for(5)
            terminal.type(f"{story.follow_up}\r")
            terminal.wait_for("du -ak")
            terminal.read_for(1)
            terminal.type(story.draft)
            terminal.read_for(1)
            return terminal.screen[start:]
        finally:
            terminal.kill()

    try:
        return await deferToThread(session)
    finally:
        for daemon in daemons:
            await daemon.stop()
        await port.stopListening()
        shutil.rmtree(directory)


def spans(row: list[Char]) -> Iterator[str]:
    """The runs of characters that look the same, each at its column, so that no font moves what follows."""
    # A wide character is followed by an empty cell.
    cells = [(column, char) for column, char in enumerate(row) if char.data]
    while cells and cells[-1][1].data == " ":
        cells.pop()
    looks = groupby(cells, lambda cell: (cell[1].fg, cell[1].bold, cell[1].underscore, wcwidth(cell[1].data)))
    for (colour, bold, underscore, width), run in looks:
        cells = list(run)
        text = "".join(char.data for _column, char in cells)
        if not text.strip():
            continue
        style = f' fill="{COLOURS[colour]}"' if colour in COLOURS else ""
        style += ' font-weight="bold"' if bold else ""
        style += ' text-decoration="underline"' if underscore else ""
        x, length = MARGIN + cells[0][0] * CELL, len(text) * width * CELL
        yield f'<tspan x="{x:.1f}" textLength="{length:.1f}"{style}>{escape(text)}</tspan>'


def draw(output: str, title: str) -> str:
    """What a screen displays, as SVG."""
    screen = pyte.Screen(COLUMNS, ROWS)
    pyte.Stream(screen).feed(output)
    last = max(number for number, line in enumerate(screen.display) if line.strip())
    rows = [[screen.buffer[number][column] for column in range(COLUMNS)] for number in range(last + 1)]
    width, height = round(COLUMNS * CELL + 2 * MARGIN), len(rows) * LINE + 2 * MARGIN
    lines = []
    for number, row in enumerate(rows):
        text = "".join(spans(row))
        if text:
            lines.append(f'<text y="{MARGIN + number * LINE + SIZE}">{text}</text>')
    x, y = MARGIN + screen.cursor.x * CELL, MARGIN + screen.cursor.y * LINE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" font-family="{FONT}" font-size="{SIZE}" fill="{TEXT}" xml:space="preserve">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8" fill="{PANEL}" stroke="{BORDER}"/>\n'
        f'<rect x="{x:.1f}" y="{y}" width="{CELL}" height="{LINE - 2}" fill="{CURSOR}"/>\n'
        + "\n".join(lines)
        + "\n</svg>\n"
    )


async def main(reactor: Any, *languages: str) -> None:
    for language in languages or STORIES:
        story = STORIES[language]
        path = DOCS / story.file
        path.write_text(draw(await record(reactor, language), story.title), "utf-8")
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    react(main, sys.argv[1:])
