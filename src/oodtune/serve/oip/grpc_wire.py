"""Messages of gRPC clients, looked over before protobuf makes objects of them.

A field of two bytes can become an object of a hundred, so a body within its limit could take gigabytes.
"""

from typing import Any, Final

from oodtune.serve.refusal import RefusedError

_VARINT, _EIGHT_BYTES, _COUNTED, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT: Final = 10
_CONTENTS: Final = "InferTensorContents"
_USED_CONTENTS: Final = ("uint_contents", "bytes_contents")


def check_message(raw: bytes, descriptor: Any, max_fields: int) -> None:
    """Check that `raw` is a whole message of this type with at most `max_fields` fields, those of inner messages too.

    A list of packed numbers is one field. Raises RefusedError.
    """
    _count_fields(memoryview(raw), descriptor, max_fields)


def _count_fields(raw: memoryview, descriptor: Any, room: int) -> int:
    """Return how many fields may still come after those in `raw`."""
    at = 0
    while at < len(raw):
        room -= 1
        if room < 0:
            raise RefusedError("bad_request", "expected fewer fields in the message; use raw_input_contents")
        key, at = _read_varint(raw, at)
        field = descriptor.fields_by_number.get(key >> 3)
        if descriptor.name == _CONTENTS and field is not None and field.name not in _USED_CONTENTS:
            message = "contents: expected uint_contents for UINT8, bytes_contents for BYTES, found another; send those"
            raise RefusedError("bad_request", message)
        at, inner = _skip(raw, at, key & 7)
        if inner is not None and field is not None and field.message_type is not None:
            room = _count_fields(inner, field.message_type, room)
    if at > len(raw):
        raise _malformed()
    return room


def _skip(raw: memoryview, at: int, wire_type: int) -> tuple[int, memoryview | None]:
    """Return where the value at `at` ends, and the value itself where it may be a message."""
    if wire_type == _VARINT:
        return _read_varint(raw, at)[1], None
    if wire_type in (_EIGHT_BYTES, _FOUR_BYTES):
        return at + (8 if wire_type == _EIGHT_BYTES else 4), None
    if wire_type != _COUNTED:
        raise _malformed()
    length, at = _read_varint(raw, at)
    if at + length > len(raw):
        raise _malformed()
    return at + length, raw[at : at + length]


def _read_varint(raw: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(raw[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise _malformed()


def _malformed() -> RefusedError:
    return RefusedError("bad_request", "expected a whole protobuf message of the method's type, found other bytes")
