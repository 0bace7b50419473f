"""/healthz: the process answers. /readyz: it can serve."""

from __future__ import annotations

from importlib.metadata import version

from starlette.responses import Response

from gateway.api.http import Call, Endpoint
from gateway.api.shapes import Health, Ready
from gateway.errors import GatewayError

VERSION = version("wagateway")


async def healthz(call: Call) -> Response:
    return call.answer(Health(status="ok", version=VERSION))


async def readyz(call: Call) -> Response:
    """Nobody needs a key for it, so it costs next to nothing however often it is asked."""
    problem = await call.gateway.readiness.problem()
    counts = await call.gateway.store.sessions.counts() if await _asks_an_admin(call) else None
    return call.answer(Ready(ready=not problem, sessions=counts, problems=[problem] if problem else []), 503 if problem else 200)


async def _asks_an_admin(call: Call) -> bool:
    """A key that does not suffice, or cannot be looked up now, is no reason not to say whether we are ready."""
    text = call.style.credentials(call.request, {})
    try:
        return text is not None and (await call.gateway.keys.authenticate(text)).scope == "admin"
    except GatewayError:
        return False


ENDPOINTS = [
    Endpoint("GET", "/healthz", healthz, "The process answers", None, answer=Health, tag="health"),
    Endpoint("GET", "/readyz", readyz, "The gateway can serve", None, answer=Ready, tag="health",
             description="The store is looked at every two seconds at most. `sessions` is told to an admin key only."),
]
