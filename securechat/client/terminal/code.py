"""The colours of fenced code in a reply. The text itself is never changed: where there are no colours, it is plain."""

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from securechat.client.terminal.cpu_limit import with_cpu_limit
from securechat.client.terminal.styles import Row, Style

if TYPE_CHECKING:
    from securechat.client.terminal.lexing import LineLexer

# The names of languages that follow a fence. Lexers of other languages are not exposed to the text of a robot.
# fmt: off
LANGUAGES: Final = frozenset((
    "bash", "c", "c#", "c++", "cfg", "clojure", "cmake", "console", "cpp", "cs", "csharp", "css", "dart", "diff",
    "docker", "dockerfile", "elixir", "erlang", "fish", "go", "golang", "graphql", "groovy", "haskell", "hs", "html",
    "ini", "java", "javascript", "js", "json", "julia", "kotlin", "latex", "less", "lua", "make", "makefile",
    "matlab", "mysql", "nginx", "nim", "nix", "objc", "objective-c", "ocaml", "perl", "php", "postgresql",
    "powershell", "proto", "protobuf", "ps1", "py", "python", "python3", "r", "rb", "rs", "ruby", "rust", "scala",
    "scss", "sh", "shell", "sql", "sqlite3", "swift", "tcl", "terraform", "tex", "toml", "ts", "typescript", "vim",
    "xml", "yaml", "yml", "zig", "zsh",
))
# fmt: on
MAX_LINE: Final = 500  # characters; a longer line is plain

# Seconds of processor time. Lexing takes some 30 microseconds a line and 2 a character, and 20 ms for a new language.
MAX_TIME: Final = 0.2  # that unused time adds up to, for a line that takes longer
TIME_PER_LINE: Final = 200e-6
TIME_PER_CHARACTER: Final = 10e-6


class CodeStyler:
    """Styles the blocks of code of one reply. If a lexer is slow or fails, the rest of the reply's code is plain."""

    def __init__(self) -> None:
        self._lexer: LineLexer | None = None
        self._time = MAX_TIME  # seconds that the next line may take

    def begin(self, info: str) -> None:
        """A block begins; `info` is what follows its fence."""
        language, *_others = [*info.lower().split(), ""]
        self._lexer = None
        if language in LANGUAGES and self._time > 0:
            from securechat.client.terminal import lexing

            self._lexer = lexing.make_lexer(language)

    def feed(self, line: str) -> Row:
        """The spans of the next line, whose text together is the line."""
        if self._lexer is None or len(line) > MAX_LINE:
            return [(Style.PLAIN, line)]
        limit = min(MAX_TIME, self._time + TIME_PER_LINE + TIME_PER_CHARACTER * len(line))
        before = time.process_time()
        try:
            row = with_cpu_limit(limit, partial(self._lexer.feed, line))
        except Exception:  # the lexer is not ours, and may raise anything
            self._give_up()
            return [(Style.PLAIN, line)]
        self._time = limit - (time.process_time() - before)
        if self._time <= 0:
            self._give_up()
        return row

    def _give_up(self) -> None:
        self._lexer = None
        self._time = 0.0
