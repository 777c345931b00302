"""Reading the offline robot's scripts; how one is written is said at the head of `eliza.en.txt`."""

from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from configparser import Error as SyntaxProblem
from importlib.resources import files
from typing import Final

from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.robots.eliza_script import HERE_AND_NOW, Phrase, Rule, Script, names_in

LANGUAGE: Final = "language"
REFLECT: Final = "reflect"
WITHOUT_PHRASES: Final = ("sum", "memory", "nothing")
KEYS: Final = frozenset({"when", "remember", "remember phrase", "say"})
DAYS: Final = 7

Section = Mapping[str, str]


def load_script(language: str) -> Script:
    """A script that comes with the robot. ConfigurationError if somebody broke it."""
    name = f"eliza.{language}.txt"
    return parse_script(files(__package__).joinpath(name).read_text("utf-8"), name)


def parse_script(text: str, source: str) -> Script:
    """A script from its text; ConfigurationError, with its source and the rule at fault, if it is none."""
    parser = ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    try:
        parser.read_string(text)
        return _script({name: dict(parser[name]) for name in parser.sections()})
    except (ValueError, SyntaxProblem) as error:
        problem = " ".join(str(error).split())
        raise ConfigurationError(_("{path}: {problem}").format(path=source, problem=problem)) from None


def _script(sections: Mapping[str, Section]) -> Script:
    for name in (LANGUAGE, REFLECT, *WITHOUT_PHRASES):
        if name not in sections:
            raise ValueError(_("there is no section [{name}]").format(name=name))
    rules = {name: _rule(name, section) for name, section in sections.items() if name not in (LANGUAGE, REFLECT)}
    known = HERE_AND_NOW.union(*(rule.remembers for rule in rules.values()))
    for name, rule in rules.items():
        for answer in rule.answers:
            for fact in _names_in(name, answer) - known:
                raise ValueError(_("[{name}]: nothing remembers {fact}").format(name=name, fact="{" + fact + "}"))
    sum_rule, memory, nothing = (rules.pop(name) for name in WITHOUT_PHRASES)
    if nothing.choose({}, 0) is None:
        raise ValueError(_("[{name}]: an answer without a fact is needed").format(name="nothing"))
    language = sections[LANGUAGE]
    weekdays = language.get("weekdays", "").split()
    if len(weekdays) != DAYS:
        raise ValueError(_("[{name}]: a week has seven days").format(name=LANGUAGE))
    return Script(
        rules=tuple(rules.values()),
        sum=sum_rule,
        memory=memory,
        nothing=nothing,
        reflections=sections[REFLECT],
        weekdays=weekdays,
        words=language.get("words") == "yes",
        endings=tuple(language.get("endings", "").split()),
    )


def _rule(name: str, section: Section) -> Rule:
    for key in section.keys() - KEYS:
        raise ValueError(_("[{name}]: unknown line {key}").format(name=name, key=key))
    phrases = tuple(Phrase(*line.split("*", 1)) for line in _lines(section, "when"))
    answers = tuple(_lines(section, "say"))
    if not answers or (not phrases and name not in WITHOUT_PHRASES):
        raise ValueError(_("[{name}]: phrases or answers are missing").format(name=name))
    remembers = {
        section[key]: fact for key, fact in (("remember", "rest"), ("remember phrase", "phrase")) if key in section
    }
    return Rule(phrases, answers, remembers)


def _names_in(name: str, answer: str) -> set[str]:
    try:
        return names_in(answer)
    except ValueError:
        raise ValueError(_("[{name}]: a brace is missing: {answer}").format(name=name, answer=answer)) from None


def _lines(section: Section, key: str) -> Iterator[str]:
    return (line.strip() for line in section.get(key, "").splitlines() if line.strip())
