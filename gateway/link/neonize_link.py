"""`Link` over neonize: one session's live connection, its events on the event loop in WhatsApp's order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from gateway.events import Connected, ConnectFailed, Disconnected, LinkEvent, LoggedOut
from gateway.jid import JID
from gateway.link import failures, from_whatsapp, to_whatsapp
from gateway.link.base import Account, LinkError, SendError, SessionFile
from gateway.link.binding import Core, CoreSession, NotRunning
from gateway.link.reach import unreachable
from gateway.link.session_store import Device, SessionFileError, SessionStore
from gateway.link.threads import in_thread
from gateway.messages import MediaRef, MessageKey, Outgoing, SendReceipt

T = TypeVar("T")
log = logging.getLogger(__name__)
_MEDIA = {"image": 0, "video": 1, "audio": 2, "document": 3}
_NOT_OPEN = "the link is not open"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each thing may take, in seconds. The core itself waits 75 s for an acknowledgement or an answer, and longer
    where it sent a message again after the connection broke."""

    ack: float = 100.0
    upload: float = 600.0
    download: float = 600.0
    call: float = 80.0
    close: float = 12.0
    look: float = 15.0          # between two questions whether there is still a connection
    reconnect: float = 300.0    # for the core to connect by itself; its pauses grow by 2 s with each try, without an end


class NeonizeLink:
    """See `base.Link`. Made by `NeonizeLinks.link`."""

    def __init__(self, core: Core, store: SessionStore, file: SessionFile, sink: Callable[[LinkEvent], None],
                 patience: Patience) -> None:
        self._core, self._store, self._file, self._patience = core, store, file, patience
        self._sink: Callable[[LinkEvent], None] | None = sink
        self._session: CoreSession | None = None
        self._own: Device | None = None
        self._opening: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._closing = False
        self._uploads = asyncio.Semaphore(2)
        self._one_at_a_time = asyncio.Lock()
        self._handed_over: dict[bytes, asyncio.Future[bytes]] = {}
        self._connections = 0                   # that began or ended: the core sends again what was on its way then
        self._connected = False                 # as far as it was told
        self._gone_since = 0.0                  # while it is not; monotonic

    # ------------------------------------------------------------------ the connection

    async def open(self) -> None:
        if not self._closing and self._session is None and self._opening is None:
            self._opening = asyncio.create_task(self._open(), name=self._name("open"))
            self._opening.add_done_callback(self._opened)

    def _opened(self, opening: asyncio.Task[None]) -> None:
        self._opening = None
        if not opening.cancelled() and (error := opening.exception()) is not None:
            log.error("session %s could not be opened", self._file.session_id, exc_info=error)
            self._tell(ConnectFailed(f"{type(error).__name__}: {error}"))

    async def _open(self) -> None:
        try:
            self._own = await in_thread(lambda: self._store.device(self._file), self._name("device"))
        except SessionFileError as error:
            self._tell(ConnectFailed(str(error) if error.passes else f"store_damaged: {error}"))
            return
        if self._own is None:
            # Opened all the same, the core would show QR codes to nobody and never end.
            self._tell(LoggedOut(True, "unknown_logout", "no device is linked in this session's file"))
            return
        if (reason := await unreachable(self._core.proxy_url)) is not None:
            self._tell(ConnectFailed(reason))
            return
        loop = asyncio.get_running_loop()

        def post(function: Callable[..., None], *arguments: Any) -> None:
            with contextlib.suppress(RuntimeError):         # the loop is closed
                loop.call_soon_threadsafe(function, *arguments)

        session: CoreSession
        session = self._session = self._core.session(
            self._store.dsn(self._file), label=self._file.session_id, events=from_whatsapp.SUBSCRIBED,
            on_event=lambda code, data: post(self._arrived, session, code, data),
            on_end=lambda error: post(self._ended, session, error))
        self._connected, self._gone_since = False, time.monotonic()
        session.start()
        self._watching = asyncio.create_task(self._watch(session), name=self._name("watch"))

    async def _watch(self, session: CoreSession) -> None:
        """The core is not trusted to tell every end of a connection, nor to come back in good time: then we dial.

        After a stream error 515 it dials once, and when that fails it neither tries again nor says so (whatsmeow,
        handleStreamError). So it is asked; while it dials it has no connection either, which is why two looks in a row count."""
        missed = 0
        while session is self._session and missed < 2:
            await asyncio.sleep(self._patience.look)
            if not self._connected:
                missed = 0
                if time.monotonic() - self._gone_since > self._patience.reconnect:
                    break
            else:
                there = True
                with contextlib.suppress(NotRunning, RuntimeError):     # or there is no thread to be had
                    there = await in_thread(lambda: session.call("IsConnected"), self._name("look"))
                missed = 0 if there else missed + 1
        if session is self._session:
            self._tell(ConnectFailed("the connection is gone, and WhatsApp's core does not dial again" if self._connected else
                                     f"WhatsApp's core has not connected for {self._patience.reconnect:g} s"))

    def _arrived(self, session: CoreSession, code: int, data: bytes) -> None:
        if code != 0 and session is self._session:          # 0: the core is ready for calls, Connected is still to come
            self._tell(from_whatsapp.from_whatsapp(code, data))

    def _ended(self, session: CoreSession, error: str) -> None:
        if session is not self._session:
            return
        self._session = None
        if self._closing:
            return
        if "database" in error and (damage := self._store.damage(self._file)) is not None:
            error = f"store_damaged: {damage}"
        meaning = from_whatsapp.ended(error)
        self._tell(meaning if meaning is not None else ConnectFailed(error))

    def _tell(self, event: LinkEvent) -> None:
        if isinstance(event, (Connected, Disconnected)):
            self._connections += 1
            if self._connected:
                self._gone_since = time.monotonic()
            self._connected = isinstance(event, Connected)
        if self._sink is None:
            return
        try:
            self._sink(event)
        except Exception:
            log.exception("session %s: %s could not be handled", self._file.session_id, type(event).__name__)

    async def close(self) -> None:
        # Until the core has stopped it goes on acknowledging what arrives, so all of that is still told.
        self._closing = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening})
        if self._watching is not None:
            self._watching.cancel()
        session, stopped = self._session, True
        if session is not None:
            stopping = in_thread(session.stop, self._name("stop"))
            done, _ = await asyncio.wait({stopping}, timeout=self._patience.close)
            if done:
                self._session = None
                stopping.result()
            else:
                stopped = False
                log.warning("session %s: the core has not stopped within %g s; it is left to end by itself",
                            self._file.session_id, self._patience.close)
                stopping.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        self._sink = None
        await in_thread(lambda: self._store.release(self._file, stopped=stopped), self._name("release"))

    async def account(self) -> Account | None:
        try:
            device = await in_thread(lambda: self._store.device(self._file), self._name("device"))
        except SessionFileError as error:
            raise LinkError(str(error), "storage_unavailable") from error
        return Account(device.jid, device.lid, device.push_name, device.platform) if device is not None else None

    # ------------------------------------------------------------------ sending

    async def send(self, to: JID, message: Outgoing, secret: bytes) -> SendReceipt:
        session, own = self._session, self._own
        if session is None or own is None or self._closing:
            raise SendError("session_not_connected", _NOT_OPEN, retry=True)
        uploaded = None
        if attached := to_whatsapp.attachment(message):
            async with self._uploads:
                uploaded = await self._upload(session, *attached)
        payload = to_whatsapp.payload(message, secret, own=own.jid, uploaded=uploaded).SerializeToString()
        address = to_whatsapp.jid_bytes(to.non_ad())
        before = 0

        def call() -> bytes:
            nonlocal before
            before = self._connections
            return session.call("SendMessage", address, len(address), payload, len(payload))  # type: ignore[no-any-return]

        answer = await self._hand_over(secret, call)
        sent = self._read("SendMessageReturnFunction", answer)
        if sent.Error:
            raise failures.send_error(sent.Error, perhaps_a_copy=self._connections != before)
        return SendReceipt(sent.SendResponse.ID, sent.SendResponse.Timestamp)

    async def _hand_over(self, secret: bytes, call: Callable[[], bytes]) -> bytes:
        """One message at a time is inside the core, which would queue the others: given up there, they would be sent later
        all the same. Here they have certainly not left."""
        waited = f"an earlier message has had no acknowledgement for {self._patience.ack:g} s"
        try:
            async with asyncio.timeout(self._patience.ack):
                await self._one_at_a_time.acquire()
        except TimeoutError:
            raise SendError("send_failed", waited, retry=True) from None
        try:
            outcome = self._handed_over[secret] = in_thread(call, self._name("send"))
        except BaseException:                   # no thread to be had
            self._one_at_a_time.release()
            raise

        def returned(outcome: asyncio.Future[bytes]) -> None:
            self._handed_over.pop(secret, None)
            self._one_at_a_time.release()
            outcome.exception()                 # looked at, whoever waits

        outcome.add_done_callback(returned)
        try:
            async with asyncio.timeout(self._patience.ack):
                return await asyncio.shield(outcome)
        except NotRunning:
            raise SendError("session_not_connected", _NOT_OPEN, retry=True) from None
        except TimeoutError:
            raise SendError("send_unconfirmed", f"no acknowledgement within {self._patience.ack:g} s", certain=False) from None

    async def _upload(self, session: CoreSession, kind: str, data: bytes) -> to_whatsapp.Uploaded:
        try:
            answer = await self._in_core(lambda: session.call("Upload", data, len(data), _MEDIA[kind]), self._patience.upload)
        except NotRunning:
            raise SendError("session_not_connected", _NOT_OPEN, retry=True) from None
        except TimeoutError:
            raise SendError("upload_failed", f"not uploaded within {self._patience.upload:g} s", retry=True) from None
        result = self._read("UploadReturnFunction", answer)
        if result.Error:
            raise failures.upload_error(result.Error)
        at = result.UploadResponse
        return to_whatsapp.Uploaded(at.url, at.DirectPath, at.MediaKey, at.FileSHA256, at.FileEncSHA256, len(data))

    async def find_sent(self, secret: bytes) -> str | None:
        if (outcome := self._handed_over.get(secret)) is not None:
            # The core still has it, perhaps not yet at the point where it writes it down.
            await asyncio.wait({outcome}, timeout=self._patience.call)
            if not outcome.done():
                raise LinkError("the core still holds this message", "send_unconfirmed")
        try:
            return await in_thread(lambda: self._store.sent_id(self._file, secret), self._name("find"))
        except LookupError as error:
            raise LinkError(str(error), "session_gone") from error
        except SessionFileError as error:
            raise LinkError(str(error), "storage_unavailable") from error

    # ------------------------------------------------------------------ other calls

    async def is_on_whatsapp(self, numbers: Sequence[str]) -> dict[str, JID | None]:
        found: dict[str, JID | None] = dict.fromkeys(numbers)
        if not found:
            return found
        asked = " ".join(f"+{number}" for number in found).encode()
        result = self._read("IsOnWhatsAppReturnFunction", await self._call("IsOnWhatsApp", asked))
        if result.Error and not result.Error.startswith("Function returned nothing"):
            raise LinkError(result.Error)
        for one in result.IsOnWhatsAppResponse:
            number = one.Query.lstrip("+")
            if one.IsIn and number in found and one.JID.User:
                found[number] = from_whatsapp.jid(one.JID).non_ad()
        return found

    async def set_presence(self, available: bool) -> None:
        self._accepted(await self._call("SendPresence", b"available" if available else b"unavailable"))

    async def chat_presence(self, chat: JID, state: Literal["composing", "recording", "paused"]) -> None:
        address = to_whatsapp.jid_bytes(chat.non_ad())
        self._accepted(await self._call("SendChatPresence", address, len(address), int(state == "paused"),
                                        int(state == "recording")))

    async def mark_read(self, keys: Sequence[MessageKey], played: bool = False) -> None:
        if not keys:
            return
        if len({(key.chat, key.sender) for key in keys}) > 1:
            raise LinkError("messages of one chat and sender are marked together", "bad_request")
        chat, sender = to_whatsapp.jid_bytes(keys[0].chat.non_ad()), to_whatsapp.jid_bytes(keys[0].sender)
        self._accepted(await self._call(
            "MarkRead", " ".join(key.id for key in keys).encode(), int(time.time()), chat, len(chat), sender, len(sender),
            b"played" if played else b"read"))

    async def download(self, media: MediaRef) -> bytes:
        answer = await self._call(
            "DownloadMediaWithPath", media.direct_path.encode(), media.file_enc_sha256, len(media.file_enc_sha256),
            media.file_sha256, len(media.file_sha256), media.media_key, len(media.media_key),
            min(media.file_length, 2**31 - 1), _MEDIA[media.type], b"", seconds=self._patience.download)
        result = self._read("DownloadReturnFunction", answer)
        if result.Error:
            raise LinkError(result.Error, "media_unavailable")
        content: bytes = result.Binary
        return content

    async def logout(self) -> None:
        self._accepted(await self._call("Logout"))

    # ------------------------------------------------------------------ how calls are made

    async def _call(self, function: str, *arguments: Any, seconds: float | None = None) -> bytes:
        session = self._session
        if session is None or self._closing:
            raise LinkError(_NOT_OPEN, "session_not_connected")
        try:
            return await self._in_core(lambda: session.call(function, *arguments), seconds or self._patience.call)
        except NotRunning:
            raise LinkError(_NOT_OPEN, "session_not_connected") from None
        except TimeoutError:
            raise LinkError(f"WhatsApp did not answer {function} in time") from None

    async def _in_core(self, call: Callable[[], bytes], seconds: float) -> bytes:
        async with asyncio.timeout(seconds):
            return await in_thread(call, self._name("call"))

    def _read(self, kind: str, answer: bytes) -> Any:
        return getattr(self._core.library.neonize, kind).FromString(answer)

    def _accepted(self, answer: bytes) -> None:
        if answer:
            raise LinkError(answer.decode(errors="replace"))

    def _name(self, what: str) -> str:
        return f"{what} {self._file.session_id}"
