"""A gateway that has sent much is not slower: what is asked all the time is found by an index, not by looking at everything."""

from __future__ import annotations

import pytest

from gateway.store import figures, journal, messages, usage

ALL_THE_TIME = {
    "queue": (messages._QUEUE, ("s", 6)),
    "heads": (messages._HEADS, ("s", True, 200)),
    "sending": (messages._SENDING, ("s",)),
    "traffic": (messages._TRAFFIC, (0, 1, '["s"]')),
    "of_wa_id": (messages._OF_WA_ID, ("s", "3EB0", "out")),
    "sent_between": (messages._SENT_BETWEEN, ("s", 0, 1)),
    "knows_chat": (messages._KNOWN_CHAT, ("o", "s", "c")),
    "keep_early_receipt": (messages._KEEP_EARLY, ("s", "3EB0", "read", 0, "s")),
    "late": (messages._LATE, (0,)),
    "overdue": (messages._OVERDUE, (0,)),
    "forget": (messages._FORGET, (0,)),
    "forget events": (journal._FORGET, (0,)),
    "accepted_between": (usage._ACCEPTED, ("o", 0, 1)),
    "figures": (figures._QUEUE, ()),
    "page": ("SELECT * FROM messages WHERE owner = ? AND seq < ? ORDER BY seq DESC LIMIT 50", ("o", 9)),
    "page of a session": ("SELECT * FROM messages WHERE owner = ? AND session_id = ? ORDER BY seq DESC LIMIT 50", ("o", "s")),
    "page of a chat": ("SELECT * FROM messages WHERE owner = ? AND chat = ? ORDER BY seq DESC LIMIT 50", ("o", "c")),
    "page of a status": ("SELECT * FROM messages WHERE owner = ? AND status = ? ORDER BY seq DESC LIMIT 50", ("o", "failed")),
}
UNSETTLED = ("INDEX messages_overdue", "INDEX messages_order", "INDEX messages_waiting")         # few among many
# Indexes of all that a session or an owner ever sent: good for the newest of them, not for going through.
WIDE = ("messages_owner ", "messages_session ", "messages_chat (owner=?)", "messages_handed (session_id=?)",
        "messages_status (owner=?)")


@pytest.mark.parametrize("name", ALL_THE_TIME)
async def test_what_is_asked_all_the_time_has_an_index(database, name):
    sql, values = ALL_THE_TIME[name]
    plan = [row["detail"] for row in await database.all(f"EXPLAIN QUERY PLAN {sql}", *values)]
    for step in plan:
        assert not (step.startswith("SCAN messages") and not step.endswith(UNSETTLED)), plan
        assert not step.startswith("SCAN journal"), plan
        if not name.startswith("page"):
            assert not any(index in f"{step} " for index in WIDE), plan
