from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.data_uri import parse_data_uri
from gateway.media.fetch import FetchError


@pytest.mark.parametrize(
    ("uri", "data", "content_type"),
    [
        ("data:,A%20brief%20note", b"A brief note", "text/plain"),
        ("data:audio/ogg;base64,T2dnUw==", b"OggS", "audio/ogg"),
        ("DATA:Audio/OGG;BASE64,T2dnUw==", b"OggS", "audio/ogg"),
        ("data:audio/webm;codecs=opus;base64,T2dnUw==", b"OggS", "audio/webm"),
        ("data:audio/ogg; codecs=opus;base64,T2dnUw==", b"OggS", "audio/ogg"),
        ('data:video/webm;codecs="vp8,opus";base64,T2dnUw==', b"OggS", "video/webm"),
        ("data:audio/ogg;base64,T2dnUw%3D%3D", b"OggS", "audio/ogg"),
        ("data:audio/ogg;base64,%2b%2F8=", b"\xfb\xff", "audio/ogg"),
        ("data:image/svg+xml,%3Csvg/%3E", b"<svg/>", "image/svg+xml"),
        ("data:;charset=utf-8,%C3%A9", "é".encode(), "text/plain"),
        ("data:,", b"", "text/plain"),
        ("data:;base64,", b"", "text/plain"),
        ("data:application/octet-stream,%00%ff", b"\x00\xff", "application/octet-stream"),
        ("data:text/plain,a,b;base64", b"a,b;base64", "text/plain"),
    ],
)
def test_a_data_uri_gives_its_bytes_and_type(uri: str, data: bytes, content_type: str) -> None:
    fetched = parse_data_uri(uri, max_bytes=100)
    assert (fetched.data, fetched.content_type, fetched.url, fetched.filename) == (data, content_type, "data:", None)


@pytest.mark.parametrize(
    "uri",
    [
        "", "data:", "data", "http://example.com/", " data:,x", "data:audio/ogg;base64", "data:audio;base64,T2dnUw==",
        "data:/ogg,x", "data:audio/ogg;base64;codecs=opus,T2dnUw==", "data:audio/ogg;codecs,x",
        "data:audio/ogg;base64,T2dnUw", "data:audio/ogg;base64,T2dnUw=", "data:audio/ogg;base64,T2dn\nUw==",
        "data:audio/ogg;base64,T2dn Uw==", "data:audio/ogg;base64,-_8=", "data:audio/ogg;base64,T2dnUw==T2dn",
        "data:audio/ogg;base64,====", "data:audio/ogg;base64,%zz", "data:audio/ogg;base64,é", "data:audio/ogg;base64,\ud800",
        "data:,%", "data:,%4", "data:,%zz", "data:,a b", "data:,é", "data:,a#b", "data:,<x>", "data:,\ud800", "data:,a\tb",
        "data:video/webm;codecs=vp8,opus;base64,T2dnUw==", "data:au dio/ogg,x", "data:audio/ogg\n,x",
    ],
)  # fmt: skip
def test_anything_else_is_refused(uri: str) -> None:
    with pytest.raises(FetchError) as caught:
        parse_data_uri(uri, max_bytes=100)
    assert caught.value.code == "fetch_bad_url"


@given(st.binary(max_size=60))
def test_every_body_survives_base64(body: bytes) -> None:
    uri = "data:audio/ogg;base64," + base64.b64encode(body).decode()
    assert parse_data_uri(uri, max_bytes=len(body)).data == body


@given(st.binary(max_size=60))
def test_every_body_survives_percent_encoding(body: bytes) -> None:
    uri = "data:audio/ogg," + "".join(f"%{byte:02x}" for byte in body)
    assert parse_data_uri(uri, max_bytes=len(body)).data == body


@given(st.text(max_size=80))
def test_any_text_is_a_result_or_a_fetch_error(text: str) -> None:
    try:
        fetched = parse_data_uri("data:" + text, max_bytes=50)
    except FetchError as error:
        assert error.code in ("fetch_bad_url", "fetch_too_large")  # noqa: PT017
    else:
        assert len(fetched.data) <= 50


@pytest.mark.parametrize("size", [10, 11, 12, 13, 14])
def test_the_limit_is_on_the_decoded_bytes(size: int) -> None:
    for uri in ("data:;base64," + base64.b64encode(b"x" * size).decode(), "data:," + "%78" * size):
        if size <= 11:
            assert len(parse_data_uri(uri, max_bytes=11).data) == size
        else:
            with pytest.raises(FetchError) as caught:
                parse_data_uri(uri, max_bytes=11)
            assert caught.value.code == "fetch_too_large"


def test_a_body_that_is_far_too_large_is_refused_before_it_is_decoded() -> None:
    """The size is judged first: were this body decoded, its bad base64 would be the complaint."""
    with pytest.raises(FetchError) as caught:
        parse_data_uri("data:;base64," + "!" * 1000, max_bytes=10)
    assert caught.value.code == "fetch_too_large"


@pytest.mark.parametrize(
    ("parameter", "name"),
    [("name=note.ogg", "note.ogg"), ("filename=b%C3%A9.ogg", "bé.ogg"), ('name="a b.ogg"', "a b.ogg"),
     ("name=..%2F..%2Fetc%2Fpasswd", "passwd"), ("name=%2e%2e", None)],
)  # fmt: skip
def test_a_name_parameter_is_the_file_name(parameter: str, name: str | None) -> None:
    assert parse_data_uri(f"data:audio/ogg;{parameter};base64,T2dnUw==", max_bytes=10).filename == name
