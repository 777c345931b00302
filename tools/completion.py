"""Completion of the client's command line for bash, zsh and fish, made from its settings.

A server is completed from the names in the configuration file, a value from its choices or the names of files.
"""

from collections.abc import Sequence
from typing import Final

from securechat.client.options import PROGRAM
from securechat.client.settings import ClientSettings
from securechat.settings import Option, options_of

OPTIONS: Final = [option for option in options_of(ClientSettings) if not option.extra.positional]
NOTE: Final = "Made by tools/share.py from the program's settings."
# Names in [host.NAME] and [host."NAME"]
HOSTS: Final = (
    r"""sed -n 's/^[[:space:]]*\[host\."\{0,1\}\([^]"]*\)"\{0,1\}\].*/\1/p' """
    f'"${{XDG_CONFIG_HOME:-$HOME/.config}}/{PROGRAM}/client.toml" 2>/dev/null'
)
FURTHER: Final = (("h", "help", "show this help message and exit"), (None, "version", "show the version and exit"))


def names(options: Sequence[Option]) -> list[str]:
    """The short and long forms of options."""
    short = [f"-{option.extra.letter}" for option in options if option.extra.letter]
    return short + [f"--{option.name}" for option in options]


def bash() -> str:
    paths = "|".join(names([option for option in OPTIONS if option.is_path]))
    free = [option for option in OPTIONS if not (option.is_flag or option.is_path or option.choices)]
    choices = "".join(
        f"""
        {"|".join(names([option]))})
            mapfile -t COMPREPLY < <(compgen -W '{" ".join(option.choices)}' -- "$word")
            return
            ;;"""
        for option in OPTIONS
        if option.choices and not option.is_flag
    )
    every = [*names(OPTIONS), "-h", "--help", "--version"]
    return f"""# bash completion for {PROGRAM}. {NOTE}

_{PROGRAM}()
{{
    local word=${{COMP_WORDS[COMP_CWORD]}} option=${{COMP_WORDS[COMP_CWORD - 1]}}
    if [[ $word == = ]]; then # --option=
        word=
    elif [[ $option == = ]]; then
        option=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    COMPREPLY=()
    case $option in
        {paths})
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return
            ;;{choices}
        {"|".join(names(free))})
            return
            ;;
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W '{" ".join(every)}' -- "$word")
    else
        local host # not with compgen -W, which expands its words
        while read -r host; do
            [[ $host == "$word"* ]] && COMPREPLY+=("$host")
        done < <({HOSTS})
    fi
}}

complete -F _{PROGRAM} {PROGRAM}
"""


def _zsh_text(text: str) -> str:
    """Text within an argument of _arguments, in single quotes."""
    for character in "\\[]:":
        text = text.replace(character, f"\\{character}")
    return text.replace("'", "'\\''")


def _zsh_value(option: Option) -> str:
    if option.is_flag:
        return ""
    if option.is_path:
        return ":file:_files"
    return f":value:({' '.join(option.choices)})" if option.choices else ":value: "


def _zsh_argument(option: Option) -> str:
    long, letter = f"--{option.name}", option.extra.letter
    equals = "" if option.is_flag else "="
    rest = f"'[{_zsh_text(option.description)}]{_zsh_value(option)}'"
    if not letter:
        return f"'{'*' if option.is_repeatable else ''}{long}{equals}'{rest}"
    before = "*" if option.is_repeatable else f"(-{letter} {long})"
    return f"'{before}'{{-{letter}{'' if option.is_flag else '+'},{long}{equals}}}{rest}"


def zsh() -> str:
    arguments = [_zsh_argument(option) for option in OPTIONS]
    arguments += [f"'(- *)'--{name}'[{_zsh_text(text)}]'" for _letter, name, text in FURTHER]
    lines = " \\\n    ".join([*arguments, f"'1:server:_{PROGRAM}_hosts'"])
    return f"""#compdef {PROGRAM}
# {NOTE}

_{PROGRAM}_hosts() {{
    local -a hosts
    hosts=(${{(f)"$({HOSTS})"}})
    compadd -a hosts
}}

_arguments -s \\
    {lines}
"""


def _fish_text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish_value(option: Option) -> str:
    if option.is_flag:
        return ""
    if option.is_path:
        return " -r -F"
    return f" -x -a {_fish_text(' '.join(option.choices))}" if option.choices else " -x"


def fish() -> str:
    hosts = HOSTS.replace("${XDG_CONFIG_HOME:-$HOME/.config}", "$config")
    lines = []
    for option in OPTIONS:
        short = f" -s {option.extra.letter}" if option.extra.letter else ""
        text = _fish_text(option.description)
        lines.append(f"complete -c {PROGRAM}{short} -l {option.name}{_fish_value(option)} -d {text}")
    for letter, name, text in FURTHER:
        short = f" -s {letter}" if letter else ""
        lines.append(f"complete -c {PROGRAM}{short} -l {name} -d {_fish_text(text)}")
    return f"""# fish completion for {PROGRAM}. {NOTE}

function __{PROGRAM}_hosts
    set -l config $HOME/.config
    set -q XDG_CONFIG_HOME; and set config $XDG_CONFIG_HOME
    {hosts}
end

complete -c {PROGRAM} -f -a '(__{PROGRAM}_hosts)'
{chr(10).join(lines)}
"""
