"""/openapi.json: OpenAPI 3.1, made of the same values that route and of the same types that validate and answer.

`document(groups)` describes any number of APIs; the native one is a group like the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from starlette.responses import Response

from gateway.api.health import VERSION
from gateway.api.http import Call, Endpoint, Group, Native
from gateway.errors import TABLE, GatewayError

REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_WITH_KEY = ("unauthorized", "forbidden", "rate_limited")
_ALWAYS = ("internal_error", "storage_unavailable")
_NATIVE = Native()
_WITH_BODY = ("unprocessable_entity", "payload_too_large", "unsupported_media_type", "stopping")
_TAGS = {
    "sessions": "Slots for linked devices, and their linking.",
    "messages": "Sending, and what became of it. 202 means committed: what happens next is told by the message's status and by "
                "events.",
    "inbox": "What can be done with messages that arrived.",
    "voice": "Voice notes, looked at without sending.",
    "events": "Server-Sent Events, resumable by `Last-Event-ID`.",
    "webhooks": "Events posted to you, signed, retried and replayable.",
    "keys": "API keys: shown once, kept as hashes.",
    "usage": "Counts and limits.",
    "admin": "Keys and backups, for whoever keeps the gateway.",
    "health": "For whoever watches over the process.",
}
_DESCRIPTION = """\
Errors are `{"error": {"code", "message", "details"}}`; `code` is stable. Every answer has an `X-Request-Id` that the log has
too. Where the key's plan limits requests, answers carry `X-RateLimit-Limit`, `-Remaining` and `-Reset` (unix seconds), and a
429 says `Retry-After`. Times are UTC, ISO-8601 with `Z`. Unknown fields are refused by name."""


def document(groups: Sequence[Group]) -> dict[str, Any]:
    """The OpenAPI document of these APIs, in their order."""
    schemas = _schemas(groups)
    paths: dict[str, dict[str, Any]] = {}
    for group in groups:
        for endpoint in group.endpoints:
            path = _PARAMETER.sub(r"{\1}", group.prefix + endpoint.path)
            paths.setdefault(path, {})[endpoint.method.lower()] = _operation(group, endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "wagateway", "version": VERSION, "description": _DESCRIPTION,
                 "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "tags": _tags(groups),
        "paths": paths,
        "components": {"schemas": schemas.all,
                       "securitySchemes": {name: dict(scheme) for group in groups for name, scheme in group.security.items()}},
    }


def endpoint(groups: Sequence[Group]) -> Endpoint:
    """Serves the document; it is made when somebody asks for the first time."""
    @lru_cache(maxsize=1)
    def made() -> bytes:
        return msgspec.json.encode(document(groups))

    async def openapi(call: Call) -> Response:
        return Response(made(), 200, {"Cache-Control": "no-cache"}, "application/json")

    return Endpoint("GET", "/openapi.json", openapi, "This description", None, tag="health")


class _Schemas:
    def __init__(self, by_type: dict[Any, dict[str, Any]], all_: dict[str, Any]) -> None:
        self.by_type, self.all = by_type, all_


def _schemas(groups: Sequence[Group]) -> _Schemas:
    kinds: list[Any] = []
    for group in groups:
        for kind in (group.error, *(kind for e in group.endpoints for kind in (e.body, e.answer))):
            if kind is not None and kind is not bytes and kind not in kinds:
                kinds.append(kind)
    made, components = msgspec.json.schema_components(kinds, ref_template=REF)
    return _Schemas(dict(zip(kinds, made, strict=True)), components)


def _tags(groups: Sequence[Group]) -> list[dict[str, Any]]:
    tags: dict[str, str] = {}
    for group in groups:
        for e in group.endpoints:
            name = e.tag or group.title
            tags.setdefault(name, _TAGS.get(name, group.description))
    return [{"name": name, **({"description": text} if text else {})} for name, text in tags.items()]


# ------------------------------------------------------------------ one operation


def _operation(group: Group, e: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    text = [e.description] if e.description else []
    if e.scope is not None:
        text.append(f"Scope: `{e.scope}`.")
    operation: dict[str, Any] = {
        "operationId": _operation_id(e.method, group.prefix + e.path),
        "summary": e.summary,
        "description": " ".join(text),
        "tags": [e.tag or group.title],
        "security": [{name: []} for name in group.security if name != "ticket" or e.tickets] if e.scope is not None else [],
        "parameters": _parameters(e),
        "responses": _responses(group, e, schemas),
    }
    if e.body is not None:
        operation["requestBody"] = _request_body(group, e, schemas)
    return operation


def _operation_id(method: str, path: str) -> str:
    return "_".join([method.lower(), *re.findall(r"[A-Za-z0-9]+", path.removeprefix("/api/v1"))])


def _parameters(e: Endpoint) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PARAMETER.findall(e.path)]
    if e.query is not None:
        # Of its own, not among the components: OpenAPI wants a parameter for every field.
        schema = msgspec.json.schema(e.query)
        fields = schema["$defs"][schema["$ref"].rpartition("/")[2]]
        parameters += [{"name": name, "in": "query", "required": name in fields.get("required", ()), "schema": field}
                       for name, field in fields["properties"].items() if name != "ticket"]
    if "idempotency_conflict" in e.errors:
        parameters.append({"name": "Idempotency-Key", "in": "header", "required": False,
                           "description": "A repeat with the same key and body gets the first answer again.",
                           "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}})
    if "text/event-stream" in e.produces:
        parameters.append({"name": "Last-Event-ID", "in": "header", "required": False, "description": "Go on after this event.",
                           "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"}})
    return parameters


def _request_body(group: Group, e: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    schema = schemas.by_type[e.body]
    fields = schemas.all[schema["$ref"].rpartition("/")[2]]
    json: dict[str, Any] = {"schema": schema} | ({"example": e.example} if e.example is not None else {})
    content: dict[str, Any] = {"application/json": json}
    if e.files or group.forms:
        file = {"file": {"type": "string", "contentMediaType": "application/octet-stream"}} if e.files else {}
        form = {**fields, "properties": {**fields["properties"], **file}}
        content["multipart/form-data"] = {"schema": form}
    if group.forms:
        content["application/x-www-form-urlencoded"] = {"schema": schema}
    return {"required": bool(fields.get("required")), "content": content}


def _responses(group: Group, e: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status in (e.status, *e.statuses):
        responses[str(status)] = {"description": e.summary, "headers": _headers(e), "content": {
            kind: _content(kind, e, schemas) for kind in e.produces}}
    for status, codes in sorted(_errors(group, e).items()):
        headers = _headers(e) | ({"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
                                 if status in (429, 503) else {})
        described = {"description": " ".join(TABLE[code].sentence for code in codes), "headers": headers, "content": {
            "application/json": {"schema": schemas.by_type[group.error], "examples": {
                code: {"summary": TABLE[code].sentence} | _example(group, code) for code in codes}}}}
        if str(status) in responses:            # /readyz answers 503 in its own shape
            continue
        responses[str(status)] = described
    return responses


def _example(group: Group, code: str) -> dict[str, Any]:
    """The envelope as the API's own style writes it."""
    return {"value": msgspec.json.decode((group.style or _NATIVE).error(GatewayError(code)).body)}


def _content(kind: str, e: Endpoint, schemas: _Schemas) -> Mapping[str, Any]:
    if kind == "application/json":
        return {"schema": schemas.by_type[e.answer] if e.answer is not None else {"type": "object"}}
    if kind.startswith("text/"):
        return {"schema": {"type": "string"}}
    return {}                                   # bytes: OpenAPI 3.1 describes them by their media type alone


def _headers(e: Endpoint) -> dict[str, Any]:
    headers = {"X-Request-Id": {"description": "What the log calls this request.", "schema": {"type": "string"}}}
    if e.scope is not None:
        headers |= {f"X-RateLimit-{name}": {"description": text, "schema": {"type": "integer"}} for name, text in (
            ("Limit", "Requests a minute."), ("Remaining", "Of them, how many are left."), ("Reset", "Unix seconds."))}
    return headers


def _errors(group: Group, e: Endpoint) -> dict[int, list[str]]:
    """Codes by the HTTP status that the API's style gives them, those that any such call may give included."""
    codes: Iterable[str] = (*(_WITH_KEY if e.scope is not None else ()), *e.errors,
                            *(_WITH_BODY if e.method in ("POST", "PUT", "PATCH", "DELETE") else ()),
                            *(("unprocessable_entity",) if e.query is not None else ()),
                            *(("bad_request",) if e.files else ()),
                            *(("not_acceptable",) if group.style is None else ()), *_ALWAYS)
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault((group.style or _NATIVE).error(GatewayError(code)).status_code, []).append(code)
    return by_status
