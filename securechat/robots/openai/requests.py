"""Requests to OpenAI-compatible servers."""

import json
from collections.abc import Sequence
from typing import Any

from securechat.conversation import Speaker, Turn


def request(
    model: str,
    turns: Sequence[Turn],
    *,
    user: str | None = None,
    system: str | None = None,
    stream: bool = True,
    **options: float | None,
) -> bytes:
    """The JSON of a request. Optional fields are left out unless configured: strict servers reject unknown fields.

    With `user`, a pseudonym, the request also asks for the number of tokens in a stream.
    """
    messages = [{"role": "system", "content": system}] if system else []
    messages += [
        {"role": "user" if turn.speaker is Speaker.USER else "assistant", "content": turn.text} for turn in turns
    ]
    body: dict[str, Any] = {"model": model, "messages": messages}
    body |= {name: value for name, value in options.items() if value is not None}
    if stream:
        body["stream"] = True
    if user is not None:
        body["user"] = user
        if stream:
            body["stream_options"] = {"include_usage": True}
    return json.dumps(body, ensure_ascii=True).encode("ascii")
