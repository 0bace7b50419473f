"""What is measured, for Prometheus. Labels are words of the program, never a number, a name, a session or a key: what is
public here stays harmless, and the number of series is bounded.

Counters and histograms are fed as things happen, gauges are read when somebody asks (`page`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest

from gateway.audio.audio_file import AudioFile
from gateway.audio.limits import AudioLimits
from gateway.audio.pool import Transcoder
from gateway.audio.voice_note import VoiceNote
from gateway.errors import TABLE
from gateway.services.feed import Feed
from gateway.services.sending import Metrics as SendingMetrics
from gateway.services.sessions import Sessions
from gateway.states import REASONS, Status
from gateway.store.figures import Figures
from gateway.store.journal import TYPES, Event
from gateway.store.store import Store
from gateway.times import parse_iso

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LAG_EVERY_SECONDS = 1.0
_STEPS = ("accepted", "sent", "delivered", "read", "played")
_REMEMBERED = 5_000            # messages whose last step is known
OUTCOMES = ("accepted", "sent", "delivered", "read", "played", "failed")
KINDS = ("text", "ptt", "audio", "image", "video", "document", "reaction", "revoke", "sticker", "location", "contact", "other")
# Sound formats that people send, as FFmpeg names their decoders' families; the rest is "other".
CODECS = ("aac", "alac", "amr", "flac", "mp3", "opus", "pcm", "vorbis", "wma")
SEALING = ("authentication_failed", "wrong_key", "no_key", "plaintext_refused", "damaged", "callback_failed", "refused")

_SENDING = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86_400)       # a pace of hours is normal
_PEOPLE = (0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 21_600, 86_400, 604_800)
_WORK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class Metrics:
    """Made by the daemon before the services, given `attach` after them."""

    def __init__(self, store: Store, feed: Feed, build: Mapping[str, str], clock: Callable[[], float] = time.time) -> None:
        self._store, self._feed, self._clock = store, feed, clock
        self._figures = Figures(store.database)
        self._sessions: Sessions | None = None
        self.sealing: Callable[[], Mapping[str, int]] = dict        # the sealed store's counts, where there is one
        self.openings: Callable[[], int] = int                      # of sessions in WhatsApp's core, since the start
        r = self.registry = CollectorRegistry()

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"wagateway_{name}", what, labels, registry=r)

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"wagateway_{name}", what, labels, registry=r)

        def seconds(name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"wagateway_{name}_seconds", what, labels, buckets=buckets, registry=r)

        Info("wagateway_build", "Versions of what runs.", registry=r).info(dict(build))
        ProcessCollector(registry=r)
        self._threads = gauge("threads", "Operating system threads of the process.")
        self._openings = gauge("core_openings", "Sessions opened in WhatsApp's core since the start, reopened ones each time.")
        self._by_status = gauge("sessions", "Sessions by status.", "status")
        self._by_reason = gauge("session_reasons", "Sessions by the reason for their status; only reasons that hold now.", "reason")
        self._queue = gauge("queue_messages", "Messages accepted and not settled, by stage.", "stage")
        self._queue_age = gauge("queue_oldest_seconds", "Age of the oldest message of a stage; 0: none.", "stage")
        self._webhooks = gauge("webhook_deliveries", "Webhook deliveries not made, by status.", "status")
        self._webhooks_age = gauge("webhook_oldest_seconds", "Age of the oldest of them; 0: none.", "status")
        self._streams = gauge("event_streams", "Event streams that are read now.")
        self._sealing = gauge("sealed_store_failures", "What the sealed store refused since the start, by kind.", "kind")
        self._messages = counter("messages", "Messages of ours by what became of them; one message counts in several.", "outcome")
        self._failures = counter("message_failures", "Failed messages by error code.", "code")
        self._received = counter("received_messages", "Messages that arrived, by kind.", "kind")
        self._events = counter("events", "Journal events by type.", "type")
        self._to_ack = seconds("accepted_to_ack", "From accepting a message to WhatsApp's acknowledgement.", _SENDING)
        self._to_delivered = seconds("ack_to_delivered", "From the acknowledgement to the delivery receipt.", _PEOPLE)
        self._to_played = seconds("delivered_to_played", "From delivery to a voice note's played receipt.", _PEOPLE)
        self._handing_over = seconds("ack", "The core's call alone: upload, hand-over and acknowledgement.", _WORK)
        self._prepared = seconds("prepare", "Fetching and converting what was accepted as a URL, by kind.", _WORK, "kind")
        self._transcoded = seconds("transcode", "Converting sound, with the wait for a free core, by its codec.", _WORK, "codec")
        self._committed = seconds("store_commit", "One commit of the gateway's database.", _SHORT)
        self._lag = seconds("loop_lag", "How late the event loop ran what was due; looked at every second.", _SHORT)
        self._last: OrderedDict[str, str] = OrderedDict()
        self._start_at_zero()
        store.database.commit_seconds = self._committed.observe
        feed.listen(self._handle_event)

    def _start_at_zero(self) -> None:
        """Every known label, so that a rate has a beginning and an alert a value."""
        for metric, values in ((self._messages, OUTCOMES), (self._received, KINDS), (self._events, tuple(TYPES))):
            for value in values:
                metric.labels(value)

    def attach(self, sessions: Sessions) -> None:
        self._sessions = sessions

    # ------------------------------------------------------------------ as things happen

    def sending(self) -> SendingMetrics:
        return SendingMetrics(ack=self._handing_over.observe, prepared=self._handle_prepared)

    def _handle_prepared(self, kind: str, seconds: float) -> None:
        self._prepared.labels(kind if kind in KINDS else "other").observe(seconds)

    def transcoded(self, codec: str, seconds: float) -> None:
        self._transcoded.labels(codec_family(codec)).observe(seconds)

    def _handle_event(self, event: Event) -> None:
        self._events.labels(event.type).inc()
        if event.type == "message":
            self._count_message(event.data)
        elif event.type == "receipt":
            self._count_receipt(event.data)

    def _count_message(self, data: Mapping[str, Any]) -> None:
        kind = "ptt" if data.get("ptt") else str(data.get("type"))
        self._received.labels(kind if kind in KINDS else "other").inc()

    def _count_receipt(self, data: Mapping[str, Any]) -> None:
        id_, status = str(data["id"]), str(data["status"])
        before = self._last.pop(id_, None)
        if status == "pending":
            if data["stage"] == "queued" and not data["attempts"]:
                self._messages.labels("accepted").inc()
            self._remember(id_, "accepted")
        elif status == "failed":
            self._messages.labels("failed").inc()
            code = (data["error"] or {}).get("code", "")
            self._failures.labels(code if code in TABLE else "other").inc()
            self._remember(id_, "accepted")             # a late receipt may still prove the opposite
        else:
            # A receipt also proves the steps before it. Of a message from before the restart only this step is known to be new.
            steps = _STEPS[_STEPS.index(before) + 1:_STEPS.index(status) + 1] if before else (status,)
            for step in steps:
                if step != "read" or status == "read":      # a voice note is played without a read receipt
                    self._messages.labels(step).inc()
            self._remember(id_, status)
            self._time(status, data)

    def _remember(self, id_: str, step: str) -> None:
        self._last[id_] = step
        if len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)

    def _time(self, status: str, data: Mapping[str, Any]) -> None:
        for step, since, histogram in (("sent", "created_at", self._to_ack), ("delivered", "sent_at", self._to_delivered),
                                       ("played", "delivered_at", self._to_played)):
            if step == status and data[since]:
                # Receipts come with WhatsApp's whole seconds: one of the same second may lie before its own send.
                histogram.observe(max(0.0, parse_iso(data[f"{status}_at"]) - parse_iso(data[since])))

    async def watch_lag(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY_SECONDS
            await asyncio.sleep(LAG_EVERY_SECONDS)
            self._lag.observe(max(0.0, loop.time() - due))

    # ------------------------------------------------------------------ when somebody asks

    async def page(self) -> bytes:
        """The exposition format, version 0.0.4."""
        now = self._clock()
        self._threads.set(_threads())
        self._streams.set(self._feed.readers)
        self._openings.set(self.openings())
        for kind in SEALING:
            self._sealing.labels(kind).set(self.sealing().get(kind, 0))
        self._set_sessions()
        for rows, counts, ages in ((await self._figures.queue(), self._queue, self._queue_age),
                                   (await self._figures.deliveries(), self._webhooks, self._webhooks_age)):
            for name, (count, since) in rows.items():
                counts.labels(name).set(count)
                ages.labels(name).set(max(0.0, now - since) if since is not None else 0.0)
        return generate_latest(self.registry)

    def _set_sessions(self) -> None:
        states = [live.state for live in self._sessions.live()] if self._sessions is not None else []
        for status in Status:
            self._by_status.labels(status.value).set(sum(state.status is status for state in states))
        self._by_reason.clear()
        for reason in {state.reason.code for state in states} & REASONS.keys():
            self._by_reason.labels(reason).set(sum(state.reason.code == reason for state in states))


class TimedTranscoder(Transcoder):
    """Tells how long each voice note took, with its codec. Audio files have no report; they count as 'other'."""

    def __init__(self, limits: AudioLimits, tell: Callable[[str, float], None]) -> None:
        super().__init__(limits)
        self._tell = tell

    async def voice_note(self, data: bytes, profile_name: str = "native", *, limits: AudioLimits | None = None) -> VoiceNote:
        started = time.perf_counter()
        note = await super().voice_note(data, profile_name, limits=limits)
        self._tell(note.report.codec, time.perf_counter() - started)
        return note

    async def audio_file(self, data: bytes, *, limits: AudioLimits | None = None) -> AudioFile:
        started = time.perf_counter()
        file = await super().audio_file(data, limits=limits)
        self._tell("other", time.perf_counter() - started)
        return file


def codec_family(codec: str) -> str:
    """'mp3float' -> 'mp3', 'pcm_s16le' -> 'pcm', 'wmav2' -> 'wma'; what people do not send -> 'other'."""
    return next((family for family in CODECS if family in codec), "other")


def _threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 0
