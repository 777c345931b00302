"""A script of the offline robot: rules in one language, and how they are applied."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from string import Formatter
from typing import Final

from securechat.robots.sums import solved

MAX_REST: Final = 60  # characters of the user's words that are said back or remembered
RECALL_EVERY: Final = 3  # messages in which no phrase was found, till one is answered with something remembered
HERE_AND_NOW: Final = frozenset({"rest", "phrase", "sum", "time", "date", "weekday"})  # facts that do not last

_CLAUSE_END = re.compile(r"[,.;:!?\n，。；：！？、…]| and | but ")


def names_in(answer: str) -> set[str]:
    """The facts that an answer names; ValueError if it is badly written."""
    return {name for _text, name, _spec, _conversion in Formatter().parse(answer) if name is not None}


@dataclass(frozen=True, slots=True)
class Phrase:
    """What to look for; with a second part, for what stands between the two."""

    start: str
    end: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """Phrases, what is said when one of them is found, and what is remembered: lasting facts, and what becomes one."""

    phrases: Sequence[Phrase]
    answers: Sequence[str]
    remembers: Mapping[str, str] = field(default_factory=dict)

    def choose(self, facts: Mapping[str, str], times: int) -> str | None:
        """Of the answers all of whose facts are known, those with the most memory; of them another each time."""
        recalled: dict[int, list[str]] = {}
        for answer in self.answers:
            names = names_in(answer)
            if names <= facts.keys():
                recalled.setdefault(len(names - HERE_AND_NOW), []).append(answer)
        if not recalled:
            return None
        best = recalled[max(recalled)]
        return best[times % len(best)].format_map(facts)


@dataclass(frozen=True, slots=True)
class Match:
    """The rule that applies to a text, and the facts that it found there."""

    rule: Rule
    facts: Mapping[str, str]

    @property
    def remembered(self) -> dict[str, str]:
        return {name: self.facts[fact] for name, fact in self.rule.remembers.items() if fact in self.facts}


@dataclass(frozen=True)
class Script:
    """All rules of a language, in the order in which they are tried, and those for when none applies."""

    rules: Sequence[Rule]
    sum: Rule
    memory: Rule
    nothing: Rule
    reflections: Mapping[str, str]
    weekdays: Sequence[str]  # from Monday
    words: bool  # whether the language sets spaces between words; then a phrase matches whole ones
    endings: tuple[str, ...]  # particles without which what was said is said back

    @cached_property
    def _reflected(self) -> re.Pattern[str]:
        edge = r"\b" if self.words else ""
        longest_first = sorted(self.reflections, key=len, reverse=True)
        return re.compile(f"{edge}(?:{'|'.join(map(re.escape, longest_first))}){edge}", re.IGNORECASE)

    def match(self, text: str) -> Match:
        """The first rule with a phrase in the text; `nothing` if there is none."""
        text = re.sub(r"[^\S\n]+", " ", text.replace("\u2019", "'"))
        result = solved(text)
        if result is not None:
            return Match(self.sum, {"sum": result})
        lower = text.lower()
        if len(lower) != len(text):  # there are letters that grow; what was found has to be where it was found
            lower = text
        for rule in self.rules:
            for phrase in rule.phrases:
                place = self._place(lower, phrase)
                if place is not None:
                    rest = self._said_back(text[place])
                    facts = {"phrase": phrase.start}
                    return Match(rule, facts | {"rest": rest} if rest else facts)
        return Match(self.nothing, {})

    def answer(self, rule: Rule, facts: Mapping[str, str], times: int) -> str:
        """What to say when a rule applies that has applied so many times before."""
        said = rule.choose(facts, times)
        if rule is self.nothing and times % RECALL_EVERY == RECALL_EVERY - 1:
            said = self.memory.choose(facts, times // RECALL_EVERY) or said
        said = said or self.nothing.choose(facts, times)
        assert said is not None  # some answer of `nothing` needs no fact
        return said

    def clock(self, now: datetime) -> dict[str, str]:
        """The facts about a time."""
        return {"time": f"{now:%H:%M}", "date": f"{now:%Y-%m-%d}", "weekday": self.weekdays[now.weekday()]}

    def _place(self, text: str, phrase: Phrase) -> slice | None:
        """Of a phrase in the text: what follows it in its clause, or stands between its parts. None: not there."""
        start = self._find(text, phrase.start)
        if start < 0:
            return None
        start += len(phrase.start)
        end_of_clause = _CLAUSE_END.search(text, start)
        end = end_of_clause.start() if end_of_clause else len(text)
        if phrase.end:
            end = self._find(text[:end], phrase.end, start)
        return slice(start, end) if end >= 0 else None

    def _find(self, text: str, part: str, start: int = 0) -> int:
        """Where a part of a phrase is; -1 if it is not there."""
        while (start := text.find(part, start)) >= 0:
            if not self.words or not (_in_word(text, start) or _in_word(text, start + len(part))):
                break
            start += 1
        return start

    def _said_back(self, rest: str) -> str:
        """Trimmed, short, and with "I" and "you" exchanged."""
        rest = rest.strip(" \"'“”‘’「」()（）")
        while rest.endswith(self.endings):
            rest = rest[:-1]
        if len(rest) > MAX_REST:
            shorter = rest[:MAX_REST]
            rest = (shorter.rpartition(" ")[0] or shorter) + "…"
        return self._reflected.sub(lambda found: self.reflections[found[0].lower()], rest)


def _in_word(text: str, at: int) -> bool:
    """Whether a word goes on across a place in the text."""
    return text[at - 1 : at].isalnum() and text[at : at + 1].isalnum()
