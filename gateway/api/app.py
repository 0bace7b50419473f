"""The ASGI application: every endpoint of every API, errors in the envelope of whoever was asked, CORS where allowed."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api import admin, contacts, docs, health, inbox, keys, messages, metrics, openapi, sessions, stream, voice, webhooks
from gateway.api.http import Endpoint, Group, Native, Style, serve
from gateway.api.shapes import ErrorEnvelope
from gateway.errors import GatewayError
from gateway.services.gateway import Gateway

NATIVE = Native()
ENDPOINTS: list[Endpoint] = [*sessions.ENDPOINTS, *contacts.ENDPOINTS, *messages.ENDPOINTS, *inbox.ENDPOINTS, *voice.ENDPOINTS,
                             *stream.ENDPOINTS, *webhooks.ENDPOINTS, *keys.ENDPOINTS, *health.ENDPOINTS, *metrics.ENDPOINTS,
                             *admin.ENDPOINTS]
GROUP = Group(
    "The native API", ENDPOINTS, error=ErrorEnvelope,
    security={"bearer": {"type": "http", "scheme": "bearer", "description": "An API key: `wagateway keys create NAME`."},
              "ticket": {"type": "apiKey", "in": "query", "name": "ticket",
                         "description": "A stream ticket, for EventSource, which cannot set headers."}})


def routes(gateway: Gateway, endpoints: Sequence[Endpoint], style: Style = NATIVE, *, prefix: str = "",
           forms: bool = False) -> list[BaseRoute]:
    """One route a path, so that a wrong method is told with the methods there are."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints:
        by_path.setdefault(prefix + endpoint.path, {})[endpoint.method] = endpoint
    return [_route(gateway, path, methods, style, forms) for path, methods in by_path.items()]


def _route(gateway: Gateway, path: str, methods: dict[str, Endpoint], style: Style, forms: bool) -> Route:
    allow = sorted({*methods, *(("HEAD",) if "GET" in methods else ()), "OPTIONS"})

    async def call(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        if method == "OPTIONS":
            return Response(None, 204, {"Allow": ", ".join(allow)})
        endpoint = methods.get(method)
        if endpoint is None:
            response = style.error(GatewayError("method_not_allowed", allow=allow))
            response.headers["Allow"] = ", ".join(allow)
            return response
        return await serve(request, gateway, endpoint, style, forms=forms)

    route = Route(path, call, methods=None, name=path)
    route.methods = None                # all of them come here
    return route


class _Outermost:
    """Every answer carries an id that the log has too. And a stream gets the means to let a reader go: a connection whose
    peer does not read can only be cut at its transport, which ASGI does not show; uvicorn's own `send` knows it. So this is
    around the whole application: no middleware may wrap `send` before."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        scope[stream.CUT] = transport.abort if transport is not None else lambda: None

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        structlog.contextvars.bind_contextvars(request=request_id)
        await self._app(scope, receive, send_with_id)


def build(gateway: Gateway, more: Sequence[BaseRoute] = (), *, described: Sequence[Group] = ()) -> ASGIApp:
    """`more`: routes of the dialects and the console. `described`: what /openapi.json describes besides the native API."""

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
        return NATIVE.error(GatewayError(code))

    async def failed(request: Request, error: Exception) -> Response:
        return NATIVE.error(GatewayError("internal_error"))

    middleware = []
    if gateway.settings.server.cors_origins:
        middleware.append(Middleware(
            CORSMiddleware, allow_origins=list(gateway.settings.server.cors_origins), max_age=600,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Api-Key", "apikey", "Token",
                           "access-token"],
            expose_headers=["X-Request-Id", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After",
                            "Idempotent-Replayed"]))
    endpoints = [*ENDPOINTS, openapi.endpoint([GROUP, *described]), *docs.ENDPOINTS]
    handlers: dict[Any, Any] = {HTTPException: http_error, Exception: failed}
    app = Starlette(routes=[*routes(gateway, endpoints), *more], middleware=middleware, exception_handlers=handlers)
    app.router.redirect_slashes = False         # a path with a slash too many is not found, in the envelope
    return _Outermost(app)
