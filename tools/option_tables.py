"""The tables of options in docs/, made from the settings.

A table stands between a line such as ``<!-- options: openai -->`` and a line ``<!-- end of options -->``. With
``--check`` nothing is written, and the exit status is 1 if a table is out of date.
"""

import re
import sys
from pathlib import Path
from typing import Final

from securechat.client.settings import ClientSettings
from securechat.robots.registry import BUILT_IN
from securechat.server.settings import CommandLineSettings, ServerSettings
from securechat.settings import Option, Settings, options_of

DOCS: Final = Path(__file__).parents[1] / "docs"
TABLE: Final = re.compile(r"(?<=<!-- options: )(\w+)( -->\n).*?(?=<!-- end of options -->)", re.DOTALL)
PROGRAMS: Final[dict[str, tuple[type[Settings], ...]]] = {
    "daemon": (CommandLineSettings, ServerSettings),
    "client": (ClientSettings,),
}


def robot_row(option: Option) -> tuple[str, str, str]:
    return f"`{option.name}`", option.meaning, option.default


def program_row(option: Option) -> tuple[str, str, str]:
    if option.extra.positional:
        return f"`{option.extra.metavar}`", option.meaning, option.default
    name = f"`--{option.name}`"
    if option.extra.letter is not None:
        name = f"`-{option.extra.letter}`, {name}"
    return (name, option.description, "") if option.is_flag else (name, option.meaning, option.default)


def table(match: re.Match[str]) -> str:
    """The text of a match of TABLE, with the current table."""
    name = match[1]
    if name in PROGRAMS:
        rows = [program_row(option) for settings in PROGRAMS[name] for option in options_of(settings)]
    else:
        rows = [robot_row(option) for option in options_of(BUILT_IN[name].settings)]
    lines = (f"| {spelling} | {meaning[0].upper()}{meaning[1:]} | {default} |\n" for spelling, meaning, default in rows)
    return f"{name}{match[2]}| option | meaning | default |\n|---|---|---|\n{''.join(lines)}"


def main() -> int:
    check = sys.argv[1:] == ["--check"]
    outdated = False
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text("utf-8")
        current = TABLE.sub(table, text)
        if current != text:
            outdated = True
            print(f"{page.name}: {'out of date; run make option-tables' if check else 'updated'}")
            if not check:
                page.write_text(current, "utf-8")
    return int(check and outdated)


if __name__ == "__main__":
    sys.exit(main())
