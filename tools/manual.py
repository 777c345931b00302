"""The manual pages of the client and the daemon, made from their settings."""

from collections.abc import Iterable, Sequence
from typing import Final

from securechat import __version__
from securechat.client import options as client
from securechat.client.exit_codes import EXIT_STATUSES
from securechat.client.settings import ClientSettings
from securechat.robots.registry import BUILT_IN
from securechat.server.settings import CommandLineSettings, ServerSettings
from securechat.settings import Option, options_of
from securechat.tap import Options

DAEMON: Final = "twistd-securechat"
PROJECT_PAGES: Final = "The project's pages docs/options.md, docs/robots.md and docs/protocol.md say more."


def text_of(text: str) -> str:
    """A line of text in roff."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\\&" + escaped if escaped.startswith(".") else escaped


def sentence(text: str) -> str:
    return text[0].upper() + text[1:].removesuffix(".") + "."


def item(term: str, text: str) -> str:
    return f".TP\n{term}\n{text_of(sentence(text))}\n"


def bold(text: str) -> str:
    return f"\\fB{text_of(text)}\\fR"


def italic(text: str) -> str:
    return f"\\fI{text_of(text)}\\fR"


def meaning_of(option: Option) -> str:
    """The help text with the default in a form that does not depend on the machine."""
    if option.is_flag:
        return option.description
    return f"{option.meaning} (default: {option.default})" if option.default else option.meaning


def option_item(option: Option) -> str:
    if option.extra.positional:
        return item(italic(option.extra.metavar), meaning_of(option))
    forms = [f"-{option.extra.letter}"] if option.extra.letter is not None else []
    term = ", ".join(bold(form) for form in [*forms, f"--{option.name}"])
    value = "" if option.is_flag else f" {italic(option.extra.metavar or 'VALUE')}"
    return item(term + value, meaning_of(option))


def page(name: str, summary: str, synopsis: str, sections: Iterable[tuple[str, str]]) -> str:
    parts = [
        '.\\" Made by tools/share.py from the program\\(aqs settings.\n',
        f'.TH {name.upper()} 1 "" "securechat {__version__}"\n',
        f".SH NAME\n{text_of(name)} \\- {text_of(summary)}\n.SH SYNOPSIS\n{synopsis}\n",
        *(f".SH {title}\n{body}" for title, body in sections),
    ]
    return "".join(parts)


def paragraphs(*texts: str) -> str:
    return "".join(f".PP\n{text_of(text)}\n" for text in texts)


def example(*lines: str) -> str:
    return ".PP\n.nf\n.RS\n" + "".join(f"{text_of(line)}\n" for line in lines) + ".RE\n.fi\n"


def client_page() -> str:
    options = options_of(ClientSettings)
    configured = [option.name for option in options if not (option.extra.command_line_only or option.extra.positional)]
    return page(
        client.PROGRAM,
        "talk to a chat robot over an encrypted channel",
        f"{bold(client.PROGRAM)} [{italic('options')}] [{italic('HOST')}[:{italic('PORT')}]] [{bold('-')}]",
        (
            ("DESCRIPTION", paragraphs(client.DESCRIPTION, client.USE)),
            (
                "OPTIONS",
                "".join(map(option_item, options))
                + item(f"{bold('-h')}, {bold('--help')}", "show a summary and exit")
                + item(bold("--version"), "show the version and exit"),
            ),
            (
                "CONFIGURATION FILE",
                paragraphs(
                    "The file is in TOML. Options at its top apply to all servers, those in a table [host.NAME] to the "
                    "server of that name, whose address is the key address. The command line takes precedence; "
                    "--no-agent, for instance, turns off what the file turns on. Paths begin with / or ~/.",
                    f"The options are destination, for the server if none is named, and {', '.join(configured)}.",
                )
                + example(
                    'identity = "~/.ssh/chat"', "", "[host.work]", 'address = "chat.example.org:8080"', "agent = true"
                ),
            ),
            ("EXIT STATUS", "".join(item(bold(str(int(code))), text) for code, text in EXIT_STATUSES)),
            (
                "EXAMPLES",
                example(
                    "securechat chat.example.org -i ~/.ssh/chat",
                    "securechat work -m 'explain this' < program.py",
                    "git diff | securechat work --json | jq -r .text",
                    'eval "$(securechat --serve 8081 --print-env)"',
                ),
            ),
            ("SEE ALSO", paragraphs(f"{DAEMON}(1), ssh-keygen(1), ssh-agent(1)", PROJECT_PAGES)),
        ),
    )


def robot_items() -> str:
    parts = []
    for name, maker in sorted(BUILT_IN.items()):
        parts.append(f".SS {text_of(name)}\n{text_of(sentence(maker.summary))}\n")
        parts += [item(bold(f"{option.name}=") + "…", meaning_of(option)) for option in options_of(maker.settings)]
    return "".join(parts)


def daemon_page() -> str:
    further: Sequence[tuple[str, str | None]] = (
        (f"{bold('--robot')} {italic('NAME')}", Options.opt_robot.__doc__),
        (f"{bold('-R')}, {bold('--robot-option')} {italic('NAME=VALUE')}", Options.opt_robot_option.__doc__),
        (bold("--help-robots"), Options.opt_help_robots.__doc__),
        (bold("--help"), Options.opt_help.__doc__),
        (bold("--version"), Options.opt_version.__doc__),
    )
    return page(
        DAEMON,
        "put a chat robot on the network",
        f"{bold('twistd')} [{italic('options of twistd')}] {bold('securechat')} [{italic('options')}]",
        (
            (
                "DESCRIPTION",
                paragraphs(
                    Options.longdesc,
                    "twistd runs the daemon in the background, or with -n in the foreground. SIGHUP reads the "
                    "configuration file and the authorized keys again, and ends the sessions of users who have been "
                    "removed; SIGTERM ends all sessions and the daemon.",
                ),
            ),
            (
                "OPTIONS",
                "".join(map(option_item, (*options_of(CommandLineSettings), *options_of(ServerSettings))))
                + "".join(item(term, text or "") for term, text in further),
            ),
            ("ROBOTS", robot_items()),
            (
                "EXAMPLES",
                example(
                    "twistd -n securechat --listen tcp:8080 --name '[chat.example.org]:8080' \\",
                    "    --authorized-keys team_keys --robot openai -R model=qwen3",
                ),
            ),
            ("SEE ALSO", paragraphs("securechat(1), twistd(1)", PROJECT_PAGES)),
        ),
    )
