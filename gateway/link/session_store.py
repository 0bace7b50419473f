"""What the link needs of a session's sealed file: its name for the core, who is linked in it, what was handed over.

Every method blocks, and belongs on a thread."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.jid import JID
from gateway.link import session_sqlite
from gateway.link.base import SessionFile
from gateway.link.sealed_store import SealedStore
from gateway.link.session_sqlite import SessionFileError

__all__ = ["Device", "SessionFileError", "SessionStore"]

@dataclass(frozen=True, slots=True)
class Device:
    """The linked device in a file."""

    jid: JID
    lid: JID | None
    push_name: str
    platform: str
    business_name: str


_SENT = "SELECT message_id FROM whatsmeow_message_secrets WHERE key = ?"


class SessionStore:
    """The sealed store of this process, spoken to in session files."""

    def __init__(self, sealed: SealedStore) -> None:
        self._sealed = sealed

    def dsn(self, file: SessionFile) -> str:
        """The database name to open the core with."""
        self._sealed.add(file.path, file.data_key)
        return self._sealed.dsn(file.path)

    def release(self, file: SessionFile, *, stopped: bool) -> None:
        """The key is no longer kept. `stopped`: the core has let go; the connections that it never closes are closed for it."""
        self._sealed.forget(file.path)
        if stopped:
            self._sealed.close_left_open(file.path)

    def start_over(self, file: SessionFile) -> None:
        """No file, so that the next opening makes a new one. A file of its own and not a cleared one: connections that the
        core left open in this process hold locks on the old one, which would keep the pairing process out."""
        self._sealed.forget(file.path)
        for suffix in ("", "-wal", "-journal", "-shm"):
            file.path.with_name(file.path.name + suffix).unlink(missing_ok=True)
        file.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)

    def damage(self, file: SessionFile) -> str | None:
        """Why the core could not read this file, where that is the file's fault and will not pass; None otherwise."""
        what, sentence = self._sealed.last_refusal(file.path) or ("", "")
        return f"{file.path}: {sentence}" if what in ("authentication_failed", "damaged", "wrong_key", "plaintext_refused") else None

    def device(self, file: SessionFile) -> Device | None:
        """Who is linked; None when nobody is. Raises SessionFileError."""
        if not file.path.exists():
            return None
        self._sealed.add(file.path, file.data_key)
        row = session_sqlite.device(file.path)
        if row is None:
            return None
        return Device(JID.parse(row.jid), JID.parse(row.lid) if row.lid else None, row.push_name, row.platform,
                      row.business_name)

    def sent_id(self, file: SessionFile, secret: bytes) -> str | None:
        """The id of the message that was handed over with this secret. whatsmeow commits (chat, sender, id, secret) before the
        first byte goes out. Raises SessionFileError; LookupError when no device is linked, because the secrets went with it."""
        if self.device(file) is None:
            raise LookupError("no device is linked: what was handed over is no longer known")
        with session_sqlite.connect(file.path) as connection:
            found = connection.one(_SENT, secret)
        return found if isinstance(found, str) else None
