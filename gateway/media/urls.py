"""One strict reading of an http(s) URL, so that what is checked is what is connected to.

Most address guards are beaten by two parsers that disagree about where the host is. Here the host is found once, must be a
plain name, a dotted quad or a bracketed IPv6 literal, and the very `yarl.URL` that was checked goes to the HTTP client.
Path and query are sent as they were given (a signed URL must not be rewritten); only what RFC 3986 does not allow in them
is percent-encoded.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import quote

from yarl import URL

MAX_URL_CHARS = 8192  # the longest request line common servers take
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:@%\\\s]+)(?::(?P<port>[0-9]{1,5})?)?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# WHATWG URL §3.5: a host that ends in a number is an IPv4 address, in whichever of inet_aton's many spellings.
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")


def parse_url(text: str) -> URL:
    """The URL as it will be requested, without its fragment. Raises ValueError with one plain sentence.

    `raw_host` of the result is lower-case ASCII: a DNS name, a canonical dotted quad, or an IPv6 address.
    """
    if len(text) > MAX_URL_CHARS:
        raise ValueError(f"The URL is longer than {MAX_URL_CHARS} characters.")
    if _CONTROL.search(text):
        raise ValueError("The URL contains control characters.")
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError("That is not an absolute http or https URL.")
    scheme = match["scheme"].lower()
    if scheme not in ("http", "https"):
        raise ValueError("Only http and https URLs can be fetched.")
    if "@" in match["authority"]:
        raise ValueError("The URL contains a user name or password; give it without.")
    host, port = _host_and_port(match["authority"])
    try:
        path, query = _as_sent(match["path"] or "/"), _as_sent(match["query"] or "")
    except UnicodeError:
        raise ValueError("The URL contains characters that are not Unicode text.") from None
    return URL.build(scheme=scheme, host=host, port=port, path=path, query_string=query, encoded=True)


def redact_url(text: str) -> str:
    """What of a URL may stand in a log or an error: scheme, host, port. Paths hold tokens too (webhook and bot URLs)."""
    match = _URL.fullmatch(text)
    if match is None:
        return "data:…" if text[:5].lower() == "data:" else "(unreadable URL)"
    try:
        url = parse_url(f"{match['scheme']}://{match['authority'].rpartition('@')[2]}")
    except ValueError:
        return "(unreadable URL)"
    return f"{url.origin()}/…"


def _host_and_port(authority: str) -> tuple[str, int | None]:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise ValueError("The URL's host cannot be read.")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port < 65536:
        raise ValueError("The URL's port is not between 1 and 65535.")
    if match["host"].startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(match['host'][1:-1]).compressed}]", port
        except ValueError:
            raise ValueError("The URL's host is not an IPv6 address.") from None
    return _name(match["host"]), port


def _name(host: str) -> str:
    """The host in ASCII. yarl applies IDNA with UTS 46, which turns full-width digits and dots into plain ones."""
    try:
        name = URL.build(scheme="http", host=host).raw_host or ""
    except ValueError:
        raise ValueError("The URL's host is not a valid name.") from None
    if _ENDS_IN_NUMBER.fullmatch(name):
        # ip_address takes only the canonical spelling; getaddrinfo would take 0x7f.1, 2130706433 and 0177.0.0.1 too.
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise ValueError("The URL's host is not an IPv4 address in its usual form (four decimal numbers).") from None
    if len(name) > 254 or not all(_LABEL.fullmatch(label) for label in name.removesuffix(".").split(".")):
        raise ValueError("The URL's host is not a valid name.")
    return name


def _as_sent(part: str) -> str:
    # surrogateescape: a redirect's Location header may hold raw bytes, which aiohttp hands over in that form.
    return quote(part, safe="%/?:@!$&'()*+,;=~[]|", errors="surrogateescape")
