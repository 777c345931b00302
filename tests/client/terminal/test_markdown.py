"""Markdown on a screen."""

import random
import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.sanitize import MAX_MARKS
from securechat.client.terminal.inline import LOOKAHEAD
from securechat.client.terminal.markdown import MAX_LINE, MAX_PROSE, MAX_TABLE, MAX_UNDECIDED, Styler
from securechat.client.terminal.styles import Row, Style, cut, plain, render, width

PIECES = (
    *(
        "*",
        "**",
        "***",
        "_",
        "`",
        "``",
        "```",
        "~~",
        "\n",
        "\n\n",
        " ",
        "    ",
        "\t",
        "|",
        "|-|:-:|\n",
        "\\",
        "<http://a>",
    ),
    *("a", "bc ", "word", "中", "，", "（", "# ", "- ", "---", "> ", "1. ", "[x](y)", "[", "](", "!", "é", "e\u0301"),
    *("\u200b", "\u200d", "\x1b[31m", "👨\u200d👩\u200d👧", "🇩🇪", "```py\n", "~~~\n", "x" * 30),
    *("\n```py\n", "\n```c\n", "\n```html\n", "\n```\n", "\ndef f():\n", "/*", '"""', "<script>", "x = 1 # y"),
)
SOURCES = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)
MARK = "\u0301"
CORPUS = """# Title

A paragraph with **bold *and* `code`**, a [link](https://example.org/a_b) and snake_case_names, 5*3*2, broken at words.

- one
  - two 中文列表项：这是一个很长的列表项，用来测试换行。
10. ten

> quoted **text**

```python
def f():
    '''Of several

    lines.'''
    return 1
```

| a | 名 |
|--|-:|
| `x|y` | 2 |

***
    indented
The end
"""


def styled(source: str, columns: int = 40, *, keep_marks: bool = False, sizes: list[int] | None = None) -> list[Row]:
    """The rows of a text that arrives in pieces of these sizes."""
    styler = Styler(keep_marks=keep_marks)
    rows: list[Row] = []
    for size in sizes or []:
        rows += styler.feed(source[:size], columns)
        source = source[size:]
    return [*rows, *styler.feed(source, columns), *styler.end(columns)]


def shown(source: str, columns: int = 40, *, keep_marks: bool = False) -> list[str]:
    return [plain(row) for row in styled(source, columns, keep_marks=keep_marks)]


class StylerTests(SynchronousTestCase):
    """What is displayed of each element."""

    def test_blankLines(self) -> None:
        """Blank lines are kept within a reply, and dropped around it."""
        self.assertEqual(shown("\n\na\n\n\nb\n```\n\nc\n\n```\n\n"), ["a", "", "", "b", "```", "", "c", "", "```"])
        for line, row in (
            ("```", "```"),
            ("- b", "• b"),
            ("***", "─" * 24),
            ("    b", "    b"),
            ("|b|", "|b|"),
            ("b", "b"),
        ):
            self.assertEqual(shown(f"a\n\n{line}\n"), ["a", "", row])

    def test_heading(self) -> None:
        """A heading is bold, without its marks."""
        self.assertEqual(
            styled("## A *b*\n#no\n"),
            [[(Style.BOLD, "A "), (Style.BOLD | Style.UNDERLINE, "b")], [(Style.PLAIN, "#no")]],
        )

    def test_emphasis(self) -> None:
        """Emphasis is displayed, and its marks are not; marks that are none stay."""
        [row] = styled("**a** *b* __c__ _d_ ***e*** ~~f~~", 80)
        self.assertEqual(plain(row), "a b c d e f")
        both = Style.BOLD | Style.UNDERLINE
        wanted = [Style.BOLD, Style.UNDERLINE, Style.BOLD, Style.UNDERLINE, both, Style.DIM]
        self.assertEqual([style for style, text in row if text.strip()], wanted)
        for text in ("5*3*2", "snake_case_name", "* * a", "2 * 3 * 4", "**open", "a ** b", "~/x ~/y", "*a\\*", "`*"):
            [row] = styled(text)
            self.assertEqual({style for style, _text in row} - {Style.PLAIN}, set(), text)
        self.assertEqual(shown("这是**重点**。"), ["这是重点。"])

    def test_code(self) -> None:
        """Inline code is displayed as it is; a backslash escapes outside of it."""
        self.assertEqual(styled("`a*b*` ``c`d``"), [[(Style.CODE, "a*b*"), (Style.PLAIN, " "), (Style.CODE, "c`d")]])
        self.assertEqual(shown("\\*a\\* \\`b\\` \\c `\\*`"), ["*a* `b` \\c \\*"])

    def test_links(self) -> None:
        """A link is displayed with its target."""
        [row] = styled('[a *b*](https://x.org "t") <https://y.org> [z] ![i](j) [k](k)', 80)
        self.assertEqual(plain(row), "a b (https://x.org) https://y.org [z] i (j) k")
        self.assertIn((Style.LINK, "https://x.org"), row)

    def test_lists(self) -> None:
        """Items have a hanging indent, and keep their nesting."""
        self.assertEqual(
            shown("- one two three\n  - four five six\n10. seven eight\n    more\n+ x\n", 12),
            ["• one two", "  three", "  • four", "    five six", "10. seven", "    eight", "    more", "• x"],
        )

    def test_quotes(self) -> None:
        """Quotes have a line at their side."""
        self.assertEqual(shown("> one two three\n>> four", 10), ["│ one two", "│ three", "│ │ four"])

    def test_rules(self) -> None:
        """A rule is a line, and an item or a word is none."""
        self.assertEqual(shown("---\n* * *\n-- -x\n", 5), ["─" * 5, "─" * 5, "-- -x"])

    def test_codeBlocks(self) -> None:
        """Code is never broken, padded or changed, but for the indentation of its fence."""
        long = "x = 1  # " + "long " * 50
        self.assertEqual(shown(f"```py\n{long}\n\tt *a* # b\n```\nq"), ["```py", long, "\tt *a* # b", "```", "q"])
        self.assertEqual(shown("- a\n  ```\n  if x:\n      y\n  ```"), ["• a", "```", "if x:", "    y", "```"])
        self.assertEqual(shown("````\n```\nx\n````"), ["````", "```", "x", "````"])
        self.assertEqual(shown("~~~\n```\n~~~"), ["~~~", "```", "~~~"])
        self.assertEqual(shown("a\n\n    indented  code *x*"), ["a", "", "    indented  code *x*"])
        self.assertEqual(shown("```x``` is code"), ["x is code"])

    def test_colouredCode(self) -> None:
        """Code has the colours of its language on a terminal with styles, and none without."""
        self.assertEqual(
            styled("```py\nif x:\n```\nif x:\n```\nif x:"),
            [
                [(Style.DIM, "```py")],
                [(Style.KEYWORD, "if"), (Style.PLAIN, " x:")],
                [(Style.DIM, "```")],
                [(Style.PLAIN, "if x:")],
                [(Style.DIM, "```")],
                [(Style.PLAIN, "if x:")],
            ],
        )
        self.assertEqual(styled("```py\nif x:", keep_marks=True)[1], [(Style.PLAIN, "if x:")])

    def test_prose(self) -> None:
        """Prose is broken at words, between Chinese characters, and never before or after the wrong punctuation."""
        self.assertEqual(shown("one two three", 8), ["one two", "three"])
        self.assertEqual(shown("中文字符，中文", 8), ["中文字", "符，中文"])
        self.assertEqual(shown("中文字（中文）", 8), ["中文字", "（中文）"])
        self.assertEqual(shown("a https://example.org/long b", 10), ["a", "https://example.org/long", "b"])
        self.assertEqual(max(map(width, shown("word " * 100, 300))), MAX_PROSE - MAX_PROSE % 5 - 1)

    def test_tables(self) -> None:
        """The columns of a table are aligned by their width on the screen."""
        source = "| a | b | 名 |\n|---|--:|:-:|\n| `x|y` | 22 | 中文字 |\n| long |\nend"
        self.assertEqual(shown(source), ["a      b    名", "----  --  ------", "x|y   22  中文字", "long", "end"])

    def test_wideTables(self) -> None:
        """A table that is too wide is displayed cell by cell."""
        source = "|name|text|\n|-|-|\n|a|one two three four|\n|b|five|\n"
        self.assertEqual(shown(source, 14), ["name: a", "text: one two", "  three four", "", "name: b", "text: five"])

    def test_noTables(self) -> None:
        """Lines with bars that are no table are prose."""
        self.assertEqual(shown("|a|\n|b|\n\n|c|"), ["|a|", "|b|", "", "|c|"])
        self.assertEqual(shown("|-" * 70 + "\n" + "|-" * 70)[0], "|-" * 70)

    def test_marksAreKept(self) -> None:
        """For a screen without styles, marks stay in the text."""
        source = "# A\n**b** `c` [d](e)\n- f\n> g\n---\n"
        self.assertEqual(shown(source, keep_marks=True), ["# A", "**b** `c` [d](e)", "- f", "| g", "---"])

    def test_unfinished(self) -> None:
        """The row so far has all the text that has arrived."""
        styler = Styler()
        for text, unfinished in (("# He", "He"), ("ad **bo", "Head **bo"), ("ld** x", "Head bold x")):
            self.assertEqual(styler.feed(text, 40), [])
            self.assertEqual(plain(styler.unfinished), unfinished)
        self.assertEqual([plain(row) for row in styler.feed("\n`", 40)], ["Head bold x"])
        self.assertEqual(plain(styler.unfinished), "`")

    def test_hostile(self) -> None:
        """Control characters do not reach a row, and no text looks like the client's."""
        own = Style.USER | Style.ROBOT | Style.NOTICE | Style.ERROR
        for keep_marks in (False, True):
            for row in styled(
                "\x1b]52;c;eA==\x07 **\x9b2J** `\u202e` \u200b\r\n> \x1b[33mx\n|\x1b|\n|-|\n", keep_marks=keep_marks
            ):
                self.assertTrue(plain(row).isprintable(), row)
                self.assertEqual([style & own for style, _text in row], [Style.PLAIN] * len(row))

    @given(SOURCES, st.lists(st.integers(1, 9)), st.booleans())
    def test_pieces(self, source: str, sizes: list[int], keep_marks: bool) -> None:
        """The rows do not depend on how the text was divided."""
        for columns in (10, 40):
            whole = styled(source, columns, keep_marks=keep_marks)
            self.assertEqual(styled(source, columns, keep_marks=keep_marks, sizes=sizes), whole)

    def test_corpus(self) -> None:
        """The rows of a reply do not depend on how it was divided."""
        chance = random.Random(1)
        for columns in (20, 79, 199):
            whole = styled(CORPUS, columns)
            for _attempt in range(50):
                sizes = [chance.randint(1, 12) for _piece in range(200)]
                self.assertEqual(styled(CORPUS, columns, sizes=sizes), whole)

    def test_limits(self) -> None:
        """At each limit, the rows do not depend on how the text was divided, either."""
        for source in (
            *("*" + "a " * LOOKAHEAD + "*", "`" + "a" * (LOOKAHEAD - 2) + "`b`", "[" + "x" * LOOKAHEAD + "](y)"),
            *("-" * (MAX_UNDECIDED + 50), " " * (MAX_UNDECIDED - 1) + "- x", " " * MAX_UNDECIDED + "- x"),
            *("    " + "x" * MAX_LINE + "y\n- x", "|" * (MAX_LINE + 5) + "\nx", "y" * 5000),
            "|a|\n|-|\n" + "|b|\n" * MAX_TABLE,
        ):
            whole = styled(source)
            for size in (1, 7, 1000):
                self.assertEqual(styled(source, sizes=[size] * (len(source) // size)), whole, source[:20])

    @given(SOURCES, st.sampled_from(("py", "c", "html", "json", "yaml", "bash")))
    def test_colours(self, source: str, language: str) -> None:
        """Without the escape sequences, code with colours is code without."""
        code = f"{source.replace('```', '')}\n```"
        [first, *plain_rows] = [render(row, styled=True) for row in styled(f"```none\n{code}")]
        rows = [re.sub(r"\x1b\[[\d;]+m", "", render(row, styled=True)) for row in styled(f"```{language}\n{code}")]
        self.assertEqual(rows, [f"```{language}", *(re.sub(r"\x1b\[[\d;]+m", "", row) for row in plain_rows)])
        self.assertEqual(first, "\x1b[2m```none\x1b[0m")

    @given(SOURCES)
    def test_nothingIsLost(self, source: str) -> None:
        """With marks, each character that is no space is displayed, in order, except in tables."""
        source = source.replace("|", "")
        text = "".join("".join(shown(source, keep_marks=True)).split())
        for letter in "中word":
            self.assertGreaterEqual(text.count(letter), source.count(letter))

    def test_rowsFit(self) -> None:
        """Prose of short words fits into the columns."""
        for row in shown("（字），" * 50 + " word" * 50, 21):
            self.assertLessEqual(width(row), 21)


class RenderTests(SynchronousTestCase):
    """What a terminal gets of a row."""

    def test_render(self) -> None:
        """Only the escape sequences of styles reach the terminal, and without styles none."""
        row = [(Style.BOLD | Style.CODE, "a\x1b[2J\n"), (Style.PLAIN, "b\x9b"), (Style.USER, "")]
        self.assertEqual(render(row, styled=True), "\x1b[1;36ma\ufffd[2J \x1b[0mb\ufffd")
        self.assertEqual(render(row, styled=False), "a\ufffd[2J b\ufffd")

    def test_piles(self) -> None:
        """Marks do not pile up, either if the marks of Markdown between them are not displayed."""
        [row] = styled("e" + "`\u0301`" * 20 + "*\u0301*" * 20)
        for text in (render(row, styled=False), plain(cut(row, 80))):
            self.assertNotIn("\u0301" * (MAX_MARKS + 1), text)

    @given(
        st.lists(
            st.sampled_from(("a", "中", "❤\ufe0f", "🇩🇪", "👨\u200d👩\u200d👧", "e" + MARK, "\t", "x" * 20)), max_size=20
        )
    )
    def test_cut(self, parts: list[str]) -> None:
        """A row that is cut fits, and is not shorter than it has to be."""
        row = [(Style.PLAIN, part) for part in parts]
        for columns in (0, 1, 10, 39):
            text = plain(cut(row, columns))
            whole = "".join(parts).replace("\t", "    ")
            self.assertLessEqual(width(text), columns)
            self.assertTrue(whole.startswith(text))
            if text != whole:
                self.assertGreaterEqual(width(text), columns - 2)
