"""Sessions over HTTP: made, found under both names, changed, listed, linked and removed."""

from __future__ import annotations

import asyncio

import pytest

from gateway.events import LoggedOut
from tests.running import Running, until

SESSIONS = "/api/v1/sessions"


async def test_a_session_is_found_under_its_id_and_its_key(running: Running) -> None:
    made = await running.client.post(SESSIONS, {"session_key": "my-session"})
    assert (made.status, made.body["status"]) == (201, "pending")
    assert made.headers["Location"] == f"{SESSIONS}/{made.body['id']}"
    for name in (made.body["id"], "my-session"):
        assert (await running.client.get(f"{SESSIONS}/{name}")).body["id"] == made.body["id"]
    again = await running.client.post(SESSIONS, {"session_key": "my-session"})
    assert (again.status, again.body["error"]["code"]) == (409, "session_exists")
    other = await running.another_client()
    assert (await other.post(SESSIONS, {"session_key": "my-session"})).status == 201


async def test_settings_are_merged_shown_and_put_back_to_the_daemons(running: Running) -> None:
    session, _ = await running.linked()
    path = f"{SESSIONS}/{session}"
    changed = await running.client.patch(path, {"name": "Shop", "settings": {"messages_per_hour": 7, "quiet_hours": "22:00-07:00"}})
    assert changed.body["name"] == "Shop"
    changed = await running.client.patch(path, {"settings": {"min_gap_seconds": 1.5, "presence": "available"}})
    assert changed.body["settings"] == {"messages_per_hour": 7, "quiet_hours": "22:00-07:00", "min_gap_seconds": 1.5,
                                        "presence": "available"}
    assert changed.body["pacing"]["messages_per_hour"] == 7
    back = await running.client.patch(path, {"settings": {"messages_per_hour": None, "quiet_hours": None}})
    assert back.body["settings"] == {"min_gap_seconds": 1.5, "presence": "available"}
    assert back.body["pacing"]["messages_per_hour"] == 0
    assert (await running.client.patch(path, {})).status == 200


async def test_a_taken_session_key_is_409_and_changes_nothing(running: Running) -> None:
    await running.linked("one", "15550001111")
    await running.linked("two", "15550002222")
    answer = await running.client.patch(f"{SESSIONS}/two", {"session_key": "one", "name": "x"})
    assert (answer.status, answer.body["error"]["code"]) == (409, "session_exists")
    assert (await running.client.get(f"{SESSIONS}/two")).body["name"] == "two"
    assert (await running.client.patch(f"{SESSIONS}/two", {"session_key": "three"})).body["session_key"] == "three"
    assert (await running.client.get(f"{SESSIONS}/two")).status == 404


async def test_pages_of_sessions_do_not_shift_when_one_is_made(running: Running) -> None:
    ids = [(await running.client.post(SESSIONS, {})).body["id"] for _ in range(5)]
    seen, cursor = [], ""
    while True:
        page = (await running.client.get(f"{SESSIONS}?limit=2" + (f"&cursor={cursor}" if cursor else ""))).body
        seen += [s["id"] for s in page["sessions"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        if len(seen) == 2:
            ids.append((await running.client.post(SESSIONS, {})).body["id"])
    assert seen == ids


async def test_sessions_are_filtered_by_status(running: Running) -> None:
    session, _ = await running.linked()
    await running.client.post(SESSIONS, {"session_key": "new"})
    for status, keys in (("connected", ["main"]), ("pending", ["new"]), ("banned", [])):
        found = (await running.client.get(f"{SESSIONS}?status={status}")).body["sessions"]
        assert [s["session_key"] for s in found] == keys


async def test_the_linked_account_is_told(running: Running) -> None:
    session, _ = await running.linked()
    assert (await running.client.get(f"{SESSIONS}/main/profile")).body == {
        "session": session, "jid": "15550001111@s.whatsapp.net", "lid": "915550001111@lid", "phone_number": "+15550001111",
        "push_name": "Owner", "platform": "android"}
    await running.client.post(SESSIONS, {"session_key": "new"})
    assert (await running.client.get(f"{SESSIONS}/new/profile")).body["jid"] is None


@pytest.mark.parametrize(("accept", "kind", "begins"), [
    ("application/json", "application/json", ""), ("image/png", "image/png", b"\x89PNG"), ("image/svg+xml", "image/svg+xml", b"<svg"),
    ("*/*", "application/json", ""),
])
async def test_a_qr_comes_as_json_png_or_svg(running: Running, accept: str, kind: str, begins: bytes) -> None:
    running.links.on_pair = lambda pairing: pairing.show_qr("2@code")
    await running.client.post(SESSIONS, {"session_key": "main"})
    answer = await running.client.get(f"{SESSIONS}/main/qr", headers={"Accept": accept})
    assert (answer.status, answer.headers["Content-Type"], answer.headers["Cache-Control"]) == (200, kind, "no-store")
    if begins:
        assert answer.body.startswith(begins)
    else:
        assert answer.body["code"] == "2@code"
        assert answer.body["qr_code"].startswith("data:image/png;base64,")


async def test_the_qr_of_a_linked_session_is_409(running: Running) -> None:
    await running.linked()
    answer = await running.client.get(f"{SESSIONS}/main/qr")
    assert (answer.status, answer.body["error"]["code"]) == (409, "already_paired")


async def test_a_read_key_sees_a_code_that_waits_but_begins_no_attempt(running: Running) -> None:
    made = await running.client.post(SESSIONS, {"session_key": "main"})
    await until(lambda: running.links.pairings)
    running.links.pairing(made.body["id"]).show_qr("2@code")
    await until(lambda: running.gateway.sessions.live()[0].qr)
    reader, _ = await running.gateway.keys.create(name="reader", scope="read")
    async with running.gateway.store.database.transaction() as tx:
        await tx.execute("UPDATE keys SET owner = ? WHERE id = ?", running.key.owner, reader.id)
        await tx.execute("UPDATE keys SET scope = 'read' WHERE id = ?", running.key.id)
    assert (await running.client.get(f"{SESSIONS}/main/qr")).status == 200
    running.links.pairing(made.body["id"]).end("qr_expired")
    await until(lambda: running.gateway.sessions.live()[0].state.status.value == "qr_expired")
    assert (await running.client.get(f"{SESSIONS}/main/qr")).status == 403
    assert len(running.links.pairings) == 1


async def test_a_pairing_code_is_asked_for_with_the_number(running: Running) -> None:
    made = await running.client.post(SESSIONS, {"session_key": "main", "pairing_phone": "+1 555 000 1111"})
    await until(lambda: running.links.pairings)
    pairing = running.links.pairing(made.body["id"])
    assert pairing.phone == "15550001111"
    async with running.client.stream(f"{SESSIONS}/main/stream?types=pairing_code") as events:
        pairing.show_code("ABCD-EFGH")
        assert (await asyncio.wait_for(anext(events), 5))[2]["code"] == "ABCD-EFGH"


async def test_a_logged_out_session_is_linked_again_under_its_id(running: Running) -> None:
    session, link = await running.linked()
    link.emit(LoggedOut(False, "logged_out"))
    await until(lambda: running.gateway.sessions.live()[0].state.status.value == "logged_out")
    assert (await running.client.post(f"{SESSIONS}/main/connect")).status in (200, 409)
    answer = await running.client.post(f"{SESSIONS}/main/relink")
    assert (answer.status, answer.body["id"]) == (200, session)
    await until(lambda: len(running.links.pairings) == 2)
    running.links.pairing(session).scan("15550009999")
    await asyncio.wait_for(running.gateway.sessions.live()[0].usable.wait(), 5)
    assert (await running.client.get(f"{SESSIONS}/main")).body["phone_number"] == "+15550009999"


async def test_a_deleted_session_is_unlinked_and_gone(running: Running) -> None:
    session, _ = await running.linked()
    answer = await running.client.delete(f"{SESSIONS}/main")
    assert answer.body == {"deleted": True, "id": session, "note": ""}
    assert [t.call for t in running.links.told][-1] == "logout"
    assert (await running.client.get(f"{SESSIONS}/{session}")).status == 404
    assert list((running.state / "sessions").iterdir()) == []
    assert (await running.client.post(SESSIONS, {"session_key": "main"})).status == 201
