from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.store.keys import SCOPES


async def make(store, **named):
    async with store.database.transaction() as tx:
        return await store.keys.create(tx, **{"name": "shop", "scope": "full", "plan": "free", "at": 1000.0, **named})


async def test_a_key_is_known_by_its_text_alone(store):
    key, text = await make(store)
    other, _ = await make(store)
    assert text.startswith(f"wag_{key.id}_")
    assert await store.keys.of_text(text) == key
    assert key.owner == key.id != other.owner
    assert await store.keys.one(key.id) == key
    assert await store.keys.all() == sorted([key, other], key=lambda k: k.id)


async def test_the_text_is_nowhere_in_the_database(store):
    _, text = await make(store)
    secret = text.split("_", 2)[2].encode()
    for file in store.database.path.parent.glob("gateway.db*"):
        assert secret not in file.read_bytes()


async def test_texts_that_are_nearly_right_are_wrong(store):
    key, text = await make(store)
    other, _ = await make(store)
    secret = text.split("_", 2)[2]
    for wrong in ("", "wag", "wag_", f"wag_{key.id}", f"wag_{key.id}_", text[:-1], text + "x", text.upper(), text[1:],
                  f" {text}", f"{text} ", text.replace("wag", "gaw"),
                  f"wag_{other.id}_{secret}", f"wag__{secret}", f"wag_{key.id}_{secret}\0"):
        assert await store.keys.of_text(wrong) is None, wrong


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(), max_size=60))
async def test_no_text_is_an_exception(store, text):
    """A lone surrogate, which JSON can hold, went into SQLite and was one."""
    assert await store.keys.of_text(text) is None
    assert await store.keys.of_text(f"wag_{text}_x") is None
    assert await store.keys.of_text(f"wag_\ud800{text}") is None


async def test_a_revoked_key_is_unknown_and_revoking_twice_says_so(store):
    key, text = await make(store)
    async with store.database.transaction() as tx:
        assert await store.keys.revoke(tx, key.id, 2000.0)
        assert not await store.keys.revoke(tx, key.id, 3000.0)
        assert not await store.keys.revoke(tx, "nobody", 3000.0)
    assert await store.keys.of_text(text) is None
    assert (await store.keys.one(key.id)).revoked_at == 2000.0


async def test_a_key_rotated_from_another_owns_the_same_and_both_work(store):
    old, old_text = await make(store)
    new, new_text = await make(store, owner=old.owner, replaces=old.id)
    newest, _ = await make(store, owner=new.owner, replaces=new.id)
    assert (new.owner, new.replaces) == (old.owner, old.id)
    assert (newest.owner, newest.replaces) == (old.owner, new.id)
    assert await store.keys.of_text(old_text) == old
    assert await store.keys.of_text(new_text) == new


async def test_use_is_noted_and_every_scope_can_be_had(store):
    for scope in SCOPES:
        key, text = await make(store, scope=scope)
        assert (await store.keys.of_text(text)).scope == scope
    async with store.database.transaction() as tx:
        await store.keys.used(tx, key.id, 1234.0)
    assert (await store.keys.one(key.id)).last_used_at == 1234.0
