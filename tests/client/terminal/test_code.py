"""The colours of code in a reply."""

import contextlib
import re
import sys
import time
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from pygments.lexer import RegexLexer
from pygments.token import Text
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.terminal import lexing
from securechat.client.terminal.code import LANGUAGES, MAX_LINE, MAX_TIME, CodeStyler
from securechat.client.terminal.cpu_limit import CpuLimitError, with_cpu_limit
from securechat.client.terminal.lexing import MAX_DEPTH, MAX_OPEN, LexingError, LineLexer, make_lexer
from securechat.client.terminal.styles import Row, Style, plain

PIECES = (
    *(
        "def f(a):",
        "class A:",
        '"""',
        "'",
        '"',
        "`${",
        "}",
        "/*",
        "*/",
        "//",
        "#",
        "<!--",
        "-->",
        "<script>",
        "</script>",
    ),
    *("--[[", "]]", "{", "(", "[", "x = 1.5e3", "return", "<<EOF", "EOF", "$x", "@@ -1 +1 @@", "+a", "-b", "%", "\\"),
    *(
        " ",
        "    ",
        "\t",
        "中文",
        "e\u0301",
        "\u200d",
        "\ufffd",
        "f'{a!r:>{w}}'",
        "<?php",
        "&amp;",
        "key: value",
        "=begin",
    ),
)
BLOCKS = st.lists(st.lists(st.sampled_from(PIECES), max_size=8).map("".join), max_size=20)
HANGS = "(a+)+b"  # a pattern that takes 2 ** n steps for n letters


class Slow(RegexLexer):  # type: ignore[misc]
    """A lexer that does not come to an end with some inputs."""

    tokens = {"root": [(HANGS, Text), (r"[^\n]*\n", Text)]}  # noqa: RUF012


class Endless(RegexLexer):  # type: ignore[misc]
    """A lexer that stays where it is."""

    tokens = {"root": [("a*?", Text)]}  # noqa: RUF012


class Broken:
    """A lexer with a bug."""

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, object, str]]:
        raise RecursionError


def colours(language: str, *lines: str) -> list[Row]:
    """The rows of a block of code."""
    styler = CodeStyler()
    styler.begin(language)
    return [styler.feed(line) for line in lines]


class LanguageTests(SynchronousTestCase):
    """What is displayed of the languages."""

    def test_python(self) -> None:
        """Keywords, literals, comments and the names of functions look different; a string goes on in the next line."""
        keyword, literal, text = Style.KEYWORD, Style.LITERAL, Style.PLAIN
        self.assertEqual(
            colours("python", "def f(a=1)", '    """c', "", "if", '    d"""', "    return a"),
            [
                [(keyword, "def"), (text, " "), (Style.BOLD, "f"), (text, "(a="), (literal, "1"), (text, ")")],
                [(text, "    "), (literal, '"""c')],
                [],
                [(literal, "if")],
                [(literal, '    d"""')],
                [(text, "    "), (keyword, "return"), (text, " a")],
            ],
        )

    def test_comments(self) -> None:
        """A comment of several lines is one, although its end is not known while its first line is displayed."""
        for language, begin, end in (
            ("c", "/*", "*/"),
            ("js", "/*", "*/"),
            ("java", "/**", "*/"),
            ("go", "/*", "*/"),
            ("rust", "/*", "*/"),
            ("css", "/*", "*/"),
            ("sql", "/*", "*/"),
            ("html", "<!--", "-->"),
            ("lua", "--[[", "]]"),
        ):
            rows = colours(language, begin, "if 1", f"2 {end}", "x")
            self.assertEqual(rows[:3], [[(Style.DIM, begin)], [(Style.DIM, "if 1")], [(Style.DIM, f"2 {end}")]])
            self.assertNotIn(Style.DIM, [style for style, _text in rows[3]], language)

    def test_embedded(self) -> None:
        """A script in HTML has the colours of its language."""
        rows = colours("html", "<script>", "let x = 1; /* a", "b */ let y", "</script>", "<b>")
        self.assertEqual(rows[1][0], (Style.KEYWORD, "let"))
        self.assertEqual(rows[2][:3], [(Style.DIM, "b */"), (Style.PLAIN, " "), (Style.KEYWORD, "let")])
        self.assertEqual(rows[4], [(Style.PLAIN, "<"), (Style.KEYWORD, "b"), (Style.PLAIN, ">")])

    def test_otherLexers(self) -> None:
        """Languages whose lexers are not made from patterns, or have a context of their own, have colours, too."""
        for language, line, keyword in (("json", '{"a": 1}', '"a"'), ("yaml", "a: 1", "a"), ("ruby", "def f", "def")):
            [row] = colours(language, line)
            self.assertIn((Style.KEYWORD, keyword), row)
        self.assertEqual(colours("console", "$ ls")[0][0], (Style.DIM, "$ "))

    def test_names(self) -> None:
        """The name of a language is the first word after the fence; without a known one, code is plain."""
        for info in ("python", "  Python title=x"):
            self.assertEqual(colours(info, "if"), [[(Style.KEYWORD, "if")]])
        for info in ("", "  ", "text", "pythonx", "brainfuck"):
            self.assertEqual(colours(info, "if"), [[(Style.PLAIN, "if")]])

    def test_allKnown(self) -> None:
        """Pygments knows each of the languages, and a version that does not leaves its code plain."""
        for language in LANGUAGES:
            self.assertIsNotNone(make_lexer(language), language)
        self.assertIsNone(make_lexer("no-such-language"))

    def test_onlyOurs(self) -> None:
        """Code never has the styles of the client's own lines."""
        own = Style.USER | Style.ROBOT | Style.NOTICE | Style.ERROR
        self.assertEqual([style for _kind, style in lexing.STYLES if style & own], [])


class TextTests(SynchronousTestCase):
    """The text of the code."""

    @given(st.sampled_from(sorted(LANGUAGES)), BLOCKS)
    def test_unchanged(self, language: str, lines: list[str]) -> None:
        """The text of each line is displayed exactly as it is."""
        self.assertEqual([plain(row) for row in colours(language, *lines)], lines)

    @given(st.sampled_from(sorted(LANGUAGES)), st.text(max_size=300))
    def test_anyText(self, language: str, text: str) -> None:
        """This holds for any text."""
        lines = text.split("\n")
        self.assertEqual([plain(row) for row in colours(language, *lines)], lines)


class LimitTests(SynchronousTestCase):
    """Code that takes long."""

    def setUp(self) -> None:
        """Not traced: coverage's tracer holds a lock, which stays locked if the exception is raised in it."""
        self.addCleanup(sys.settrace, sys.gettrace())
        sys.settrace(None)

    def use(self, lexer: object) -> None:
        """Let this lexer be the one of all languages."""
        self.patch(lexing, "make_lexer", lambda _language: LineLexer(lexer))

    def test_interrupt(self) -> None:
        """A regular expression that would take years is interrupted, and what follows is not."""
        with self.assertRaises(CpuLimitError):
            with_cpu_limit(0.01, lambda: re.match(HANGS, "a" * 100))
        self.assertEqual(with_cpu_limit(0.01, lambda: "done"), "done")
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass

    def test_lost(self) -> None:
        """Where the first exception is lost, as in a callback of the garbage collector, another one follows."""

        def losing() -> None:
            with contextlib.suppress(CpuLimitError):
                re.match(HANGS, "a" * 100)
            re.match(HANGS, "a" * 100)

        with self.assertRaises(CpuLimitError):
            with_cpu_limit(0.01, losing)

    def test_slowLexer(self) -> None:
        """A lexer that hangs is interrupted; the rest of the reply's code is plain, in later blocks as well."""
        for lexer in (Slow(), Endless()):
            self.use(lexer)
            styler = CodeStyler()
            styler.begin("python")
            before = time.process_time()
            self.assertEqual(styler.feed("a" * 100), [(Style.PLAIN, "a" * 100)])
            self.assertLess(time.process_time() - before, MAX_TIME + 1)
            self.patch(lexing, "make_lexer", make_lexer)
            styler.begin("python")
            self.assertEqual(styler.feed("if"), [(Style.PLAIN, "if")])

    def test_manySlowLines(self) -> None:
        """Lines that each take less than the limit cannot take much longer together."""
        lexed: list[str] = []

        class Idle(Broken):
            def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, object, str]]:
                lexed.append(text)
                end = time.process_time() + MAX_TIME / 5
                while time.process_time() < end:
                    pass
                yield 0, Text, text

        self.use(Idle())
        colours("python", *["a"] * 1000)
        self.assertIn(len(lexed), range(1, 10))  # each takes a fifth of the limit or more, and all less than twice that

    def test_brokenLexer(self) -> None:
        """A lexer that raises an exception leaves the code plain."""
        self.use(Broken())
        self.assertEqual(colours("python", "if", "in"), [[(Style.PLAIN, "if")], [(Style.PLAIN, "in")]])

    def test_longLine(self) -> None:
        """A long line is plain, and the lexer goes on after it."""
        long = "1" * (MAX_LINE + 1)
        self.assertEqual(colours("python", long, "if"), [[(Style.PLAIN, long)], [(Style.KEYWORD, "if")]])
        self.assertEqual(colours("python", long[1:]), [[(Style.LITERAL, long[1:])]])

    def test_longComment(self) -> None:
        """What is lexed again with each line has a limit."""
        lexer = make_lexer("c")
        assert lexer is not None
        lexer.feed("/*")
        for _line in range(MAX_OPEN // 99):
            lexer.feed("x" * 98)
        self.assertRaises(LexingError, lexer.feed, "x" * 98)
        rows = colours("c", "/*", *["x" * 98] * (MAX_OPEN // 99 + 2))
        self.assertEqual([rows[1], rows[-1]], [[(Style.DIM, "x" * 98)], [(Style.PLAIN, "x" * 98)]])

    def test_longBlock(self) -> None:
        """Nothing of a long block is lexed again when the next line comes."""
        lexer = make_lexer("python")
        assert lexer is not None
        for number in range(2000):
            lexer.feed(f'def f{number}(a): return f"{{a}}" + """b"""')
            self.assertEqual(lexer.pending, "")

    def test_nesting(self) -> None:
        """The states of a lexer have a limit."""
        lexer = make_lexer("js")
        assert lexer is not None
        with self.assertRaises(LexingError):
            for _line in range(MAX_DEPTH):
                lexer.feed("`${" * 10)
