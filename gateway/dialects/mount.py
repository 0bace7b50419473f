"""Which dialects there are."""

from __future__ import annotations

from starlette.routing import BaseRoute

from gateway.api.http import Group
from gateway.dialects import evolution, gowa, sendapi, svara, waha, wawp, wuzapi
from gateway.dialects.dialect import Dialect, enabled_of, mount_dialects
from gateway.services.gateway import Gateway

DIALECTS: tuple[Dialect, ...] = (svara.SVARA, sendapi.SENDAPI, wawp.WAWP, waha.WAHA, evolution.EVOLUTION,
                                 wuzapi.WUZAPI, gowa.GOWA)


def mount(gateway: Gateway) -> list[BaseRoute]:
    """The routes of the enabled dialects, to stand after the native ones. Raises ConfigError."""
    return mount_dialects(gateway, DIALECTS)


def described(gateway: Gateway) -> list[Group]:
    """What /openapi.json says of them."""
    return [dialect.group() for dialect in enabled_of(gateway, DIALECTS)]
