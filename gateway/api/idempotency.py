"""An `Idempotency-Key`: a repeat with the same body gets exactly the first answer, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from functools import wraps
from weakref import WeakValueDictionary

import msgspec
from starlette.responses import Response

from gateway.api.http import Call, Repeatable
from gateway.errors import GatewayError, InvalidField
from gateway.services.outbox import Remember
from gateway.store.database import Transaction
from gateway.store.messages import Message
from gateway.store.usage import Answer

_under_way: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()


def once(handler: Callable[[Call], Awaitable[Response]]) -> Callable[[Call], Awaitable[Response]]:
    """Of a call that sends: it hands `remember(call, …)` to the outbox. What it answers in the end, be it an error, is what
    repeats get. Where nothing was accepted nothing is kept. Raises idempotency_conflict."""

    @wraps(handler)
    async def answer(call: Call) -> Response:
        text = call.request.headers.get("idempotency-key")
        if text is None:
            return await handler(call)
        if not 1 <= len(text) <= 255 or not text.isprintable():
            raise InvalidField("Idempotency-Key", "Idempotency-Key: 1 to 255 printable characters")
        store, owner, request = call.gateway.store, call.key.owner, await asyncio.to_thread(_digest, call)
        lock = _under_way.setdefault((owner, text), asyncio.Lock())
        async with lock:
            if (kept := await store.idempotency.find(owner, text)) is not None:
                if kept.request != request:
                    raise GatewayError("idempotency_conflict")
                return Response(kept.body, kept.status, {"Idempotent-Replayed": "true"}, "application/json")
            call.repeatable = asked = Repeatable(text, request)
            try:
                response = await handler(call)
            except GatewayError as error:
                if asked.kept is None:
                    raise
                response = call.style.error(error)
            if asked.kept is not None and asked.kept != (last := _answer(asked, response)):
                # What was kept with the message is true too, and less: where the disk is full it has to do.
                with contextlib.suppress(GatewayError):
                    await store.database.write(lambda tx: store.idempotency.replace(tx, owner, text, last))
            return response

    return answer


def remember(call: Call, word: Callable[[Message], Response]) -> Remember | None:
    """For the outbox: keeps the answer in the transaction that accepts the message."""
    asked = call.repeatable
    if asked is None:
        return None

    async def keep(tx: Transaction, message: Message) -> None:
        asked.kept = _answer(asked, word(message))
        await call.gateway.store.idempotency.keep(tx, call.key.owner, asked.key, asked.kept, call.gateway.clock())

    return keep


def _answer(asked: Repeatable, response: Response) -> Answer:
    return Answer(asked.request, response.status_code, bytes(response.body))


def _digest(call: Call) -> bytes:
    """Of what was asked: not of the bytes, since a multipart boundary differs from one try to the next."""
    url = call.request.url
    digest = hashlib.sha256(f"{call.endpoint.method} {url.path}{'?' if url.query else ''}{url.query}\n".encode())
    digest.update(msgspec.json.encode(call.body.fields, order="deterministic"))
    for name, file in sorted(call.body.files.items()):
        digest.update(f"\n{name}\n{file.filename}\n".encode() + hashlib.sha256(file.data).digest())
    return digest.digest()
