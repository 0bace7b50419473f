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
    problems = []
    try:
        await call.gateway.store.probe(call.gateway.clock())
    except GatewayError as error:
        problems.append(error.message)
    counts = await call.gateway.store.sessions.counts()
    return call.answer(Ready(ready=not problems, sessions=counts, problems=problems), 503 if problems else 200)


ENDPOINTS = [
    Endpoint("GET", "/healthz", healthz, "The process answers", None, answer=Health, tag="health"),
    Endpoint("GET", "/readyz", readyz, "The gateway can serve", None, answer=Ready, tag="health"),
]
