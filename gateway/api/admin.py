"""/api/v1/admin: the vault and backups, for the command line and for whoever keeps the gateway."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.responses import FileResponse, Response

from gateway.api.http import Call, Endpoint, Shape
from gateway.errors import GatewayError
from gateway.store.backup import digest_of
from gateway.times import iso


class VaultShape(Shape):
    fingerprint: str
    source: str
    path: str
    rotating: bool
    sessions: int
    can_rotate: bool


class Rotated(Shape):
    fingerprint: str
    rewrapped: int


class Rekeyed(Shape):
    session: str
    session_key: str


class ScheduledBackup(Shape):
    file: str
    made_at: str
    bytes: int


class BackupsShape(Shape):
    last_at: str | None
    last_error: str
    directory: str
    every_hours: float
    keep: int
    scheduled: list[ScheduledBackup]


async def vault(call: Call) -> Response:
    status = await call.gateway.vaulting.status()
    return call.answer(VaultShape(fingerprint=status.fingerprint, source=status.source, path=status.path, rotating=status.rotating,
                                  sessions=status.sessions, can_rotate=status.can_rotate))


async def rotate(call: Call) -> Response:
    count = await call.gateway.vaulting.rotate()
    return call.answer(Rotated(fingerprint=call.gateway.store.vault.fingerprint, rewrapped=count))


async def rekey(call: Call) -> Response:
    name = call.path("id")
    sessions = await call.gateway.store.sessions.all()
    found = [s for s in sessions if s.id == name] or [s for s in sessions if s.session_key == name]
    if not found:
        raise GatewayError("session_not_found")
    if len(found) > 1:
        raise GatewayError("session_ambiguous", sessions=[s.id for s in found])
    await call.gateway.vaulting.rekey(found[0])
    return call.answer(Rekeyed(session=found[0].id, session_key=found[0].session_key))


async def make_backup(call: Call) -> Response:
    """The file is made beside the data, checked, sent and removed."""
    draft = call.gateway.backups.draft()
    manifest = await call.gateway.backups.make(draft)
    digest = await asyncio.to_thread(digest_of, draft)
    return FileResponse(draft, media_type="application/octet-stream", filename="wagateway.backup",
                        headers={"X-Content-SHA256": digest, "X-Backup-Sessions": str(len(manifest.sessions)),
                                 "X-Backup-Left-Out": str(len(manifest.left_out)), "Cache-Control": "no-store"},
                        background=BackgroundTask(_remove, draft))


async def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def backups(call: Call) -> Response:
    gateway = call.gateway
    settings = gateway.settings.backup
    made = gateway.schedule.files() if settings.directory else []
    return call.answer(BackupsShape(
        last_at=iso(gateway.backups.last_at), last_error=gateway.backups.last_error, directory=settings.directory,
        every_hours=settings.every_hours, keep=settings.keep,
        scheduled=[ScheduledBackup(file=str(path), made_at=iso(at) or "", bytes=os.path.getsize(path)) for at, path in made]))


ENDPOINTS = [
    Endpoint("GET", "/api/v1/admin/vault", vault, "Which master key, and where it comes from", "admin", answer=VaultShape,
             tag="admin"),
    Endpoint("POST", "/api/v1/admin/vault/rotate", rotate, "A new master key; links stay up", "admin", answer=Rotated,
             errors=("vault_refused", "storage_unavailable"), tag="admin"),
    Endpoint("POST", "/api/v1/admin/sessions/{id}/rekey", rekey, "A new data key for a session's file; its link is down for a moment",
             "admin", answer=Rekeyed, errors=("session_not_found", "session_ambiguous", "vault_refused", "storage_unavailable"),
             tag="admin"),
    Endpoint("POST", "/api/v1/admin/backup", make_backup, "Make a backup, and send it: one sealed file", "admin",
             errors=("backup_failed", "storage_unavailable"), produces=("application/octet-stream",), tag="admin"),
    Endpoint("GET", "/api/v1/admin/backups", backups, "The scheduled backups, and how the last one went", "admin",
             answer=BackupsShape, tag="admin"),
]
