"""Which of the core's errors mean that nothing was sent, that it may be tried again, that nobody knows."""

from __future__ import annotations

import pytest

from gateway.errors import TABLE
from gateway.link.failures import pairing_failure, send_error, upload_error


@pytest.mark.parametrize(("text", "code", "certain", "retry"), [
    ("failed to send message node: websocket not connected", "send_failed", True, True),
    ("failed to send message node: frame socket is closed", "send_failed", True, True),
    ("websocket not connected", "send_unconfirmed", False, False),      # said only after a first copy went out
    ("failed to send message node: failed to write msg: broken pipe", "send_unconfirmed", False, False),
    ("timed out waiting for message send response", "send_unconfirmed", False, False),
    ("websocket disconnected before message send returned response", "send_unconfirmed", False, False),
    ("websocket disconnected before message send (retry) returned response", "send_unconfirmed", False, False),
    ("context canceled", "send_unconfirmed", False, False),
    ("failed to save cached sessions: failed to store cached sessions: transaction: commit: database or disk is full",
     "storage_unavailable", True, True),
    ("no LID found for 15559990000@s.whatsapp.net from server", "not_on_whatsapp", True, False),
    ("failed to get user info for 1@s.whatsapp.net to fill LID cache: websocket not connected", "send_failed", True, True),
    ("failed to get user info for 1@s.whatsapp.net to fill LID cache: info query timed out", "send_failed", True, True),
    ("failed to get device list: failed to send usync query: info query returned status 400: bad-request", "send_failed",
     True, False),
    ("failed to get group members: info query returned status 403: forbidden", "send_failed", True, False),
    ("server returned error 463", "account_restricted", True, False),
    ("server returned error 400", "send_failed", True, False),
    ("server returned error 503", "send_failed", True, True),
    ("the store doesn't contain a device JID", "session_gone", True, False),
    ("client is nil", "session_gone", True, False),
    ("failed to encrypt group message to send X to Y: z", "send_failed", True, False),
    ("something nobody has seen", "send_failed", True, False),
])
def test_send_errors_say_whether_the_message_may_be_on_its_way(text: str, code: str, certain: bool, retry: bool) -> None:
    error = send_error(text)
    assert (error.code, error.certain, error.retry) == (code, certain, retry)
    assert error.code in TABLE
    assert error.text == text


@pytest.mark.parametrize(("text", "code", "retry"), [
    ("upload failed with status code 500", "upload_failed", True),
    ("upload failed with status code 507", "upload_failed", True),
    ("upload failed with status code 401", "upload_failed", True),      # the token is renewed by the next attempt
    ("upload failed with status code 413", "upload_failed", False),
    ("failed to execute request: dial tcp: connection refused", "upload_failed", True),
    ("failed to refresh media connections: websocket not connected", "upload_failed", True),
    ("failed to refresh media connections: the store doesn't contain a device JID", "session_gone", False),
])
def test_uploads_fail_for_certain_and_some_may_be_repeated(text: str, code: str, retry: bool) -> None:
    error = upload_error(text)
    assert (error.code, error.certain, error.retry) == (code, True, retry)


@pytest.mark.parametrize(("text", "reason"), [
    ("failed to upgrade database: file is not a database", "core_failed"),
    ("failed to dial whatsapp web websocket: dial tcp: lookup web.whatsapp.com: no such host", "no_network_pairing"),
    ("noise handshake failed: timed out waiting for handshake response", "no_network_pairing"),
])
def test_a_pairing_that_shows_no_code_failed_by_the_store_or_the_network(text: str, reason: str) -> None:
    assert pairing_failure(text) == (reason, text)
