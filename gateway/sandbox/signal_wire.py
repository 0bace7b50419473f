"""The four protobuf messages of the Signal protocol, read and written by field number.

They have varints and byte strings only, so a dictionary of numbers is all it takes.
"""

from __future__ import annotations

from collections.abc import Mapping

Fields = dict[int, int | bytes]


class SignalError(Exception):
    """A Signal message that does not parse, does not authenticate or belongs to no session."""


def write_fields(fields: Mapping[int, int | bytes | None]) -> bytes:
    """Serialize; None is left out."""
    out = bytearray()
    for number, value in fields.items():
        if isinstance(value, int):
            out += _varint(number << 3) + _varint(value)
        elif value is not None:
            out += _varint(number << 3 | 2) + _varint(len(value)) + value
    return bytes(out)


def read_fields(data: bytes) -> Fields:
    """Parse; the last of a repeated field stays. Raises SignalError."""
    fields: Fields = {}
    place = 0
    while place < len(data):
        key, place = _read_varint(data, place)
        value, place = _read_varint(data, place)
        if key & 7 == 0:
            fields[key >> 3] = value
        elif key & 7 == 2 and place + value <= len(data):
            fields[key >> 3] = data[place : place + value]
            place += value
        else:
            raise SignalError("not a Signal protobuf")
    return fields


def number(fields: Fields, field: int) -> int:
    """An integer field, 0 when absent. Raises SignalError when it holds bytes."""
    value = fields.get(field, 0)
    if not isinstance(value, int):
        raise SignalError(f"field {field} is no number")
    return value


def octets(fields: Fields, field: int, length: int | None = None) -> bytes:
    """A byte field. Raises SignalError when absent or not `length` bytes."""
    value = fields.get(field)
    if not isinstance(value, bytes) or (length is not None and len(value) != length):
        raise SignalError(f"field {field} is missing or has the wrong length")
    return value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise SignalError("a varint that does not end")
