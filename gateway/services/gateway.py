"""Everything an API may call, in one value. The daemon builds it; nothing here does work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.config import Settings
from gateway.services.backup import Backups, Schedule
from gateway.services.feed import Feed
from gateway.services.inbox import Inbox
from gateway.services.keys import Keys
from gateway.services.metrics import Metrics
from gateway.services.outbox import Outbox
from gateway.services.preparing import Preparing
from gateway.services.readiness import Readiness
from gateway.services.sessions import Sessions
from gateway.services.streams import Streams
from gateway.services.tickets import Tickets
from gateway.services.vaulting import Vaulting
from gateway.services.webhooks import WebhookService
from gateway.store.store import Store


@dataclass(frozen=True, slots=True)
class Gateway:
    settings: Settings
    store: Store
    feed: Feed
    keys: Keys
    sessions: Sessions
    outbox: Outbox
    inbox: Inbox
    preparing: Preparing
    tickets: Tickets
    streams: Streams
    webhooks: WebhookService
    metrics: Metrics
    vaulting: Vaulting
    backups: Backups
    schedule: Schedule
    readiness: Readiness
    clock: Callable[[], float]
