"""Answers to requests (`<iq type=get|set>`): a result or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .node import SERVER, Attribute, Node

if TYPE_CHECKING:
    from .people import LinkedDevice
    from .world import World

Answer = Callable[["World", "LinkedDevice", Node], Node]
"""A request of a linked device to what it is answered."""


def result(request: Node, *children: Node, **attrs: Attribute) -> Node:
    """The positive answer to `request`."""
    return Node("iq", {**_envelope(request, "result"), **attrs}, list(children) or None)


def refusal(request: Node, code: int, text: str) -> Node:
    """The negative answer to `request`."""
    return Node("iq", _envelope(request, "error"), [Node("error", {"code": code, "text": text})])


def _envelope(request: Node, kind: str) -> dict[str, Attribute]:
    return {"from": request.address("to") or SERVER, "id": request.text("id"), "type": kind}
