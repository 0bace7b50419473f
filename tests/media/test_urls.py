from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.addresses import AddressRules
from gateway.media.urls import MAX_URL_CHARS, parse_url, redact_url


@pytest.mark.parametrize(
    ("given_url", "requested"),
    [
        ("http://example.com", "http://example.com/"),
        ("HTTP://EXAMPLE.com:80/A", "http://example.com/A"),
        ("https://example.com:8443?q=1#part", "https://example.com:8443/?q=1"),
        ("http://example.com./x", "http://example.com./x"),
        ("http://my_host.example/x", "http://my_host.example/x"),
        ("http://bücher.example/é à?ü=1", "http://xn--bcher-kva.example/%C3%A9%20%C3%A0?%C3%BC=1"),
        ("http://[2606:4700::1111]:8080/", "http://[2606:4700::1111]:8080/"),
        ("http://８．８．８．８/", "http://8.8.8.8/"),
        ("http://example.com/a@b\\c", "http://example.com/a@b%5Cc"),
    ],
)
def test_a_url_is_read_as_it_will_be_requested(given_url: str, requested: str) -> None:
    assert str(parse_url(given_url)) == requested


@pytest.mark.parametrize("rest", ["/a%2Fb/../c;d=e?X-Sig=a%2Bb%3D%3D&x=a+b,c%2c&n=%7E~", "/%zz?%", "//double//", "/?a=b?c"])
def test_path_and_query_of_a_signed_url_are_not_rewritten(rest: str) -> None:
    assert str(parse_url("https://bucket.example" + rest)) == "https://bucket.example" + rest


def test_a_url_of_unreasonable_length_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than"):
        parse_url("http://example.com/" + "a" * MAX_URL_CHARS)


@given(st.text(max_size=40), st.sampled_from(["http://", "https://", "http://[", "", "http://user@"]))
def test_any_text_is_a_checked_url_or_a_value_error(text: str, start: str) -> None:
    """What comes out has a host that is a literal address or a name with no other reading, and no credentials."""
    try:
        url = parse_url(start + text)
    except ValueError:
        return
    host = url.raw_host or ""
    assert host == host.lower()
    assert host.isascii()
    assert not set(host) & set(" @%/\\?#[]")
    assert url.user is None
    assert url.password is None
    if ":" in host or host.rstrip(".").rpartition(".")[2].isdigit():
        assert AddressRules().objection(host) != "not an IP address"


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("https://bucket.example/voice.ogg?X-Amz-Signature=secret", "https://bucket.example/…"),
        ("https://hooks.example:8443/services/T0/secret#secret", "https://hooks.example:8443/…"),
        ("https://user:secret@example.com/", "https://example.com/…"),
        ("https://user:sec/ret@example.com/", "(unreadable URL)"),
        ("https://user@secret:secret@example.com/", "https://example.com/…"),
        ("data:audio/ogg;base64,secret", "data:…"),
        ("DATA:,secret", "data:…"),
        ("http://0x7f.1/secret", "(unreadable URL)"),
        ("http://exa\nmple.com/secret", "(unreadable URL)"),
        ("secret", "(unreadable URL)"),
        ("", "(unreadable URL)"),
    ],
)
def test_a_redacted_url_names_the_host_and_nothing_secret(url: str, redacted: str) -> None:
    assert redact_url(url) == redacted
