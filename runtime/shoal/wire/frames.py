"""The frame: ``<meta length, payload length, descriptor count>`` in little-endian 32-bit numbers, meta, payload.

Meta is a tuple in marshal format (only exact built-in types, several times faster than pickle, builds no objects of
foreign classes). Payload is raw bytes that are never copied through the encoder. Descriptors travel beside the frame as
SCM_RIGHTS and are paired with frames in order.

Invariant: a decoder that raised ``FrameError`` has lost the frame boundary, so its connection must be closed.
"""

from __future__ import annotations

import marshal
import struct
from typing import Any, Final

from shoal.exceptions import ProtocolError

HEADER: Final = struct.Struct("<III")
META_BYTES_MAX: Final = 64 << 20
PAYLOAD_BYTES_MAX: Final = 64 << 20
DESCRIPTORS_MAX: Final = 16
_MARSHAL_VERSION: Final = 2  # without reference tracking: smaller messages encode faster

Message = tuple[Any, ...]
Frame = tuple[Message, bytes, int]
"""A decoded frame: message, payload, number of descriptors that belong to it."""


class FrameError(ProtocolError):
    """The peer sent something that is no frame; the connection cannot go on."""


def encode(message: Message, payload_bytes: int = 0, descriptors: int = 0) -> bytes:
    """Header and meta of a frame; the payload itself is sent after it, uncopied.

    Raises:
        ValueError: the message holds something that marshal cannot carry.
        FrameError: the frame is larger than the limits of this module.
    """
    meta = marshal.dumps(message, _MARSHAL_VERSION)
    if len(meta) > META_BYTES_MAX or payload_bytes > PAYLOAD_BYTES_MAX:
        raise FrameError(f"message of {len(meta)} + {payload_bytes} bytes exceeds the frame limit of 64 MiB")
    return HEADER.pack(len(meta), payload_bytes, descriptors) + meta


class Decoder:
    """Turns a stream of bytes into frames; keeps what is not yet whole."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self._need = HEADER.size

    @property
    def missing_bytes(self) -> int:
        """How many more bytes the next frame needs, as far as that is known."""
        return self._need - self._size

    def feed(self, data: bytes) -> list[Frame]:
        """The frames completed by ``data``.

        Raises:
            FrameError: a length is beyond the limits or the meta is not a tuple.
        """
        self._chunks.append(data)
        self._size += len(data)
        if self._size < self._need:
            return []
        frames: list[Frame] = []
        buffer = data if len(self._chunks) == 1 else b"".join(self._chunks)
        offset = 0
        size = len(buffer)
        self._need = HEADER.size
        while size - offset >= HEADER.size:
            meta_bytes, payload_bytes, descriptors = HEADER.unpack_from(buffer, offset)
            _check_limits(meta_bytes, payload_bytes, descriptors)
            end = offset + HEADER.size + meta_bytes + payload_bytes
            if end > size:
                self._need = end - offset
                break
            meta_end = offset + HEADER.size + meta_bytes
            message = _decode_meta(buffer[offset + HEADER.size : meta_end])
            frames.append((message, buffer[meta_end:end], descriptors))
            offset = end
        rest = buffer[offset:]
        self._chunks = [rest] if rest else []
        self._size = len(rest)
        return frames


def _check_limits(meta_bytes: int, payload_bytes: int, descriptors: int) -> None:
    if meta_bytes > META_BYTES_MAX or payload_bytes > PAYLOAD_BYTES_MAX or descriptors > DESCRIPTORS_MAX:
        raise FrameError(f"frame of {meta_bytes} + {payload_bytes} bytes and {descriptors} descriptors is too large")


def _decode_meta(meta: bytes) -> Message:
    try:
        message = marshal.loads(meta)
    except (ValueError, EOFError, TypeError) as error:
        raise FrameError(f"undecodable message: {error}") from None
    if not isinstance(message, tuple) or not message:
        raise FrameError("a message must be a tuple that is not empty")
    return message
