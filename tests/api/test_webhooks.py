"""/api/v1/webhooks over HTTP, with a receiver that really listens."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import AsyncIterator

import pytest

from gateway.api.webhooks import ENDPOINTS
from tests.running import Running, until
from tests.services.receiver import Receiver, Time, receiving

ALL = "/api/v1/webhooks"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(Time()) as receiver:
        yield receiver


async def tell(running: Running, n: int = 0) -> None:
    gateway = running.gateway
    async with gateway.store.database.transaction() as tx:
        await gateway.feed.tell(tx, owner=running.key.owner, session_id="s", type="message", at=gateway.clock(),
                                data={"session": "s", "chat": "a", "n": n})


async def parked(running: Running, receiver: Receiver, count: int = 1) -> list[dict]:
    receiver.reply = lambda request: 410
    for n in range(count):
        await tell(running, n)
    await until(lambda: len(receiver.got) == count)
    rows: list[dict] = []
    while len(rows) < count:
        rows = (await running.client.get(f"{ALL}/deliveries?status=parked")).body["deliveries"]
    receiver.reply = lambda request: 200
    return rows


async def test_a_webhook_is_made_told_and_its_secret_shown_once(running, receiver):
    made = await running.client.post(ALL, {"url": receiver.url, "types": ["message"]})
    assert made.status == 201
    assert made.headers["Cache-Control"] == "no-store"
    assert made.headers["Location"] == f"{ALL}/{made.body['id']}"
    secret = made.body.pop("secret")
    assert made.body == {"id": made.body["id"], "url": receiver.url, "session": None, "types": ["message"], "format": "native",
                         "failing_since": None, "waiting": 0, "parked": 0, "created_at": made.body["created_at"]}
    assert (await running.client.get(f"{ALL}/{made.body['id']}")).body == made.body
    assert (await running.client.get(ALL)).body == {"webhooks": [made.body]}
    await tell(running)
    await until(lambda: receiver.got)
    (request,) = receiver.got
    t = request.headers["x-gateway-signature"].partition(",")[0].removeprefix("t=")
    expected = hmac.new(secret.encode(), t.encode() + b"." + request.raw, hashlib.sha256).hexdigest()
    assert request.headers["x-gateway-signature"] == f"t={t},v1={expected}"


async def test_a_webhook_is_changed_rotated_and_deleted(running, receiver):
    id_ = (await running.client.post(ALL, {"url": receiver.url})).body["id"]
    changed = await running.client.patch(f"{ALL}/{id_}", {"types": ["receipt"]})
    assert (changed.status, changed.body["types"], changed.body["url"]) == (200, ["receipt"], receiver.url)
    rotated = await running.client.post(f"{ALL}/{id_}/secret")
    assert rotated.body["id"] == id_
    assert rotated.body["secret"].startswith("whsec_")
    own = await running.client.post(f"{ALL}/{id_}/secret", {"secret": "a secret of my own"})
    assert own.body["secret"] == "a secret of my own"
    assert (await running.client.delete(f"{ALL}/{id_}")).body == {"deleted": True, "id": id_}
    assert (await running.client.get(f"{ALL}/{id_}")).body["error"]["code"] == "webhook_not_found"
    assert (await running.client.get(ALL)).body == {"webhooks": []}


@pytest.mark.parametrize(("body", "field"), [
    ({}, "url"), ({"url": "gopher://x/"}, "url"), ({"url": "https://example.com/", "types": ["gossip"]}, "types"),
    ({"url": "https://example.com/", "format": "morse"}, "format"),
    ({"url": "https://example.com/", "secret": "short"}, "secret"),
    ({"url": "https://example.com/", "colour": "red"}, "colour"), ({"url": 7}, "url")])
async def test_what_is_wrong_is_refused_by_field(running, body, field):
    answer = await running.client.post(ALL, body)
    assert (answer.status, answer.body["error"]["details"]["field"]) == (422, field)


async def test_a_session_that_is_not_there_is_told_so(running):
    answer = await running.client.post(ALL, {"url": "https://example.com/", "session": "nobody"})
    assert (answer.status, answer.body["error"]["code"]) == (404, "session_not_found")


async def test_a_webhook_of_a_session_is_made_by_its_session_key(running, receiver):
    id_, _ = await running.linked("shop")
    made = await running.client.post(ALL, {"url": receiver.url, "session": "shop", "types": ["status"]})
    assert (made.status, made.body["session"]) == (201, id_)


async def test_deliveries_are_listed_in_pages_with_what_became_of_them(running, receiver):
    webhook = (await running.client.post(ALL, {"url": receiver.url})).body["id"]
    rows = await parked(running, receiver, 3)
    one = (await running.client.get(f"{ALL}/deliveries/{rows[0]['id']}")).body
    assert one == rows[0]
    assert (one["webhook"], one["type"], one["status"], one["attempts"], one["last_status"], one["next_attempt_at"]) \
        == (webhook, "message", "parked", 1, 410, None)
    assert one["last_error"].startswith("HTTP 410")
    first = (await running.client.get(f"{ALL}/deliveries?limit=2&webhook={webhook}")).body
    rest = (await running.client.get(f"{ALL}/deliveries?limit=2&cursor={first['next_cursor']}")).body
    assert [d["id"] for d in first["deliveries"] + rest["deliveries"]] == [d["id"] for d in rows]
    assert rest["next_cursor"] is None
    assert (await running.client.get(f"{ALL}/{webhook}")).body["parked"] == 3
    assert (await running.client.get(f"{ALL}/deliveries?status=waiting")).body["deliveries"] == []


async def test_deliveries_are_replayed_one_or_all(running, receiver):
    webhook = (await running.client.post(ALL, {"url": receiver.url})).body["id"]
    rows = await parked(running, receiver, 3)
    one = await running.client.post(f"{ALL}/deliveries/{rows[1]['id']}/replay")
    assert (one.status, one.body) == (200, {"replayed": 1})
    await until(lambda: len(receiver.taken) == 1)
    assert receiver.taken[0].body["id"] == rows[1]["id"]
    assert (await running.client.post(f"{ALL}/deliveries/replay", {"webhook": webhook})).body == {"replayed": 2}
    await until(lambda: len(receiver.taken) == 3)
    assert (await running.client.post(f"{ALL}/deliveries/replay", {"all": True})).body == {"replayed": 0}


@pytest.mark.parametrize("query", ["status=lost", "limit=0", "limit=501", "cursor=x", "cursor=-1", "cursor=²"])
async def test_a_filter_that_is_none_is_refused(running, query):
    answer = await running.client.get(f"{ALL}/deliveries?{query}")
    assert (answer.status, answer.body["error"]["details"]["field"]) == (422, query.partition("=")[0])


async def test_a_replay_of_nothing_named_is_refused(running):
    answer = await running.client.post(f"{ALL}/deliveries/replay", {})
    assert (answer.status, answer.body["error"]["details"]["field"]) == (422, "all")


async def test_what_is_not_there_or_another_keys_is_not_found(running, receiver):
    webhook = (await running.client.post(ALL, {"url": receiver.url})).body["id"]
    (row,) = await parked(running, receiver)
    stranger = await running.another_client()
    nobody = str(uuid.uuid4())
    for client, id_, delivery in ((running.client, nobody, nobody), (stranger, webhook, row["id"])):
        for answer in (
                await client.get(f"{ALL}/{id_}"), await client.patch(f"{ALL}/{id_}", {}), await client.delete(f"{ALL}/{id_}"),
                await client.post(f"{ALL}/{id_}/secret"), await client.get(f"{ALL}/deliveries/{delivery}"),
                await client.get(f"{ALL}/deliveries?webhook={id_}"), await client.post(f"{ALL}/deliveries/{delivery}/replay"),
                await client.post(f"{ALL}/deliveries/replay", {"webhook": id_})):
            assert (answer.status, answer.body["error"]["code"]) == (404, "webhook_not_found")
    assert (await stranger.get(ALL)).body == {"webhooks": []}
    assert (await stranger.get(f"{ALL}/deliveries")).body["deliveries"] == []


@pytest.mark.parametrize(("scope", "reads", "changes"), [("read", 200, 403), ("send", 200, 403), ("full", 200, 422)])
async def test_changing_needs_the_scope_full(running, scope, reads, changes):
    client = await running.another_client(scope)
    assert (await client.get(ALL)).status == reads
    assert (await client.get(f"{ALL}/deliveries")).status == reads
    assert (await client.post(ALL, {"url": "nonsense"})).status == changes
    assert (await client.post(f"{ALL}/deliveries/replay", {})).status == changes


def test_every_change_needs_the_scope_full_and_no_fixed_path_is_hidden_by_an_id():
    assert {endpoint.scope for endpoint in ENDPOINTS if endpoint.method != "GET"} == {"full"}
    paths = [endpoint.path for endpoint in ENDPOINTS]
    assert paths.index(f"{ALL}/deliveries") < paths.index(f"{ALL}/{{id}}")
    assert paths.index(f"{ALL}/deliveries/replay") < paths.index(f"{ALL}/deliveries/{{id}}")


async def test_a_sessions_webhook_url_hears_of_it_from_the_first_moment(running, receiver):
    made = await running.client.post("/api/v1/sessions", {"session_key": "shop", "webhook_url": receiver.url})
    assert made.body["webhook_url"] == receiver.url
    id_ = made.body["id"]
    await until(lambda: any(p.file.session_id == id_ for p in running.links.pairings))
    running.links.pairing(id_).show_qr()
    running.links.pairing(id_).scan("15550001111")
    await until(lambda: any(request.body["type"] == "connected" for request in receiver.taken))
    types = [request.body["type"] for request in receiver.taken]
    assert "qr" not in types
    assert {request.body["session"] for request in receiver.taken} == {id_}
    seqs = [request.body["seq"] for request in receiver.taken]
    assert seqs == sorted(seqs)
    (webhook,) = (await running.client.get(ALL)).body["webhooks"]
    assert (webhook["session"], webhook["url"]) == (id_, receiver.url)


async def test_a_change_that_is_refused_changes_nothing(running):
    for key in ("shop", "other"):
        await running.client.post("/api/v1/sessions", {"session_key": key})
    for body in ({"session_key": "other", "webhook_url": "https://example.com/hook"}, {"name": "New", "webhook_url": "ftp://x"}):
        assert (await running.client.patch("/api/v1/sessions/shop", body)).status in (409, 422)
        now = (await running.client.get("/api/v1/sessions/shop")).body
        assert (now["webhook_url"], now["name"]) == (None, "shop")
        assert (await running.client.get(ALL)).body["webhooks"] == []


async def test_a_sessions_webhook_url_and_its_webhook_are_one_thing(running):
    url, other = "https://example.com/a", "https://example.com/b"
    await running.client.post("/api/v1/sessions", {"session_key": "shop"})
    assert (await running.client.get(ALL)).body["webhooks"] == []
    await running.client.patch("/api/v1/sessions/shop", {"webhook_url": url})
    (webhook,) = (await running.client.get(ALL)).body["webhooks"]
    assert webhook["url"] == url
    await running.client.patch(f"{ALL}/{webhook['id']}", {"url": other})
    assert (await running.client.get("/api/v1/sessions/shop")).body["webhook_url"] == other
    cleared = await running.client.patch("/api/v1/sessions/shop", {"webhook_url": None})
    assert cleared.body["webhook_url"] is None
    assert (await running.client.get(ALL)).body["webhooks"] == []
    await running.client.patch("/api/v1/sessions/shop", {"webhook_url": url})
    (webhook,) = (await running.client.get(ALL)).body["webhooks"]
    await running.client.delete(f"{ALL}/{webhook['id']}")
    assert (await running.client.get("/api/v1/sessions/shop")).body["webhook_url"] is None


async def test_a_deleted_session_takes_its_webhook_along(running, receiver):
    await running.client.post("/api/v1/sessions", {"session_key": "shop", "webhook_url": receiver.url})
    await running.client.post(ALL, {"url": receiver.url, "types": ["deleted"]})
    await running.client.delete("/api/v1/sessions/shop")
    await until(lambda: any(request.body["type"] == "deleted" for request in receiver.taken))
    (left,) = (await running.client.get(ALL)).body["webhooks"]
    assert left["types"] == ["deleted"]
