"""/api/v1/keys and /api/v1/usage."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from starlette.responses import Response

from gateway.api.http import Call, Endpoint, Line, Strict
from gateway.api.shapes import Deleted, KeyList, KeyShape, NewKey, UsageShape
from gateway.store.keys import Key
from gateway.times import iso


class CreateKey(Strict):
    """`shares`: the id or name of a key whose sessions and messages the new one has too; left out: it begins with none."""

    name: Annotated[Line, msgspec.Meta(min_length=1, max_length=100)]
    scope: Literal["admin", "full", "send", "read"] = "full"
    plan: str = "unlimited"
    shares: str = ""


def _fields(key: Key) -> dict[str, Any]:
    return {"id": key.id, "name": key.name, "scope": key.scope, "plan": key.plan, "created_at": iso(key.created_at),
            "last_used_at": iso(key.last_used_at), "revoked_at": iso(key.revoked_at), "replaces": key.replaces, "owner": key.owner}


async def create(call: Call) -> Response:
    body = call.parse(CreateKey)
    key, text = await call.gateway.keys.create(name=body.name, scope=body.scope, plan=body.plan, shares=body.shares)
    return call.answer(NewKey(**_fields(key), key=text), headers={"Cache-Control": "no-store"})


async def list_(call: Call) -> Response:
    return call.answer(KeyList(keys=[KeyShape(**_fields(key)) for key in await call.gateway.keys.all()]))


async def rotate(call: Call) -> Response:
    key, text = await call.gateway.keys.rotate(call.path("id"))
    return call.answer(NewKey(**_fields(key), key=text), headers={"Cache-Control": "no-store"})


async def revoke(call: Call) -> Response:
    await call.gateway.keys.revoke(call.path("id"))
    call.gateway.tickets.revoke(call.path("id"))
    call.gateway.feed.end_key(call.path("id"))
    return call.answer(Deleted(deleted=True, id=call.path("id")))


async def usage(call: Call) -> Response:
    quota = await call.gateway.keys.quota(call.key)
    plan = call.gateway.keys.plan(call.key)
    return call.answer(UsageShape(
        plan=call.key.plan, scope=call.key.scope,
        sessions={"used": await call.gateway.store.sessions.count(call.key.owner), "limit": plan.sessions},
        messages_today={"used": quota.day_used, "limit": quota.day_limit},
        messages_month={"used": quota.month_used, "limit": quota.month_limit, "sent": quota.month_sent,
                        "delivered": quota.month_delivered, "failed": quota.month_failed},
        period_start=iso(quota.month_start), period_end=iso(quota.month_end),
        requests_per_minute={"limit": plan.requests_per_minute,
                             "remaining": call.allowance.remaining if call.allowance else 0}))


ENDPOINTS = [
    Endpoint("POST", "/api/v1/keys", create, "Make an API key; its text is shown once", "admin", CreateKey, answer=NewKey,
             status=201, tag="keys", example={"name": "my shop", "scope": "send", "shares": "me"}),
    Endpoint("GET", "/api/v1/keys", list_, "List the keys", "admin", answer=KeyList, tag="keys"),
    Endpoint("POST", "/api/v1/keys/{id}/rotate", rotate, "A second key for the same sessions; revoke the old one later", "admin",
             answer=NewKey, status=201, errors=("not_found",), tag="keys"),
    Endpoint("DELETE", "/api/v1/keys/{id}", revoke, "Revoke a key", "admin", answer=Deleted, errors=("not_found",), tag="keys"),
    Endpoint("GET", "/api/v1/usage", usage, "Counts and limits of the calling key", answer=UsageShape, tag="usage"),
]
