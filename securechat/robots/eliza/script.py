"""The scripts of the offline robot: rules for one language. Their format is described at the head of `en.txt`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from configparser import ConfigParser
from dataclasses import dataclass
from functools import cached_property
from string import Formatter
from typing import Final

MAX_REST: Final = 60  # characters of the user's words that an answer repeats or that are remembered
RECALL_EVERY: Final = 3  # every third message without a known phrase is answered with a remembered fact

_CLAUSE_END: Final = re.compile(r"[,.;:!?\n，。；：！？、…~～]| and | but ")
_QUOTES: Final = " \"'“”‘’「」()（）"
_PARTICLES: Final = tuple("了吧呢啊呀嘛哦啦")  # at the end of a sentence; removed before a part of it is repeated


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """Phrases, the answers to a message with one of them, and the name of the fact that follows the phrase."""

    phrases: Sequence[str]
    answers: Sequence[str]
    remember: str | None = None

    def __post_init__(self) -> None:
        if not self.answers:
            raise ValueError("a rule without an answer")

    def candidates(self, facts: Mapping[str, str], times: int) -> list[str]:
        """The answers that use most of the known facts. They begin with another one each time."""
        by_names: dict[int, list[str]] = {}
        for answer in self.answers:
            names = names_in(answer)
            if names <= facts.keys():
                by_names.setdefault(len(names - {"rest"}), []).append(answer.format_map(facts))
        best = by_names[max(by_names)] if by_names else []
        first = times % len(best) if best else 0
        return best[first:] + best[:first]


def names_in(answer: str) -> set[str]:
    """The facts that an answer uses."""
    return {name for _text, name, _spec, _conversion in Formatter().parse(answer) if name is not None}


class Script:
    """The rules of one language."""

    def __init__(self, text: str, *, words: bool) -> None:
        """If `words`, phrases match whole words only. ValueError or KeyError if the script is invalid."""
        parser = ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
        parser.read_string(text)
        self._words = words
        self._reflections = dict(parser["reflect"])
        self._memory, self._wordless, self._numbers, self._nothing = (
            _rule(parser[name]) for name in ("memory", "wordless", "numbers", "nothing")
        )
        rules = [_rule(parser[name]) for name in parser.sections() if "when" in parser[name]]
        self._phrases = [(phrase, rule) for rule in rules for phrase in rule.phrases]  # in order of priority

    def answer(self, said: Sequence[str], heard: Sequence[str] = (), known: Mapping[str, str] | None = None) -> str:
        """The answer to the last message in `said`.

        `heard` are the answers so far; none is repeated while there is another. `known` are facts other than those in
        `said`. Both lists begin with the oldest.
        """
        matches = [self._match(text) for text in said]
        rule, rest = matches[-1]
        facts = {**(known or {}), **_remembered(matches)}
        if rest:
            facts["rest"] = rest
        times = sum(earlier is rule for earlier, _rest in matches) - 1
        answers = rule.candidates(facts, times)
        if len(answers) < 2:  # too few for a user who repeats a message
            answers += self._nothing.candidates(facts, times)
        if rule is self._nothing and times % RECALL_EVERY == RECALL_EVERY - 1:
            memories = self._memory.candidates(facts, times // RECALL_EVERY)
            answers = [memory for memory in memories if memory not in heard] or answers
        return min(answers, key=lambda answer: _last_index(heard, answer))  # the first of those given longest ago

    def remembered(self, said: Sequence[str]) -> dict[str, str]:
        """The facts in these messages, by name."""
        return _remembered([self._match(text) for text in said])

    def _match(self, text: str) -> tuple[Rule, str]:
        """The first rule with a phrase in the text, and the rest of the clause after the phrase, reflected."""
        text = text.replace("\u2019", "'")
        lower = text.lower()
        if len(lower) != len(text):  # some letters become two; positions in both texts have to agree
            lower = text
        for phrase, rule in self._phrases:
            if phrase in lower and (end := self._find(lower, phrase)) >= 0:
                return rule, self._reflect(_CLAUSE_END.split(text[end:], maxsplit=1)[0])
        if any(map(str.isalpha, text)):
            return self._nothing, ""
        return (self._numbers if any(map(str.isdigit, text)) else self._wordless), ""

    def _find(self, text: str, phrase: str) -> int:
        """The end of the phrase in the text, or -1."""
        start = text.find(phrase)
        while start >= 0:
            end = start + len(phrase)
            if not self._words or not (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum()):
                return end
            start = text.find(phrase, start + 1)
        return -1

    def _reflect(self, rest: str) -> str:
        """Trimmed, shortened, and with "I" and "you" exchanged."""
        rest = rest.strip(_QUOTES)
        if len(rest) > MAX_REST:
            shorter = rest[:MAX_REST]
            rest = (shorter.rpartition(" ")[0] or shorter) + "…"
        while rest.endswith(_PARTICLES):
            rest = rest[:-1]
        return self._reflection_pattern.sub(lambda found: self._reflections[found[0].lower()], rest)

    @cached_property
    def _reflection_pattern(self) -> re.Pattern[str]:
        edge = r"\b" if self._words else ""
        longest_first = sorted(self._reflections, key=len, reverse=True)
        return re.compile(f"{edge}(?:{'|'.join(map(re.escape, longest_first))}){edge}", re.IGNORECASE)


def _remembered(matches: Sequence[tuple[Rule, str]]) -> dict[str, str]:
    return {rule.remember: rest for rule, rest in matches if rule.remember and rest}


def _last_index(heard: Sequence[str], answer: str) -> int:
    """The index of the last time that the answer was given, or -1."""
    return max((index for index, text in enumerate(heard) if text == answer), default=-1)


def _rule(section: Mapping[str, str]) -> Rule:
    return Rule(tuple(_lines(section, "when")), tuple(_lines(section, "say")), section.get("remember"))


def _lines(section: Mapping[str, str], key: str) -> Iterator[str]:
    return (line.strip() for line in section.get(key, "").splitlines() if line.strip())
