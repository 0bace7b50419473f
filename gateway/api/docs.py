"""/docs: the OpenAPI document as a page to read, from files that we serve ourselves: nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import resources

from starlette.responses import Response

from gateway.api.http import Call, Endpoint

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                               "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def _file(name: str, kind: str) -> Callable[[Call], Awaitable[Response]]:
    async def serve_file(call: Call) -> Response:
        body = (resources.files("gateway.api") / "pages" / name).read_bytes()
        return Response(body, 200, _HEADERS, kind)

    return serve_file


ENDPOINTS = [
    Endpoint("GET", path, _file(name, kind), summary, None, tag="health", produces=(kind,))
    for path, name, kind, summary in (("/docs", "docs.html", "text/html", "The API's documentation as a page"),
                                      ("/docs/docs.css", "docs.css", "text/css", "Its looks"),
                                      ("/docs/docs.js", "docs.js", "text/javascript", "Its program"))
]
