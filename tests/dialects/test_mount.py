"""Which paths are whose: never two dialects at one place, and start-up says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from gateway.api.app import ENDPOINTS
from gateway.api.openapi import document
from gateway.config import Dialects
from gateway.dialects import svara, waha
from gateway.dialects.dialect import owners_of_roots
from gateway.dialects.mount import DIALECTS
from gateway.errors import ConfigError
from tests.running import FAST, Running, run_gateway

NAMES = tuple(dialect.name for dialect in DIALECTS)


def test_the_dialects_are_those_that_the_settings_know() -> None:
    assert Dialects().enabled == NAMES


@pytest.mark.parametrize(("root", "owner"), [("svara", "svara"), ("sendapi", "sendapi"), ("", None)])
def test_at_v1_answers_the_one_that_was_chosen_and_every_other_place_has_one_owner(root: str, owner: str | None) -> None:
    owners = {path: dialect.name for path, dialect in owners_of_roots(DIALECTS, root).items()}
    assert owners.pop("/v1", None) == owner
    assert owners == {"/v2": "wawp", "/api": "waha", "/instance": "evolution", "/message": "evolution", "/session": "wuzapi",
                      "/webhook": "evolution", "/chat": "wuzapi", "/user": "wuzapi", "/chat/whatsappNumbers": "evolution",
                      "/chat/sendPresence": "evolution", "/chat/markMessageAsRead": "evolution",
                      "/chat/getBase64FromMediaMessage": "evolution"}


def test_two_that_want_the_same_place_are_refused_by_name() -> None:
    other = replace(svara.SVARA, name="other", roots=("/api",))
    with pytest.raises(ConfigError, match="waha and other would both answer at /api"):
        owners_of_roots([waha.WAHA, other], "svara")


def test_nothing_of_our_own_lies_where_a_dialect_answers() -> None:
    ours = {e.path for e in ENDPOINTS} | {"/openapi.json", "/docs", "/metrics", "/console/x"}
    taken = [*(f"/{name}" for name in NAMES), *owners_of_roots(DIALECTS, "svara")]
    assert [path for path in ours if not path.startswith("/api/v1/") and any(path.startswith(f"{root}/") for root in taken)] == []


async def test_start_up_says_which_paths_are_whose(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as lines:
        async with run_gateway(tmp_path / "state"):
            pass
    told = {line["dialect"]: line["paths"] for line in lines if line["event"] == "dialect_mounted"}
    assert told == {"svara": ["/svara", "/v1"], "sendapi": ["/sendapi"], "wawp": ["/wawp", "/v2"], "waha": ["/waha", "/api"],
                    "evolution": ["/evolution", "/instance", "/message", "/webhook", "/chat/whatsappNumbers",
                                  "/chat/sendPresence", "/chat/markMessageAsRead", "/chat/getBase64FromMediaMessage"],
                    "wuzapi": ["/wuzapi", "/session", "/chat", "/user"],
                    "gowa": ["/gowa"]}


async def test_one_that_is_not_enabled_answers_nowhere_and_a_root_without_its_dialect_is_told(tmp_path: Path) -> None:
    settings = replace(FAST, dialects=Dialects(enabled=("waha",), root="svara"))
    with structlog.testing.capture_logs() as lines:
        async with run_gateway(tmp_path / "state", settings) as running:
            for path in ("/v1/usage", "/svara/v1/usage", "/v2/send/voice", "/instance/connect/x", "/session/status"):
                assert (await running.client.get(path)).status == 404
            assert (await running.client.get("/api/sessions", headers={"X-Api-Key": running.client.key})).status == 200
            assert set((await running.client.get("/openapi.json")).body["components"]["securitySchemes"]) >= {"X-Api-Key"}
    assert [(line["path"], line["chosen"]) for line in lines if line["event"] == "dialect_root_free"] == [("/v1", "svara")]


async def test_every_call_is_answered_under_its_prefix_and_at_its_root_by_its_own_dialect(running: Running) -> None:
    for dialect in DIALECTS:
        roots = [root for root, owner in owners_of_roots(DIALECTS, "svara").items() if owner is dialect]
        for call in dialect.calls:
            path = call.path.replace("{", "").replace("}", "")
            places = [f"/{dialect.name}", *("" for root in roots if path.startswith(f"{root}/"))]
            # wuzapi's /webhook stands where Evolution API's calls begin.
            assert len(places) == 1 + (dialect.name not in ("sendapi", "gowa") and path != "/webhook"), (dialect.name, path)
            for place in places:
                answer = await running.client(call.method, place + path, headers={"Authorization": ""})
                assert answer.status == 401, (call.method, place + path)
                msgspec.convert(answer.body, dialect.error)


async def test_the_calls_that_are_not_offered_are_501_in_every_envelope(running: Running) -> None:
    for dialect in DIALECTS:
        for call in dialect.unsupported:
            path = call.path.replace("{rest:path}", "x").replace("{", "").replace("}", "")
            method = "POST" if call.method == "*" else call.method
            answer = await running.client(method, f"/{dialect.name}{path}", data=b"\x00 no JSON")
            assert answer.status == 501, path
            msgspec.convert(answer.body, dialect.error)
            assert call.use in str(answer.body), path


def operations() -> list[tuple[Any, str, dict[str, Any]]]:
    described = document([dialect.group() for dialect in DIALECTS])
    return [(dialect, path, operation) for dialect in DIALECTS for path, methods in described["paths"].items()
            if path.startswith(f"/{dialect.name}/") for operation in methods.values()]


def test_the_openapi_document_lists_every_call_under_its_dialects_tag() -> None:
    assert len(operations()) == sum(len(dialect.calls) for dialect in DIALECTS)
    for dialect, path, operation in operations():
        assert operation["tags"] == [dialect.title], path
        assert operation["security"], path


def test_every_body_has_an_example_that_its_type_takes() -> None:
    for dialect in DIALECTS:
        for call in dialect.calls:
            if call.body is not None:
                msgspec.convert(call.example, call.body)


def test_what_can_go_wrong_is_described_with_the_status_and_the_envelope_it_really_has() -> None:
    for dialect, _, operation in operations():
        for status, answer in operation["responses"].items():
            if int(status) < 400:
                continue
            for example in answer["content"]["application/json"]["examples"].values():
                msgspec.convert(example["value"], dialect.error)
    described = document([svara.SVARA.group()])["paths"]["/svara/v1/send"]["post"]["responses"]
    assert "quota_exceeded" in described["402"]["content"]["application/json"]["examples"]
