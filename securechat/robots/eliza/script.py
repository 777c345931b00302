"""A script of the offline robot: rules in one language, and how they are applied.

How one is written is said at the head of `en.txt`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from configparser import ConfigParser
from dataclasses import dataclass
from functools import cached_property
from string import Formatter
from typing import Final

MAX_REST: Final = 60  # characters of the user's words that are said back or remembered
RECALL_EVERY: Final = 3  # messages in which no phrase was found, till one is answered with something remembered

_CLAUSE_END: Final = re.compile(r"[,.;:!?\n，。；：！？、…~～]| and | but ")
_QUOTES: Final = " \"'“”‘’「」()（）"
_PARTICLES: Final = tuple("了吧呢啊呀嘛哦啦")  # at a sentence's end; without them a part of it can be said back


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """Phrases, what is said when one of them is found, and the name under which what follows it is remembered."""

    phrases: Sequence[str]
    answers: Sequence[str]
    remember: str | None = None

    def __post_init__(self) -> None:
        if not self.answers:
            raise ValueError("a rule without an answer")

    def candidates(self, facts: Mapping[str, str], times: int) -> list[str]:
        """What can be said with what is known: the answers that tell most of it, from another one on each time."""
        by_names: dict[int, list[str]] = {}
        for answer in self.answers:
            names = names_in(answer)
            if names <= facts.keys():
                by_names.setdefault(len(names - {"rest"}), []).append(answer.format_map(facts))
        best = by_names[max(by_names)] if by_names else []
        first = times % len(best) if best else 0
        return best[first:] + best[:first]


def names_in(answer: str) -> set[str]:
    """What an answer names."""
    return {name for _text, name, _spec, _conversion in Formatter().parse(answer) if name is not None}


class Script:
    """The rules of one language."""

    def __init__(self, text: str, *, words: bool) -> None:
        """`words`: the language has words, and a phrase matches whole ones. ValueError, KeyError: it is no script."""
        parser = ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
        parser.read_string(text)
        self._words = words
        self._reflections = dict(parser["reflect"])
        self._memory, self._wordless, self._numbers, self._nothing = (
            _rule(parser[name]) for name in ("memory", "wordless", "numbers", "nothing")
        )
        rules = [_rule(parser[name]) for name in parser.sections() if "when" in parser[name]]
        self._phrases = [(phrase, rule) for rule in rules for phrase in rule.phrases]  # in the order of their rank

    def answer(self, said: Sequence[str], heard: Sequence[str] = (), known: Mapping[str, str] | None = None) -> str:
        """What to say to the last of what the user said.

        `heard` is what the user was told, of which nothing is said again while there is something else to say; `known`
        is what is known besides what can be found in `said`. All are the oldest first.
        """
        matches = [self._match(text) for text in said]
        rule, rest = matches[-1]
        facts = {**(known or {}), **_remembered(matches)}
        if rest:
            facts["rest"] = rest
        times = sum(earlier is rule for earlier, _rest in matches) - 1
        answers = rule.candidates(facts, times)
        if len(answers) < 2:  # not enough for who asks the same twice
            answers += self._nothing.candidates(facts, times)
        if rule is self._nothing and times % RECALL_EVERY == RECALL_EVERY - 1:
            memories = self._memory.candidates(facts, times // RECALL_EVERY)
            answers = [memory for memory in memories if memory not in heard] or answers
        return min(answers, key=lambda answer: _last_place(heard, answer))  # of equals it is the first

    def remembered(self, said: Sequence[str]) -> dict[str, str]:
        """What the user told, by the names under which the rules remember it."""
        return _remembered([self._match(text) for text in said])

    def _match(self, text: str) -> tuple[Rule, str]:
        """The first rule with a phrase in the text, and what follows the phrase in its clause, reflected."""
        text = text.replace("\u2019", "'")
        lower = text.lower()
        if len(lower) != len(text):  # there are letters that grow; what was found has to be where it was found
            lower = text
        for phrase, rule in self._phrases:
            if phrase in lower and (end := self._find(lower, phrase)) >= 0:
                return rule, self._said_back(_CLAUSE_END.split(text[end:], maxsplit=1)[0])
        if any(map(str.isalpha, text)):
            return self._nothing, ""
        return (self._numbers if any(map(str.isdigit, text)) else self._wordless), ""

    def _find(self, text: str, phrase: str) -> int:
        """Where the phrase ends in the text; -1 if it is not there."""
        start = text.find(phrase)
        while start >= 0:
            end = start + len(phrase)
            if not self._words or not (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum()):
                return end
            start = text.find(phrase, start + 1)
        return -1

    def _said_back(self, rest: str) -> str:
        """Trimmed, short, and with "I" and "you" exchanged."""
        rest = rest.strip(_QUOTES)
        if len(rest) > MAX_REST:
            shorter = rest[:MAX_REST]
            rest = (shorter.rpartition(" ")[0] or shorter) + "…"
        while rest.endswith(_PARTICLES):
            rest = rest[:-1]
        return self._reflected.sub(lambda found: self._reflections[found[0].lower()], rest)

    @cached_property
    def _reflected(self) -> re.Pattern[str]:
        edge = r"\b" if self._words else ""
        longest_first = sorted(self._reflections, key=len, reverse=True)
        return re.compile(f"{edge}(?:{'|'.join(map(re.escape, longest_first))}){edge}", re.IGNORECASE)


def _remembered(matches: Sequence[tuple[Rule, str]]) -> dict[str, str]:
    return {rule.remember: rest for rule, rest in matches if rule.remember and rest}


def _last_place(heard: Sequence[str], answer: str) -> int:
    """Where the answer was given last; -1 if it was not."""
    return max((place for place, text in enumerate(heard) if text == answer), default=-1)


def _rule(section: Mapping[str, str]) -> Rule:
    return Rule(tuple(_lines(section, "when")), tuple(_lines(section, "say")), section.get("remember"))


def _lines(section: Mapping[str, str], key: str) -> Iterator[str]:
    return (line.strip() for line in section.get(key, "").splitlines() if line.strip())
