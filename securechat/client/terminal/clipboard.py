"""Copying text to the clipboard: with the desktop's own program, or through the terminal."""

import shutil
import subprocess
from base64 import b64encode
from collections.abc import Mapping
from typing import Final

MAX_THROUGH_TERMINAL: Final = 74_000  # bytes; terminals ignore longer sequences
TIMEOUT: Final = 5.0  # seconds for the program

_PROGRAMS: Final = (  # the environment variable that shows that a program works, and its command
    ("WAYLAND_DISPLAY", ("wl-copy",)),
    ("DISPLAY", ("xclip", "-selection", "clipboard")),
    ("DISPLAY", ("xsel", "--clipboard", "--input")),
    ("TMUX", ("tmux", "load-buffer", "-w", "-")),
    ("HOME", ("pbcopy",)),
)


def copy_with_program(text: str, environ: Mapping[str, str]) -> bool:
    """Copy with the first program that works; whether there was one. It blocks."""
    for variable, command in _PROGRAMS:
        if not environ.get(variable) or shutil.which(command[0]) is None:
            continue
        try:
            subprocess.run(  # noqa: S603 - the commands above
                command,
                input=text.encode(errors="replace"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=TIMEOUT,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        return True
    return False


def terminal_sequence(text: str) -> str | None:
    """The sequence (OSC 52) with which a terminal sets its clipboard; None if the text is too long for that."""
    data = text.encode(errors="replace")
    return None if len(data) > MAX_THROUGH_TERMINAL else f"\x1b]52;c;{b64encode(data).decode()}\x07"
