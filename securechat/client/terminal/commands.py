"""The commands of the prompt."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from securechat.client.terminal.styles import width
from securechat.i18n import N_, _


@dataclass(frozen=True, slots=True)
class Command:
    """A command, with its argument if it has one."""

    name: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a command takes and does. Texts are marked for translation."""

    description: str
    argument: str = ""  # in the help
    pattern: str = ""  # of the argument
    aliases: Sequence[str] = ()

    @property
    def is_optional(self) -> bool:
        return self.argument.startswith("[")


COMMANDS: Final = {
    "help": Kind(N_("list the commands and keys"), aliases=("?", "h")),
    "new": Kind(N_("start a new conversation"), aliases=("clear", "reset")),
    "retry": Kind(N_("send the last message again"), aliases=("regenerate", "again")),
    "copy": Kind(
        N_("copy the last reply, or the nth before it, to the clipboard"), "[N]", "[1-9][0-9]{0,3}", ("yank",)
    ),
    "save": Kind(
        N_("save the conversation under a name, or export it to a new file"), N_("NAME|FILE"), ".+", ("write", "export")
    ),
    "edit": Kind(N_("edit the last message in $EDITOR"), aliases=("editor", "e")),
    "info": Kind(N_("describe the connection"), aliases=("status", "about")),
    "quit": Kind(N_("leave"), aliases=("exit", "bye", "q")),
}
_NAMES: Final = {alias: name for name, kind in COMMANDS.items() for alias in (name, *kind.aliases)}
_COMMAND: Final = re.compile(r"/([A-Za-z?][A-Za-z0-9_-]*)(?:[ \t]+(.*))?")


class UnknownCommandError(Exception):
    """The text looks like a command, and is none; the message explains it."""


def parse(text: str) -> Command | str:
    """The command that the user entered, or the message. UnknownCommandError.

    Only a single line that begins with a slash and a word is a command: paths are not. A second slash makes a message.
    """
    text = text.strip("\n")
    if text.startswith("//"):
        return text[1:]
    found = _COMMAND.fullmatch(text.strip())
    if found is None:
        return text
    word, argument = found[1], (found[2] or "").strip()
    name = _NAMES.get(word.lower())
    if name is None:
        raise UnknownCommandError(_explain_unknown(word))
    kind = COMMANDS[name]
    if argument and not (kind.pattern and re.fullmatch(kind.pattern, argument)):
        text = (
            _("/{name} takes {argument}; to send the text to the robot, begin it with //")
            if kind.pattern
            else _("/{name} takes no argument; to send the text to the robot, begin it with //")
        )
        raise UnknownCommandError(text.format(name=name, argument=_(kind.argument)))
    if not argument and kind.argument and not kind.is_optional:
        raise UnknownCommandError(_("usage: /{name} {argument}").format(name=name, argument=_(kind.argument)))
    return Command(name, argument)


def _explain_unknown(word: str) -> str:
    near = difflib.get_close_matches(word.lower(), _NAMES, n=1)
    if near:
        text = _("/{word}: unknown command; did you mean /{name}? To send the text to the robot, begin it with //")
        return text.format(word=word, name=_NAMES[near[0]])
    return _("/{word}: unknown command; see /help. To send the text to the robot, begin it with //").format(word=word)


def completions(text: str) -> list[str]:
    """The commands that begin with what the user has typed."""
    return [f"/{name}" for name in COMMANDS if text.startswith("/") and f"/{name}".startswith(text.lower())]


def help_lines() -> list[str]:
    """The commands, one a line."""
    forms = [f"/{name} {_(kind.argument)}".rstrip() for name, kind in COMMANDS.items()]
    size = max(map(width, forms))
    return [
        f"{form}{' ' * (size - width(form))}  {_(kind.description)}"
        for form, kind in zip(forms, COMMANDS.values(), strict=True)
    ]


def key_lines() -> list[str]:
    """The keys, and how to enter messages that begin with a slash or a space."""
    return [
        _("Enter sends; Alt-Enter or Ctrl-J begins a new line; what you paste is one message."),
        _("Ctrl-C stops the reply, then clears the line, then leaves; Ctrl-D leaves; Ctrl-Z suspends."),
        _("Ctrl-R searches earlier messages; Ctrl-X Ctrl-E opens $EDITOR; Ctrl-L clears the screen."),
        _("A message that begins with a slash: //text. One that begins with a space is not kept in the history."),
    ]
