"""The settings of the robot `openai`."""

from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta
from twisted.python.url import URL

from securechat.i18n import N_, _
from securechat.robots.openai.headers import is_secret, parse_header
from securechat.robots.settings import MaxConcurrent, Seconds, parse_url
from securechat.settings import Settings

Temperature = Annotated[float, Meta(ge=0, le=2)]
ALL_MODELS: Final = "*"

Tokens = Annotated[int, Meta(ge=1, le=1_000_000)]


def base_url(text: str) -> str:
    """The URL to which paths are added. One without a path is that of a server, whose API is at ``/v1``.

    ``/chat/completions`` is removed; if that is the whole path, the API is at the root.
    """
    url = URL.fromText(parse_url(text))
    path = [segment for segment in url.path if segment] or ["v1"]
    if path[-2:] == ["chat", "completions"]:
        path = path[:-2] or [""]
    return url.replace(path=path, fragment="").to_text()


def parse_models(text: str) -> frozenset[str]:
    """Names from a list with commas; ValueError if one is empty, or if there are others beside ``*``."""
    names = frozenset(name.strip() for name in text.split(","))
    if "" in names or (ALL_MODELS in names and len(names) > 1):
        raise ValueError(_("expected names separated by commas, or *"))
    return names


class OpenAISettings(Settings, frozen=True):
    """What an operator can set for a language model."""

    url: Annotated[
        tuple[str, ...],
        Meta(
            description=N_("base URL of the API; can be repeated, for several servers with the same models"),
            extra={"parse": base_url, "private": True},
        ),
    ] = ("http://127.0.0.1:11434/v1",)  # Ollama's

    model: Annotated[
        str | None,
        Meta(description=N_("name of the model"), extra={"default": N_("the first that the server lists")}),
    ] = None

    models: Annotated[
        frozenset[str] | None,
        Meta(
            description=N_("models that API requests may name, separated by commas, or * for all"),
            extra={"parse": parse_models, "default": N_("the one that is set with model, or else all")},
        ),
    ] = None

    key_file: Annotated[
        Path | None,
        Meta(
            description=N_("file with the API key, readable only by its owner"),
            extra={"default": N_("the variable SECURECHAT_OPENAI_KEY, if it is set")},
        ),
    ] = None

    header: Annotated[
        tuple[str, ...],
        Meta(
            description=N_("additional header of requests, NAME:VALUE; can be repeated"),
            extra={"parse": parse_header, "private": True, "is_secret": is_secret},
        ),
    ] = ()

    header_file: Annotated[
        Path | None,
        Meta(description=N_("file with additional headers, one on each line, readable only by its owner")),
    ] = None

    system: Annotated[str | None, Meta(description=N_("system prompt"))] = None

    system_file: Annotated[Path | None, Meta(description=N_("file with the system prompt, in UTF-8"))] = None

    system_for_api: Annotated[
        bool, Meta(description=N_("put the system prompt before the messages of API requests as well"))
    ] = False

    temperature: Annotated[
        Temperature | None,
        Meta(description=N_("sampling temperature"), extra={"default": N_("the server's")}),
    ] = None

    max_tokens: Annotated[
        Tokens | None,
        Meta(
            description=N_("maximum length of a reply in tokens"),
            extra={"default": N_("the server's")},
        ),
    ] = None

    first_timeout: Annotated[Seconds, Meta(description=N_("time allowed from the question to the first token"))] = (
        300.0  # a large model is first loaded from disk
    )

    timeout: Annotated[Seconds, Meta(description=N_("time allowed between two tokens"))] = 30.0

    stream: Annotated[bool, Meta(description=N_("show the reply as it is generated"))] = True

    max_concurrent: MaxConcurrent = 4  # Ollama's own default

    @property
    def allowed_models(self) -> frozenset[str] | None:
        """The models that API requests may name; None: all of them."""
        if self.models is not None:
            return None if ALL_MODELS in self.models else self.models
        return None if self.model is None else frozenset({self.model})
