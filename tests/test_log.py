"""What a log line shows, and what it never does."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from gateway import log


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(format: str, level: str = "info") -> io.StringIO:
    out = io.StringIO()
    log.configure(level, format, out)
    return out


def test_a_line_is_json_with_its_event_level_time_and_fields() -> None:
    out = lines("json")
    structlog.get_logger("gateway.x").info("sent", session="s1")
    line = json.loads(out.getvalue())
    assert (line["event"], line["level"], line["session"]) == ("sent", "info", "s1")
    assert line["timestamp"].endswith("Z")


def test_journald_gets_priorities_on_every_line_of_a_traceback() -> None:
    out = lines("journald")
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        structlog.get_logger("gateway.x").exception("failed", session="s1")
    first, *trace = out.getvalue().splitlines()
    assert first == "<3>failed session=s1"
    assert all(line.startswith("<3>") for line in trace) and "RuntimeError: boom" in trace[-1]


@pytest.mark.parametrize("text", [
    "wag_0123456789ab_SeCrEt-Value_1", "GET /v2/send/voice?access_token=SeCrEt&x=1", "url?ticket=SeCrEt", "apikey=SeCrEt",
    "TOKEN=SeCrEt"])
def test_a_secret_never_reaches_the_log_whoever_writes_it(text: str) -> None:
    out = lines("json")
    structlog.get_logger("gateway.x").warning("odd", detail=text)
    logging.getLogger("some.library").warning("said %s", text)
    assert "SeCrEt" not in out.getvalue()
    assert out.getvalue().count("…") == 2


def test_the_standard_librarys_loggers_come_out_the_same_way() -> None:
    out = lines("json")
    logging.getLogger("gateway.core").warning("a line of the core")
    assert json.loads(out.getvalue())["event"] == "a line of the core"


def test_the_level_is_a_floor() -> None:
    out = lines("json", "warning")
    structlog.get_logger("gateway.x").info("quiet")
    assert out.getvalue() == ""


def test_a_line_end_in_a_value_makes_no_line_of_its_own_in_the_journal() -> None:
    out = lines("journald")
    structlog.get_logger("gateway.x").info("event", detail="first\n<0>forged by somebody")
    logging.getLogger("some.library").warning("two\nlines")
    assert out.getvalue().splitlines() == ["<6>event detail=first\\n<0>forged by somebody", "<4>two", "<4>lines"]
