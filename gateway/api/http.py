"""What every call has in common: the key, the body with its limits, the envelope of errors, the headers.

An `Endpoint` is a value: the router, the OpenAPI document and the tests are made from the same list.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol, TypeVar

import msgspec
import structlog
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway.errors import GatewayError, InvalidField
from gateway.services.gateway import Gateway
from gateway.services.keys import Allowance
from gateway.services.tickets import Ticket
from gateway.store.keys import Key
from gateway.store.usage import Answer

log = structlog.get_logger("gateway.api")

T = TypeVar("T")
SMALL_BODY = 1 << 20
MOST_FIELDS, MOST_ESCAPES = 1_000, 200_000      # of an urlencoded form, which is read before its sender is known: tens of milliseconds
LONGEST_NAME = 200              # of a field, as it is told
# NUL and other control characters have no meaning in a name, and NUL has none in a text: some of what reads them stops there.
Words = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$")]
Line = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]*$")]
# Of forms. Python knows more: some take minutes for a megabyte (punycode), some give what is no text (utf-7's lone surrogates).
_CHARSETS = (b"", b"utf-8", b"utf8", b"us-ascii", b"iso-8859-1")
_PATH_OF = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `([^`]+)`")
_NOT_WANTED = re.compile(r";\s*q=0(?:\.0*)?\s*(?:;|$)")
_MISSING = re.compile(r"missing required field `([^`]+)`")


class Strict(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=False, kw_only=True):
    """A request of the native API: a field it does not know is refused by name."""


class Shape(msgspec.Struct, kw_only=True):
    """An answer."""


class Style(Protocol):
    """How an API words what all of them share."""

    name: str

    def credentials(self, request: Request, fields: Mapping[str, Any]) -> str | None:
        """The API key's text, if one was sent."""

    def error(self, error: GatewayError) -> Response: ...


@dataclass(frozen=True)
class Endpoint:
    """One method of one path. `scope` None: no key is needed. `body`, `query`, `answer` are the types that validate and
    document it; `errors` are codes besides those every call may give."""

    method: str
    path: str
    handler: Callable[[Call], Awaitable[Response]]
    summary: str
    scope: str | None = "read"
    body: type | None = None
    tickets: bool = False                   # a stream ticket in the query stands for the key
    files: bool = False                     # takes multipart/form-data with a part named `file`
    query: type | None = None
    answer: Any = None
    status: int = 200
    statuses: tuple[int, ...] = ()          # other good ones, with the same answer
    errors: tuple[str, ...] = ()
    tag: str = ""
    description: str = ""
    example: Any = None                     # of the body
    max_body: Callable[[Gateway], int] = lambda gateway: SMALL_BODY
    produces: tuple[str, ...] = ("application/json",)


@dataclass(frozen=True)
class Group:
    """The endpoints of one API as the OpenAPI document describes them.

    `prefix` stands before their paths. `forms`: bodies may be forms too (urlencoded or multipart). `security`: OpenAPI
    security schemes by name, each of which is enough. `error`: the type of its error envelope. `style` words the errors; None:
    the native one."""

    title: str
    endpoints: Sequence[Endpoint]
    security: Mapping[str, Mapping[str, Any]]
    error: type
    prefix: str = ""
    forms: bool = False
    description: str = ""
    style: Style | None = None


@dataclass(frozen=True, slots=True)
class File:
    data: bytes
    filename: str
    content_type: str


@dataclass(slots=True)
class Body:
    """A request's fields, whatever form they came in; `form`: their values are text."""

    fields: dict[str, Any]
    files: dict[str, File] = field(default_factory=dict)
    form: bool = False
    raw: bytes = b""


@dataclass(slots=True)
class Repeatable:
    """A call with an Idempotency-Key; `request`: a digest of what it asks for. `kept`: its answer, once something was accepted."""

    key: str
    request: bytes
    kept: Answer | None = None


@dataclass(slots=True)
class Call:
    """One request on its way through a handler."""

    request: Request
    gateway: Gateway
    endpoint: Endpoint
    style: Style
    body: Body
    caller: Key | None = None
    allowance: Allowance | None = None
    ticket: Ticket | None = None
    repeatable: Repeatable | None = None
    timings: dict[str, float] = field(default_factory=dict)     # seconds of parts of the answer, told as Server-Timing

    @property
    def key(self) -> Key:
        assert self.caller is not None
        return self.caller

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])

    def parse(self, kind: type[T]) -> T:
        """The body as `kind`. Raises InvalidField naming the field."""
        return convert(self.body.fields, kind, strict=not self.body.form)

    def query(self, kind: type[T]) -> T:
        return convert(dict(self.request.query_params), kind, strict=False)

    def answer(self, value: Any, status: int | None = None, headers: Mapping[str, str] | None = None) -> Response:
        return json_response(value, status or self.endpoint.status, headers)


def convert(fields: Any, kind: type[T], *, strict: bool) -> T:
    """Raises InvalidField."""
    try:
        return msgspec.convert(fields, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None


def _invalid(text: str) -> InvalidField:
    at = _PATH_OF.search(text)
    sentence = _PATH_OF.sub("", text).replace("Object", "The body")
    name = at.group(1) if at else ""
    for pattern, sentence_of in ((_UNKNOWN, "this field is not known"), (_MISSING, "this field is missing")):
        if found := pattern.search(text):
            name, sentence = f"{name}.{found.group(1)}" if name else found.group(1), sentence_of
    name = name[:LONGEST_NAME]
    return InvalidField(name or "body", f"{name}: {sentence}" if name else sentence)


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, dict(headers or {}), "application/json")


# ------------------------------------------------------------------ bodies


async def read_bytes(request: Request, limit: int) -> bytes:
    """Raises payload_too_large as soon as it is."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large(limit)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def too_large(limit: int) -> GatewayError:
    return GatewayError("payload_too_large", f"The body is larger than {limit // 1024} KiB.", limit=limit)


async def read_body(request: Request, limit: int, *, files: bool, forms: bool = False) -> Body:
    """JSON, or where allowed a form. Raises bad_request, unsupported_media_type, payload_too_large, InvalidField."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise GatewayError("unsupported_media_type", "The body must not be compressed.")
    if kind == "multipart/form-data" and (files or forms):
        return await _multipart(request, limit)
    raw = await read_bytes(request, limit)
    if not raw:
        return Body({})
    if kind == "application/x-www-form-urlencoded" and forms:
        return await _urlencoded(request.headers, raw)
    if kind not in ("", "application/json") and not kind.endswith("+json"):
        takes = "application/json" + (" or multipart/form-data" if files else "")
        raise GatewayError("unsupported_media_type", f"The body must be {takes}, not {kind[:60]}.")
    try:
        fields = msgspec.json.decode(raw)       # strict: no NaN, no lone surrogates, nothing after the end
    except (ValueError, RecursionError):
        raise InvalidField("body", "The body is not valid JSON.") from None
    if not isinstance(fields, dict):
        raise InvalidField("body", "The body must be a JSON object.")
    return Body(fields, raw=raw)


async def _urlencoded(headers: Headers, raw: bytes) -> Body:
    if raw.count(b"&") > MOST_FIELDS or raw.count(b"%") > max(MOST_ESCAPES, len(raw) // 16):
        raise GatewayError("bad_request", "The form has too many fields or escapes.")

    async def stream() -> Any:
        yield raw
        yield b""

    try:
        form = await FormParser(headers, stream()).parse()
    except Exception:
        raise GatewayError("bad_request", "The form cannot be read.") from None
    return Body({name: value for name, value in form.multi_items() if isinstance(value, str)}, form=True, raw=raw)


class _InMemory(MultiPartParser):
    """Uploads never touch the disk: nothing of a message may lie there in the clear."""

    spool_max_size = 1 << 40

    def close(self) -> None:
        """All files, also one whose part never ended: that is in no form."""
        for file in self._files_to_close_on_error:
            file.close()


async def _multipart(request: Request, limit: int) -> Body:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large(limit)

    _, options = parse_options_header(request.headers["content-type"])
    if options.get(b"charset", b"utf-8").lower() not in _CHARSETS:
        raise GatewayError("unsupported_media_type", "The form's charset must be utf-8.")

    async def stream() -> Any:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise too_large(limit)
            yield chunk

    parser = _InMemory(request.headers, stream(), max_files=4, max_fields=64, max_part_size=SMALL_BODY)
    fields: dict[str, Any] = {}
    files: dict[str, File] = {}
    try:
        form: FormData = await parser.parse()
        for name, value in form.multi_items():
            if name in fields or name in files:
                raise InvalidField(name[:60], f"{name[:60]}: given twice")
            if isinstance(value, UploadFile):
                files[name] = File(await value.read(), value.filename or "", value.content_type or "")
            else:
                fields[name] = value
    except MultiPartException as error:
        raise GatewayError("bad_request", f"The multipart body cannot be read: {error.message}") from None
    except (LookupError, ValueError):
        raise GatewayError("bad_request", "The multipart body cannot be read.") from None
    finally:
        parser.close()
    return Body(fields, files, form=True)


# ------------------------------------------------------------------ the native style


def envelope(error: GatewayError) -> dict[str, Any]:
    return {"error": {"code": error.code, "message": error.message, "details": {**error.details, **(
        {"hint": error.hint} if error.hint else {})}}}


def retry_headers(error: GatewayError) -> dict[str, str]:
    return {"Retry-After": str(max(1, int(error.retry_after + 0.999)))} if error.retry_after is not None else {}


def accepts(header: str, produces: Sequence[str]) -> bool:
    """Whether an Accept header (RFC 9110, 12.5.1) allows one of the types. A missing one allows all."""
    ranges = [part.strip().lower() for part in header.split(",") if part.strip()]
    allowed = [part.partition(";")[0].strip() for part in ranges if not _NOT_WANTED.search(part)]
    kinds = {kind.partition(";")[0] for kind in produces}
    return not ranges or any(
        "*/*" in (part, kind) or part == kind or part == f"{kind.partition('/')[0]}/*" for part in allowed for kind in kinds)


class Native:
    name = "native"

    def credentials(self, request: Request, fields: Mapping[str, Any]) -> str | None:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        return text.strip() if scheme.lower() == "bearer" and text.strip() else None

    def error(self, error: GatewayError) -> Response:
        headers = retry_headers(error)
        if error.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return json_response(envelope(error), error.status, headers)


def rate_headers(allowance: Allowance | None) -> dict[str, str]:
    """Of every answer to a call with a key. Where the plan has no limit, none is told."""
    if allowance is None or not allowance.limit:
        return {}
    return {"X-RateLimit-Limit": str(allowance.limit), "X-RateLimit-Remaining": str(allowance.remaining),
            "X-RateLimit-Reset": str(allowance.reset)}


async def serve(request: Request, gateway: Gateway, endpoint: Endpoint, style: Style, *, forms: bool = False) -> Response:
    """Authenticates, reads, calls, words what went wrong. Nothing that happens in a handler becomes a traceback."""
    call = Call(request, gateway, endpoint, style, Body({}))
    headers: dict[str, str] = {}
    try:
        await _enter(call, forms)
        response = await endpoint.handler(call)
    except GatewayError as error:
        if error.code == "rate_limited" and "remaining" in error.details:
            d = error.details
            headers = {"X-RateLimit-Limit": str(d["limit"]), "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(d["reset"])}
        response = style.error(error)
    except ClientDisconnect:
        response = style.error(GatewayError("bad_request", "The request broke off."))
    except Exception:
        log.exception("request_failed", method=request.method, route=endpoint.path)
        response = style.error(GatewayError("internal_error"))
    for name, value in (headers or rate_headers(call.allowance)).items():
        response.headers.setdefault(name, value)
    if call.timings:
        response.headers["Server-Timing"] = ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in call.timings.items())
    return response


async def _enter(call: Call, forms: bool) -> None:
    """The caller and the body of a call, the caller first: nobody unknown may upload."""
    request, gateway, endpoint, style = call.request, call.gateway, call.endpoint, call.style
    early = style.credentials(request, {})
    if early is None and endpoint.tickets and (text := request.query_params.get("ticket")):
        call.ticket = gateway.tickets.redeem(text)
        call.caller = call.ticket.key
    elif endpoint.scope is not None and early is not None:
        await _authorize(call, early)
    elif endpoint.scope is not None and not forms:
        raise GatewayError("unauthorized")
    if isinstance(style, Native) and not accepts(request.headers.get("accept", ""), endpoint.produces):
        raise GatewayError("not_acceptable", f"What there is: {', '.join(endpoint.produces)}.")
    if endpoint.method in ("POST", "PUT", "PATCH", "DELETE"):
        limit = endpoint.max_body(gateway) if call.caller is not None or endpoint.scope is None else SMALL_BODY
        call.body = await read_body(request, limit, files=endpoint.files, forms=forms)
    if endpoint.scope is not None and call.caller is None:
        await _authorize(call, style.credentials(request, call.body.fields))


async def _authorize(call: Call, text: str | None) -> None:
    if not text:
        raise GatewayError("unauthorized")
    call.caller = await call.gateway.keys.authenticate(text)
    call.allowance = call.gateway.keys.spend_request(call.caller)
    assert call.endpoint.scope is not None
    call.gateway.keys.check_scope(call.caller, call.endpoint.scope)
