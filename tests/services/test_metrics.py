"""What /metrics says of things that happened, who may read it, and that the manual, the dashboard and the alerts know it."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from gateway.events import Receipt
from gateway.jid import JID
from gateway.link.base import SendError
from gateway.services.metrics import CODECS, codec_family
from tests.running import FAST, Client, Running, run_gateway

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def receipt(kind: str, id_: str) -> Receipt:
    jid = JID("15550002222", "s.whatsapp.net")
    return Receipt(kind, jid, jid, (id_,), int(time.time()))            # type: ignore[arg-type]


async def read(running: Running) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and labels."""
    async with running.client.http.get(running.client.url + "/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = await response.text()
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in parse(text) for s in family.samples}


def of(samples: dict[Any, float], name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


async def test_a_message_is_counted_and_timed_from_accepting_to_played(running: Running) -> None:
    _, link = await running.linked()
    answer = await running.client.post("/api/v1/messages", {"to": "+15550002222", "message": "hello"})
    await running.message(answer.body["id"], "sent")
    before = await read(running)
    assert of(before, "wagateway_messages_total", outcome="accepted") == 1
    assert of(before, "wagateway_messages_total", outcome="sent") == 1
    assert of(before, "wagateway_accepted_to_ack_seconds_count") == 1
    assert of(before, "wagateway_ack_seconds_count") == 1
    assert of(before, "wagateway_ack_to_delivered_seconds_count") == 0
    link.emit(receipt("delivered", running.links.sent[-1].id))
    await running.message(answer.body["id"], "delivered")
    link.emit(receipt("played", running.links.sent[-1].id))
    await running.message(answer.body["id"], "played")
    after = await read(running)
    assert of(after, "wagateway_messages_total", outcome="delivered") == 1
    assert of(after, "wagateway_messages_total", outcome="played") == 1
    assert of(after, "wagateway_ack_to_delivered_seconds_count") == 1
    assert of(after, "wagateway_delivered_to_played_seconds_count") == 1
    assert of(after, "wagateway_sessions", status="connected") == 1
    assert of(after, "wagateway_session_reasons", reason="connected") == 1
    assert of(after, "wagateway_store_commit_seconds_count") > 3


async def test_a_failure_is_counted_under_its_code_and_the_queue_by_stage(running: Running) -> None:
    _, link = await running.linked()
    link.fail_next_send(SendError("send_failed", "no"))
    answer = await running.client.post("/api/v1/messages", {"to": "+15550002222", "message": "hello"})
    await running.message(answer.body["id"], "failed")
    held = link.hold_next_send()
    await running.client.post("/api/v1/messages", {"to": "+15550002222", "message": "hello again"})
    await held.handed_over.wait()
    samples = await read(running)
    assert of(samples, "wagateway_message_failures_total", code="send_failed") == 1
    assert of(samples, "wagateway_messages_total", outcome="failed") == 1
    assert of(samples, "wagateway_queue_messages", stage="sending") == 1
    assert of(samples, "wagateway_queue_oldest_seconds", stage="sending") > 0
    assert of(samples, "wagateway_queue_messages", stage="queued") == 0
    held.confirm()


async def test_sound_is_timed_by_its_codec(running: Running) -> None:
    await running.linked()
    hello = (ROOT / "gateway/examples/hello.mp3").read_bytes()
    form = aiohttp.FormData({"to": "+15550002222"})
    form.add_field("file", hello, filename="hello.mp3")
    async with running.client.http.post(f"{running.client.url}/api/v1/messages/audio", data=form,
                                        headers={"Authorization": f"Bearer {running.client.key}"}) as response:
        assert response.status == 202
        await running.message((await response.json())["id"], "sent")
    samples = await read(running)
    assert of(samples, "wagateway_transcode_seconds_count", codec="mp3") == 1


async def test_the_event_streams_that_are_read_are_counted(running: Running) -> None:
    async with running.client.stream("/api/v1/events"):
        assert of(await read(running), "wagateway_event_streams") == 1


async def test_labels_hold_no_number_key_session_or_name(running: Running) -> None:
    id_, _ = await running.linked(session_key="a-name-of-mine")
    answer = await running.client.post("/api/v1/messages", {"to": "+15550002222", "message": "a secret body"})
    await running.message(answer.body["id"], "sent")
    async with running.client.http.get(running.client.url + "/metrics") as response:
        text = await response.text()
    for secret in (id_, "a-name-of-mine", "15550001111", "15550002222", "a secret body", running.client.key, answer.body["id"]):
        assert secret not in text


def test_a_codec_becomes_one_of_a_few_words() -> None:
    named = {name: codec_family(name) for name in ("mp3float", "pcm_s16le", "libopus", "amrnb", "wmav2", "evil\nlabel")}
    assert named == {"mp3float": "mp3", "pcm_s16le": "pcm", "libopus": "opus", "amrnb": "amr", "wmav2": "wma",
                     "evil\nlabel": "other"}
    assert set(named.values()) <= {*CODECS, "other"}


# ------------------------------------------------------------------ who may read it


async def test_what_a_proxy_forwards_is_not_local(running: Running) -> None:
    for header in ({"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}, {"Via": "1.1 proxy"}):
        async with running.client.http.get(running.client.url + "/metrics", headers=header) as response:
            assert response.status == 403


async def test_the_setting_admin_wants_an_admin_key_and_off_hides_them(tmp_path: Path) -> None:
    settings = replace(FAST, server=replace(FAST.server, metrics="admin"))
    async with run_gateway(tmp_path / "admin", settings) as running:
        assert (await running.client.get("/metrics")).status == 200
        assert (await (await running.another_client("full")).get("/metrics")).status == 403
        assert (await Client(running.client.http, running.client.url, "wag_000000000000_wrong").get("/metrics")).status == 401
    settings = replace(FAST, server=replace(FAST.server, metrics="off"))
    async with run_gateway(tmp_path / "off", settings) as running:
        assert (await running.client.get("/metrics")).status == 404


# ------------------------------------------------------------------ the manual


def families(running: Running) -> dict[str, str]:
    """Name as Prometheus stores it -> its help."""
    out = {}
    for metric in running.gateway.metrics.registry.collect():
        suffix = {"counter": "_total", "info": "_info"}.get(metric.type, "")
        out[metric.name + suffix] = metric.documentation
    return out


async def test_the_manual_lists_every_metric_and_no_other(running: Running) -> None:
    await running.gateway.metrics.page()
    listed = set(re.findall(r"^\| `([a-z_]+)`", (DOCS / "metrics.md").read_text(), re.MULTILINE))
    assert listed == set(families(running))


async def test_the_dashboard_and_the_alerts_ask_for_metrics_that_exist(running: Running) -> None:
    known = set(families(running))
    known |= {f"{name}{suffix}" for name in families(running) if name.endswith("_seconds") for suffix in ("_bucket", "_sum", "_count")}
    dashboard = json.loads((DOCS / "grafana.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    asked += re.findall(r"expr: (.+(?:\n {12}.+)*)", (DOCS / "alerts.yml").read_text())
    assert len(asked) > 20
    for expression in asked:
        names = set(re.findall(r"\b(?:wagateway|process)_[a-z_]+", expression))
        assert names <= known, f"{expression}: {names - known}"
        assert names or "up{" in expression


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
async def test_promtool_accepts_the_alerts_and_the_page(running: Running) -> None:
    async def promtool(*arguments: str, given: bytes = b"") -> None:
        process = await asyncio.create_subprocess_exec("promtool", *arguments, stdin=asyncio.subprocess.PIPE,
                                                       stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        out, _ = await process.communicate(given)
        assert process.returncode == 0, out.decode()

    await promtool("check", "rules", str(DOCS / "alerts.yml"))
    await promtool("check", "metrics", given=await running.gateway.metrics.page())
