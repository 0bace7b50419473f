"""/api/v1/webhooks: who is told of what, and what became of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from starlette.responses import Response

from gateway.api.http import Call, Endpoint, Shape, Strict
from gateway.errors import InvalidField
from gateway.store.webhooks import NEVER, Delivery, Webhook
from gateway.times import iso

Text = Annotated[str, msgspec.Meta(max_length=8192)]
Status = Literal["waiting", "delivered", "parked"]


class CreateWebhook(Strict):
    """`session`: an id or session_key; left out: all your sessions. `types`: none named: all but the linking codes."""

    url: Text
    session: str | None = None
    types: tuple[str, ...] = ()
    secret: str | None = None
    format: str = "native"


class PatchWebhook(Strict):
    url: Text | None = None
    types: tuple[str, ...] | None = None


class RotateSecret(Strict):
    secret: str | None = None


class Replay(Strict):
    """`all`: every parked delivery of yours. `webhook`: those of one. `status`: others than the parked ones."""

    status: Status | None = None
    webhook: str | None = None
    all: bool = False


class DeliveryFilter(Strict):
    status: Status | None = None
    webhook: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    cursor: str = ""


class WebhookShape(Shape):
    """`failing_since`: its receiver has taken nothing since then. `waiting`, `parked`: numbers of deliveries."""

    id: str
    url: str
    session: str | None
    types: list[str]
    format: str
    failing_since: str | None
    waiting: int
    parked: int
    created_at: str


class NewWebhook(WebhookShape):
    """`secret` is shown this once."""

    secret: str


class WebhookList(Shape):
    webhooks: list[WebhookShape]


class Secret(Shape):
    id: str
    secret: str


class DeletedWebhook(Shape):
    deleted: bool
    id: str


class DeliveryShape(Shape):
    """`next_attempt_at` null: it is not tried again unless it is replayed."""

    id: str
    webhook: str
    seq: int
    type: str | None
    status: Status
    attempts: int
    next_attempt_at: str | None
    last_status: int | None
    last_error: str | None
    created_at: str
    delivered_at: str | None


class DeliveryList(Shape):
    deliveries: list[DeliveryShape]
    next_cursor: str | None


class Replayed(Shape):
    replayed: int


def _fields(call: Call, webhook: Webhook, counts: dict[str, int]) -> dict[str, Any]:
    return {"id": webhook.id, "url": webhook.url, "session": webhook.session_id, "types": list(webhook.types),
            "format": webhook.format, "failing_since": iso(call.gateway.webhooks.failing_since(webhook.id)),
            "waiting": counts.get("waiting", 0), "parked": counts.get("parked", 0), "created_at": iso(webhook.created_at)}


async def _shape(call: Call, webhook: Webhook) -> WebhookShape:
    counts = await call.gateway.webhooks.counts(call.key)
    return WebhookShape(**_fields(call, webhook, counts.get(webhook.id, {})))


def _delivery(row: Delivery, type_: str | None) -> DeliveryShape:
    pending = row.status != "delivered" and row.next_at < NEVER
    return DeliveryShape(id=row.id, webhook=row.webhook_id, seq=row.journal_seq, type=type_, status=row.status,  # type: ignore[arg-type]
                         attempts=row.attempts, next_attempt_at=iso(row.next_at) if pending else None,
                         last_status=row.last_status, last_error=row.last_error, created_at=iso(row.created_at),
                         delivered_at=iso(row.delivered_at))


async def _reread(call: Call, webhook: Webhook) -> None:
    """The session shows its webhook's URL as its own."""
    if webhook.session_id is not None:
        for live in await call.gateway.sessions.of(call.key):
            if live.session.id == webhook.session_id:
                await live.reread()


async def create(call: Call) -> Response:
    body = call.parse(CreateWebhook)
    session_id = (await call.gateway.sessions.find(call.key, body.session)).session.id if body.session is not None else None
    webhook, secret = await call.gateway.webhooks.create(call.key, session_id=session_id, url=body.url,
                                                         types=body.types, secret=body.secret, format=body.format)
    return call.answer(NewWebhook(**_fields(call, webhook, {}), secret=secret),
                       headers={"Cache-Control": "no-store", "Location": f"/api/v1/webhooks/{webhook.id}"})


async def list_(call: Call) -> Response:
    counts = await call.gateway.webhooks.counts(call.key)
    return call.answer(WebhookList(webhooks=[WebhookShape(**_fields(call, webhook, counts.get(webhook.id, {})))
                                             for webhook in await call.gateway.webhooks.all(call.key)]))


async def get(call: Call) -> Response:
    return call.answer(await _shape(call, await call.gateway.webhooks.one(call.key, call.path("id"))))


async def patch(call: Call) -> Response:
    body = call.parse(PatchWebhook)
    webhook = await call.gateway.webhooks.update(call.key, call.path("id"), url=body.url,
                                                 types=body.types)
    await _reread(call, webhook)
    return call.answer(await _shape(call, webhook))


async def delete(call: Call) -> Response:
    webhook = await call.gateway.webhooks.delete(call.key, call.path("id"))
    await _reread(call, webhook)
    return call.answer(DeletedWebhook(deleted=True, id=webhook.id))


async def rotate(call: Call) -> Response:
    secret = await call.gateway.webhooks.rotate_secret(call.key, call.path("id"), call.parse(RotateSecret).secret)
    return call.answer(Secret(id=call.path("id"), secret=secret), headers={"Cache-Control": "no-store"})


async def deliveries(call: Call) -> Response:
    f = call.query(DeliveryFilter)
    if f.cursor and not (f.cursor.isascii() and f.cursor.isdigit()):
        raise InvalidField("cursor", "cursor: not one that this API gave")
    if f.webhook is not None:
        await call.gateway.webhooks.one(call.key, f.webhook)
    rows = await call.gateway.webhooks.deliveries(call.key, before_seq=int(f.cursor[:18]) if f.cursor else None,
                                                  limit=f.limit + 1, status=f.status, webhook_id=f.webhook)
    more = len(rows) > f.limit
    return call.answer(DeliveryList(deliveries=[_delivery(*row) for row in rows[:f.limit]],
                                    next_cursor=str(rows[f.limit - 1][0].seq) if more else None))


async def delivery(call: Call) -> Response:
    return call.answer(_delivery(*await call.gateway.webhooks.delivery(call.key, call.path("id"))))


async def replay_one(call: Call) -> Response:
    return call.answer(Replayed(replayed=await call.gateway.webhooks.replay(call.key, id=call.path("id"))))


async def replay(call: Call) -> Response:
    body = call.parse(Replay)
    if not (body.all or body.webhook or body.status):
        raise InvalidField("all", "all: say which: 'status', 'webhook', or 'all': true for every parked one")
    count = await call.gateway.webhooks.replay(call.key, status=body.status, webhook_id=body.webhook)
    return call.answer(Replayed(replayed=count))


_NOT_FOUND = ("webhook_not_found",)
_ALL = "/api/v1/webhooks"
ENDPOINTS = [           # the fixed paths before those with an {id}
    Endpoint("GET", f"{_ALL}/deliveries", deliveries, "Deliveries, newest first", query=DeliveryFilter, answer=DeliveryList,
             errors=_NOT_FOUND, tag="webhooks"),
    Endpoint("POST", f"{_ALL}/deliveries/replay", replay, "Deliver again what was parked", "full", Replay, answer=Replayed,
             errors=_NOT_FOUND, tag="webhooks", example={"all": True}),
    Endpoint("GET", f"{_ALL}/deliveries/{{id}}", delivery, "One delivery, with its last error", answer=DeliveryShape,
             errors=_NOT_FOUND, tag="webhooks"),
    Endpoint("POST", f"{_ALL}/deliveries/{{id}}/replay", replay_one, "Deliver it again", "full", answer=Replayed,
             errors=_NOT_FOUND, tag="webhooks"),
    Endpoint("POST", _ALL, create, "Have events sent to a URL", "full", CreateWebhook, answer=NewWebhook, status=201,
             errors=("session_not_found",), tag="webhooks",
             example={"url": "https://example.com/hook", "types": ["message", "receipt"]},
             description="The answer holds the secret that signs the deliveries; it is shown this once."),
    Endpoint("GET", _ALL, list_, "List your webhooks", answer=WebhookList, tag="webhooks"),
    Endpoint("GET", f"{_ALL}/{{id}}", get, "One webhook", answer=WebhookShape, errors=_NOT_FOUND, tag="webhooks"),
    Endpoint("PATCH", f"{_ALL}/{{id}}", patch, "Change its URL or types", "full", PatchWebhook, answer=WebhookShape,
             errors=_NOT_FOUND, tag="webhooks", example={"types": ["message"]}),
    Endpoint("DELETE", f"{_ALL}/{{id}}", delete, "Delete it with its deliveries", "full", answer=DeletedWebhook,
             errors=_NOT_FOUND, tag="webhooks"),
    Endpoint("POST", f"{_ALL}/{{id}}/secret", rotate, "A new secret; the old one signs nothing from now on", "full",
             RotateSecret, answer=Secret, errors=_NOT_FOUND, tag="webhooks", example={}),
]
