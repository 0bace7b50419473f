"""/metrics, for Prometheus. Who may read it is a setting: the machine itself, an admin key, or nobody."""

from __future__ import annotations

import ipaddress

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.http import Call, Endpoint
from gateway.errors import GatewayError
from gateway.services.metrics import CONTENT_TYPE

# A proxy on this machine connects from loopback too; what it forwards is not local.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


async def metrics(call: Call) -> Response:
    allowed = call.gateway.settings.server.metrics
    if allowed == "off":
        raise GatewayError("not_found")
    if allowed == "admin":
        text = call.style.credentials(call.request, {})
        if not text:
            raise GatewayError("unauthorized")
        call.gateway.keys.check_scope(await call.gateway.keys.authenticate(text), "admin")
    elif not is_local(call.request):
        raise GatewayError("forbidden", "Metrics are for this machine only; [server] metrics = 'admin' opens them to admin keys.")
    return Response(await call.gateway.metrics.page(), media_type=CONTENT_TYPE)


def is_local(request: Request) -> bool:
    """Straight from loopback, or over the Unix socket, whose mode says who may."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    host = request.client.host if request.client else ""
    try:
        return not host or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


ENDPOINTS = [
    Endpoint("GET", "/metrics", metrics, "Prometheus metrics", None, tag="health", produces=("text/plain",),
             errors=("forbidden", "not_found", "unauthorized"),
             description="By default for this machine only; `[server] metrics` makes it `admin` (an admin key) or `off`."),
]
