"""From a draft to what WhatsApp takes: fetch, look at the content (never at the suffix), convert."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from gateway.audio.errors import AudioError
from gateway.audio.limits import AudioLimits
from gateway.audio.pool import Transcoder
from gateway.audio.report import Report
from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.media.data_uri import parse_data_uri
from gateway.media.fetch import Fetched, Fetcher, FetchError
from gateway.media.images import inspect_image
from gateway.media.sniff import MediaError, sniff
from gateway.media.videos import gif_to_video, inspect_video
from gateway.services.drafts import Draft

T = TypeVar("T")
LONG_URI = 1 << 20              # characters of a data: URI that are not decoded while everybody waits: some ways take seconds
PICTURES_AT_ONCE = 2            # and videos: a picture of a few kilobytes may need 256 MB while it is looked at


@dataclass(frozen=True, slots=True)
class Prepared:
    """A draft that is ready, and its facts: what may be shown of it without its content."""

    draft: Draft
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the voice-note doctor says: the note that would be sent, and the report."""

    ogg: bytes
    seconds: int
    duration: float
    waveform: bytes
    report: Report


class Preparing:
    """`prepare` raises GatewayError with the code of whatever went wrong."""

    def __init__(self, settings: Settings, fetcher: Fetcher, transcoder: Transcoder) -> None:
        self._settings, self._fetcher, self._transcoder = settings, fetcher, transcoder
        self._limits = AudioLimits(max_bytes=settings.audio.max_bytes, max_seconds=settings.audio.max_seconds)
        self._looking = asyncio.Semaphore(PICTURES_AT_ONCE)
        self._steps: dict[str, Callable[[Draft], Awaitable[Draft]]] = {
            "ptt": self._voice_note, "audio": self._audio_file, "image": self._image, "video": self._video,
            "document": self._document}

    def max_bytes(self, kind: str) -> int:
        """Of a file of this kind."""
        media = self._settings.media
        return {"image": media.image_max_bytes, "video": media.video_max_bytes,
                "document": media.document_max_bytes}.get(kind, self._settings.audio.max_bytes)

    async def prepare(self, draft: Draft) -> Prepared:
        if not draft.ready:
            if draft.url:
                fetched = await self.fetch(draft.url, self.max_bytes(draft.kind))
                draft = with_fetched(draft, fetched)
            try:
                draft = msgspec.structs.replace(await self._steps[draft.kind](draft), ready=True)
            except (AudioError, MediaError) as error:
                raise GatewayError(error.code, error.text) from error
        return Prepared(draft, facts_of(draft))

    async def fetch(self, url: str, max_bytes: int) -> Fetched:
        """http, https or data: URIs. Raises GatewayError(fetch_…)."""
        try:
            if url[:5].lower() == "data:":
                if len(url) < LONG_URI:
                    return parse_data_uri(url, max_bytes=max_bytes)
                return await asyncio.to_thread(parse_data_uri, url, max_bytes=max_bytes)
            return await self._fetcher.get(url, max_bytes=max_bytes)
        except FetchError as error:
            raise GatewayError(error.code, error.text) from error

    async def inspect(self, data: bytes, profile: str) -> Inspection:
        """The doctor: everything a send would do, without sending."""
        try:
            note = await self._transcoder.voice_note(data, profile, limits=self._limits)
        except AudioError as error:
            raise GatewayError(error.code, error.text) from error
        return Inspection(note.ogg, note.seconds, note.duration, note.waveform, note.report)

    # ------------------------------------------------------------------ kinds

    async def _voice_note(self, draft: Draft) -> Draft:
        note = await self._transcoder.voice_note(draft.data, draft.profile or self._settings.audio.profile, limits=self._limits)
        return msgspec.structs.replace(draft, data=note.ogg, mimetype=note.mimetype, seconds=note.seconds,
                                       waveform=note.waveform)

    async def _audio_file(self, draft: Draft) -> Draft:
        audio = await self._transcoder.audio_file(draft.data, limits=self._limits)
        return msgspec.structs.replace(draft, data=audio.data, mimetype=audio.mimetype, seconds=audio.seconds)

    async def _image(self, draft: Draft) -> Draft:
        image = await self._look(inspect_image, draft.data)
        if image.animated and image.mimetype == "image/gif":        # as WhatsApp's own clients send them
            moving = await self._look(gif_to_video, draft.data)
            return await self._video(msgspec.structs.replace(draft, kind="video", data=moving, gif=True))
        return msgspec.structs.replace(draft, mimetype=image.mimetype, width=image.width, height=image.height,
                                       thumbnail=image.thumbnail)

    async def _video(self, draft: Draft) -> Draft:
        video = await self._look(inspect_video, draft.data)
        return msgspec.structs.replace(draft, mimetype=video.mimetype, seconds=video.seconds, width=video.width,
                                       height=video.height, thumbnail=video.thumbnail)

    async def _look(self, inspect: Callable[[bytes], T], data: bytes) -> T:
        """A thread cannot be cut off: it has its place until it is done, whoever still waits for it."""
        await self._looking.acquire()
        looking = asyncio.ensure_future(asyncio.to_thread(inspect, data))

        def looked(done: asyncio.Future[T]) -> None:
            self._looking.release()
            if not done.cancelled():
                done.exception()                # seen, also where nobody waits any more

        looking.add_done_callback(looked)
        return await asyncio.shield(looking)

    async def _document(self, draft: Draft) -> Draft:
        if not draft.data:
            raise GatewayError("empty")
        return msgspec.structs.replace(draft, filename=draft.filename or "file", mimetype=sniff(draft.data).mimetype)


def with_fetched(draft: Draft, fetched: Fetched) -> Draft:
    return msgspec.structs.replace(draft, data=fetched.data, url="", filename=draft.filename or fetched.filename or "",
                                   mimetype=draft.mimetype or fetched.content_type or "")


def facts_of(draft: Draft) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if draft.data:
        facts |= {"mimetype": draft.mimetype, "size": len(draft.data)}
    if draft.seconds:
        facts["seconds"] = draft.seconds
    if draft.waveform:
        facts["waveform"] = list(draft.waveform)
    if draft.width:
        facts |= {"width": draft.width, "height": draft.height}
    if draft.filename and draft.kind == "document":
        facts["filename"] = draft.filename
    if draft.reply_to:
        facts["reply_to_whatsapp_id"] = draft.reply_to.id
    if draft.target:
        facts["target_whatsapp_id"] = draft.target.id
    return facts
