"""The console: a page for people, at '/'. Static files that speak the public API with the key their reader enters; nothing
here knows more than any other client does.

The policy lets nothing in from elsewhere and nothing inline run, so what a message or a push name holds stays text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.api.http import Native
from gateway.errors import GatewayError
from gateway.services.gateway import Gateway

PAGE = Path(__file__).parent / "page"
TYPES: Mapping[str, str] = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

# Blobs are what was recorded or converted a moment ago; the QR code is a data: URI.
CONTENT_SECURITY_POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data: blob:", "media-src blob:",
    "connect-src 'self'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'none'",
    "require-trusted-types-for 'script'", "trusted-types 'none'"))
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",            # kept, and asked for by its ETag: an update is seen at once
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    body: bytes
    content_type: str
    etag: str


def read(folder: Path = PAGE) -> dict[str, StaticFile]:
    """The page's files by name. They are few and small, so they are held in memory."""
    return {path.name: _static(path) for path in sorted(folder.iterdir()) if path.suffix in TYPES}


def _static(path: Path) -> StaticFile:
    body = path.read_bytes()
    return StaticFile(body, f"{TYPES[path.suffix]}; charset=utf-8", f'"{hashlib.sha256(body).hexdigest()[:24]}"')


def routes(gateway: Gateway) -> list[BaseRoute]:
    """The page at '/', its parts at '/console/{name}'; none where the settings switch it off."""
    if not gateway.settings.server.console:
        return []
    files = read()

    async def page(request: Request) -> Response:
        return answer(request, files["index.html"])

    async def part(request: Request) -> Response:
        file = files.get(request.path_params["name"])
        if file is None:
            return Native().error(GatewayError("not_found"))
        return answer(request, file)

    return [Route("/", page), Route("/console/{name}", part)]


def answer(request: Request, file: StaticFile) -> Response:
    """The file, or 304 for who has it."""
    headers = {**HEADERS, "ETag": file.etag}
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if file.etag in known:
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers={**headers, "Content-Type": file.content_type})
