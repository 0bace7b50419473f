"""docs/api.md and docs/errors.md say what there is: every route, event type, filter and code."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.api import app
from gateway.errors import TABLE
from gateway.store.journal import TYPES

DOCS = Path(__file__).parents[2] / "docs"


def table() -> str:
    """The table of docs/errors.md, in the order of `gateway.errors`."""
    rows = [f"| `{c.code}` | {c.status} | {c.sentence} | {c.hint.replace('|', '/')} |" for c in TABLE.values()]
    return "\n".join(["| code | HTTP | meaning | what to do |", "|---|---|---|---|", *rows])


def test_every_error_code_is_in_the_manual_as_the_program_has_it() -> None:
    assert table() in (DOCS / "errors.md").read_text("utf-8"), f"put this into docs/errors.md:\n{table()}"


def test_every_route_is_in_the_manual_and_no_other() -> None:
    text = (DOCS / "api.md").read_text("utf-8")
    written = set(re.findall(r"`(GET|POST|PATCH|PUT|DELETE) (/[^`\s?]*)", text))
    there = {(e.method, e.path) for e in app.ENDPOINTS} | {("GET", "/openapi.json"), ("GET", "/docs")}
    assert written == there


def test_every_event_type_and_every_query_parameter_is_in_the_manual() -> None:
    text = (DOCS / "api.md").read_text("utf-8")
    for name in TYPES:
        assert f"| `{name}` |" in text, name
    for e in app.ENDPOINTS:
        if e.query is not None:
            for field in e.query.__struct_fields__:                 # type: ignore[attr-defined]
                assert f"`{field}`" in text, (e.path, field)


def test_every_field_of_a_request_is_in_the_manual() -> None:
    text = "".join((DOCS / name).read_text("utf-8") for name in ("api.md", "webhooks.md"))
    for e in app.ENDPOINTS:
        if e.body is not None:
            for field in e.body.__struct_fields__:                  # type: ignore[attr-defined]
                assert f"`{field}`" in text or f'"{field}"' in text, (e.path, field)
