"""What a dialect is: a name, a style and a list of calls, mounted under its own prefix and, where nobody else stands, at the
root. A call of the hosted service that the gateway does not offer is a value too, so that it is answered and documented."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.api.http import Endpoint, Group, Style, serve
from gateway.errors import ConfigError, GatewayError
from gateway.services.gateway import Gateway

log = structlog.get_logger("gateway.dialects")

MOST_LISTED = 100                   # of events, or messages, in one request
NATIVE = "/api/v1"                  # nobody else's, whoever has /api


BEARER = {"bearer": {"type": "http", "scheme": "bearer", "description": "An API key: `wagateway keys create NAME`."}}


class Loose(msgspec.Struct, kw_only=True):
    """A request: fields it does not know are ignored, as the hosted services do."""


@dataclass(frozen=True)
class Unsupported:
    """A call that the hosted service has and the gateway does not: 501, naming what to `use`. Method `*`: all of them."""

    method: str
    path: str
    use: str


@dataclass(frozen=True)
class Dialect:
    """`calls` and `unsupported` carry the hosted service's own paths. They are all answered under `/{name}`; those below one
    of `roots` at that place too. `finish` completes every answer."""

    name: str
    title: str
    roots: tuple[str, ...]
    style: Style
    security: Mapping[str, Mapping[str, str]]       # where the key may stand, as OpenAPI's security schemes
    error: type                                     # of the envelope
    calls: Sequence[Endpoint]
    unsupported: Sequence[Unsupported] = ()
    forms: bool = False
    finish: Callable[[Response], None] = lambda response: None

    def group(self) -> Group:
        """For the OpenAPI document, which describes it under its own prefix."""
        text = f"As {self.title} has it."
        if self.roots:
            text = f"{text[:-1]}; also at the root, below {' and '.join(self.roots)}, unless that is another's."
        return Group(self.title, self.calls, self.security, self.error, f"/{self.name}", self.forms, text, self.style)

    def routes(self, gateway: Gateway, prefix: str, below: str = "") -> list[BaseRoute]:
        """Of the calls whose path begins with `below`, ending with what answers for all others there."""
        by_path: dict[str, dict[str, Endpoint | Unsupported]] = {}
        every: list[Endpoint | Unsupported] = [*self.calls, *self.unsupported]
        for call in every:
            if call.path.startswith(f"{below}/"):
                by_path.setdefault(call.path, {})[call.method] = call
        routes = [self._route(gateway, prefix + path, methods) for path, methods in by_path.items()]
        rest = Unsupported("*", "", f"the native API at {NATIVE}")
        return [*routes, self._route(gateway, prefix + below + "/{rest:path}", {"*": rest})]

    def _route(self, gateway: Gateway, path: str, methods: dict[str, Endpoint | Unsupported]) -> BaseRoute:
        allow = ", ".join(sorted({*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())))

        async def answer(request: Request) -> Response:
            if f"{request.url.path}/".startswith(f"{NATIVE}/"):
                raise HTTPException(404)
            if request.method == "OPTIONS" and "*" not in methods:
                return Response(None, 204, {"Allow": allow})
            call = methods.get("GET" if request.method == "HEAD" else request.method) or methods.get("*")
            if isinstance(call, Endpoint):
                return await serve(request, gateway, call, self.style, forms=self.forms)
            if call is not None:
                return self.style.error(GatewayError(
                    "not_supported", f"This gateway does not offer {request.method} {request.url.path} of {self.title}. "
                    f"Use {call.use}.", use=call.use))
            response = self.style.error(GatewayError("method_not_allowed", allow=allow))
            response.headers["Allow"] = allow
            return response

        async def answer_and_finish(request: Request) -> Response:
            response = await answer(request)
            self.finish(response)
            return response

        route = Route(path, answer_and_finish, methods=None, name=f"{self.name} {path}")
        route.methods = None                # all of them come here
        return route


def owners_of_roots(dialects: Sequence[Dialect], chosen: str) -> dict[str, Dialect]:
    """Who answers at each root path; `chosen` settles the one that several share. Raises ConfigError where two others want
    the same place."""
    owners: dict[str, Dialect] = {}
    wanted = [(root, dialect) for dialect in dialects for root in dialect.roots]
    for root, dialect in wanted:
        if root == "/v1" and dialect.name != chosen:
            continue
        if root in owners:
            raise ConfigError(f"the dialects {owners[root].name} and {dialect.name} would both answer at {root}; leave one out "
                              "of dialects.enabled")
        owners[root] = dialect
    return owners


def enabled_of(gateway: Gateway, dialects: Sequence[Dialect]) -> list[Dialect]:
    return [dialect for dialect in dialects if dialect.name in gateway.settings.dialects.enabled]


def mount_dialects(gateway: Gateway, dialects: Sequence[Dialect]) -> list[BaseRoute]:
    """The routes of those that the settings enable. Raises ConfigError where two of them collide."""
    settings, enabled = gateway.settings.dialects, enabled_of(gateway, dialects)
    owners = owners_of_roots(enabled, settings.root)
    routes: list[BaseRoute] = []
    for dialect in enabled:
        own = [root for root, owner in owners.items() if owner is dialect]
        routes += dialect.routes(gateway, f"/{dialect.name}")
        for root in own:
            routes += dialect.routes(gateway, "", root)
        log.info("dialect_mounted", dialect=dialect.name, paths=[f"/{dialect.name}", *own])
    if "/v1" not in owners:
        log.info("dialect_root_free", path="/v1", chosen=settings.root or "none", enabled=list(settings.enabled))
    return routes
