r"""Frames to bytes and back; does no I/O, and decoding cannot run code.

On the wire a frame is one version byte, the body's length in four bytes (big-endian) and the body:
JSON, `[kind, {field: value}]`, in UTF-8. Lone surrogates (file names, `surrogateescape`) are
encoded as they are and not as `\u` escapes: a high and a low one side by side would come back
from the escapes as one other character. NaN and the infinities travel as Python's json has them.
"""

from __future__ import annotations

from dataclasses import fields
from json import JSONDecoder
from json import JSONEncoder
import re
import struct
from types import NoneType
from typing import TYPE_CHECKING
from typing import Final
from typing import get_args

from pytest_isolate.wire.errors import LocalProtocolError
from pytest_isolate.wire.errors import RemoteProtocolError
from pytest_isolate.wire.frames import Frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator
    from collections.abc import Mapping

VERSION: Final = 1
#: The largest body, in bytes; both sides hold to it.
MAX_FRAME: Final = 64 * 1024 * 1024
#: The most values in a body, as `_holds_too_many_values` counts them; both sides hold to it. 64 MiB
#: of empty lists would take 1.7 GiB and eight seconds to decode.
MAX_VALUES: Final = 1_000_000

_HEADER: Final = struct.Struct("!BI")

# check_circular costs time and is not needed: a cycle ends in a RecursionError.
_ENCODER: Final = JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))
_DECODER: Final = JSONDecoder()

# What JSON makes of an annotation: the exact types (a bool is no int), and the type of a list's
# items. A frame whose annotation is not here fails at import.
_SHAPES: Final[Mapping[str, tuple[tuple[type, ...], type]]] = {
    "Json": ((dict,), object),
    "int": ((int,), object),
    "int | None": ((int, NoneType), object),
    "list[Any] | None": ((list, NoneType), object),
    "list[Json]": ((list,), dict),
    "list[str]": ((list,), str),
    "str": ((str,), object),
}
_KINDS: Final[Mapping[str, Callable[..., Frame]]] = {
    kind.__name__: kind for kind in get_args(Frame)
}
_FIELDS: Final = {
    kind.__name__: {field.name: _SHAPES[str(field.type)] for field in fields(kind)}
    for kind in get_args(Frame)
}


def encode(frame: Frame) -> bytes:
    """Return *frame* as it goes over the wire.

    Raises `LocalProtocolError` for a value that JSON cannot hold and for a frame that is too
    large; the caller decides what to send instead. As always in JSON a tuple becomes a list, and
    a key that is a number, a bool or None becomes a string.
    """
    kind = type(frame).__name__
    try:
        text = _ENCODER.encode([kind, {name: getattr(frame, name) for name in _FIELDS[kind]}])
    except (TypeError, ValueError, RecursionError) as error:
        raise LocalProtocolError(f"{kind} cannot be sent as JSON: {error}") from error
    body = text.encode("utf-8", "surrogatepass")
    if len(body) > MAX_FRAME:
        raise LocalProtocolError(
            f"{kind} of {len(body)} bytes cannot be sent: the limit is {MAX_FRAME}"
        )
    if _holds_too_many_values(body):
        raise LocalProtocolError(f"{kind} cannot be sent: it holds over {MAX_VALUES} values")
    return _HEADER.pack(VERSION, len(body)) + body


class Decoder:
    """Turns a stream of bytes into frames, however it is cut; of one stream, and once only.

    The first breach ends it: there is no way to find the next frame's beginning, so every later
    call raises the same `RemoteProtocolError`.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._breach = ""

    @property
    def unfinished(self) -> int:
        """How many bytes of a frame have come that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take *data*, and return the frames that are now complete.

        The iterator yields the good frames that precede a breach before it raises. Use it up.
        """
        if not self._breach:
            self._buffer += data
        return self._frames()

    def eof(self) -> None:
        """Take note of the stream's end; raises `RemoteProtocolError` if it is inside a frame."""
        if self._buffer and not self._breach:
            self._breach = f"the stream ended inside a frame, {len(self._buffer)} bytes into it"
        if self._breach:
            raise RemoteProtocolError(self._breach)

    def _frames(self) -> Iterator[Frame]:
        try:
            while not self._breach and (body := self._next_body()) is not None:
                yield _decode(body)
        except RemoteProtocolError as error:
            self._breach = str(error)
            self._buffer.clear()
        if self._breach:
            raise RemoteProtocolError(self._breach)

    def _next_body(self) -> bytearray | None:
        buffer = self._buffer
        if len(buffer) < _HEADER.size:
            return None
        version, length = _HEADER.unpack_from(buffer)
        if version != VERSION:
            raise RemoteProtocolError(
                f"not a frame: it begins with byte {version:#04x}, not with version {VERSION}"
            )
        if length > MAX_FRAME:
            raise RemoteProtocolError(f"a frame claims {length} bytes, the limit is {MAX_FRAME}")
        end = _HEADER.size + length
        if len(buffer) < end:
            return None
        body = buffer[_HEADER.size : end]
        del buffer[:end]
        return body


def _decode(body: bytearray) -> Frame:
    if _holds_too_many_values(body):
        raise RemoteProtocolError(f"a frame holds over {MAX_VALUES} values")
    try:
        value = _DECODER.decode(body.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"a frame's body is not JSON: {error}") from None
    match value:
        case [str(name), dict(values)]:
            return _build(name, values)
        case _:
            raise RemoteProtocolError("a frame's body is not a kind and its fields")


def _build(name: str, values: dict[str, object]) -> Frame:
    shapes = _FIELDS.get(name)
    if shapes is None:
        raise RemoteProtocolError(f"no frame is called {name[:40]!r}")
    if values.keys() != shapes.keys():
        wrong = ", ".join(repr(key[:40]) for key in sorted(values.keys() ^ shapes.keys())[:5])
        raise RemoteProtocolError(f"{name} lacks a field or has one too many: {wrong}")
    for key, (types, item) in shapes.items():
        value = values[key]
        if type(value) not in types:
            raise RemoteProtocolError(f"{name}.{key} cannot be of type {type(value).__name__}")
        if item is not object and not _all_of(item, value):
            raise RemoteProtocolError(
                f"{name}.{key} has an item that is not of type {item.__name__}"
            )
    return _KINDS[name](**values)


def _all_of(item: type, value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, item) for one in value)


def _holds_too_many_values(body: bytes | bytearray) -> bool:
    """Say whether there are too many strings, and commas and brackets outside of strings."""
    if len(body) <= MAX_VALUES or _separators(body, 0, len(body)) <= MAX_VALUES:
        return False  # as all frames but the monstrous
    # The possessive quantifiers and the optional end keep it linear, whatever the body is.
    strings = re.finditer(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', body, re.DOTALL)
    count = end = 0
    for string in strings:
        count += 1 + _separators(body, end, string.start())
        end = string.end()
        if count > MAX_VALUES:
            return True
    return count + _separators(body, end, len(body)) > MAX_VALUES


def _separators(body: bytes | bytearray, begin: int, end: int) -> int:
    return sum(body.count(one, begin, end) for one in (b",", b"[", b"{"))
