"""Deciding about an API request, in the order of the protocol (section 8, "API requests").

The decisions before these are not about the request itself: FAULT 6 (memory), then FAULT 8 (places and rate).
"""

from collections.abc import Set
from typing import NamedTuple

from securechat.calls.bodies import Body, InvalidBodyError
from securechat.calls.errors import api_error
from securechat.calls.paths import Route, find_route
from securechat.conversation import Upstream, Usage
from securechat.errors import Fault
from securechat.i18n import _


class Request(NamedTuple):
    """A request to be answered; a GET has no body."""

    route: Route
    body: Body | None


class ApiCall(NamedTuple):
    """A request of a user, allowed by the server."""

    request: Request
    user_id: str  # the user's pseudonym, which replaces the field `user`
    queue_key: str  # as in Conversation
    upstream: Upstream | None  # as in Conversation
    usage: Usage | None = None  # as in Conversation; None: not counted


class Refusal(NamedTuple):
    """An answer of the daemon itself: a FAULT or, if that is None, a RESULT with a status and a JSON error."""

    fault: Fault | None
    status: int = 0
    error: bytes = b""
    retry_after: int = 0  # seconds; 0 if that is not known


class Access(NamedTuple):
    """What a user may request."""

    is_allowed: bool
    models: Set[str] | None  # None if all of them


def examine(path: str, body: bytes, access: Access) -> Request | Refusal:
    """The request in a CALL, or why it is refused: the first that applies of FAULT 11, FAULT 10, 400 and 404."""
    if not access.is_allowed:
        return Refusal(Fault.NOT_ALLOWED)
    route = find_route(path)
    if route is None:
        return Refusal(Fault.NOT_FOUND)
    if route.method == "GET":
        if body:
            return Refusal(None, 400, api_error(_("a GET request has no body")))
        request, model, has_model = Request(route, None), route.model, route.model is not None
    else:
        try:
            request = Request(route, Body(body))
        except InvalidBodyError as error:
            return Refusal(None, 400, api_error(str(error)))
        assert request.body is not None
        model, has_model = request.body.model, True
    if has_model and access.models is not None and model not in access.models:
        message = _("the model is not one of those that you may use: {models}")
        message = message.format(models=", ".join(sorted(access.models)))
        return Refusal(None, 404, api_error(message, "model", "model_not_found"))
    return request
