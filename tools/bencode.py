"""Bencode (BEP 3) for the clients of tests and benchmark: their own, so that no slip of the product's is shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Value = int | str | Sequence["Value"] | Mapping[str, "Value"]


def encode(value: Value) -> bytes:
    """Dictionary keys stay in the order given, as SIP proxies send them."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        data = value.encode()
        return b"%d:%b" % (len(data), data)
    if isinstance(value, Mapping):
        return b"d%be" % b"".join(encode(key) + encode(item) for key, item in value.items())
    return b"l%be" % b"".join(encode(item) for item in value)


def decode(data: bytes) -> Value:
    value, end = _decode_at(data, 0)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes after the value")
    return value


def _decode_at(data: bytes, at: int) -> tuple[Value, int]:
    kind = data[at : at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if kind in (b"l", b"d"):
        items: list[Value] = []
        at += 1
        while data[at : at + 1] != b"e":
            item, at = _decode_at(data, at)
            items.append(item)
        if kind == b"l":
            return items, at + 1
        return {str(key): item for key, item in zip(items[::2], items[1::2], strict=True)}, at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    if end > len(data):
        raise ValueError("string runs past the end")
    return data[colon + 1 : end].decode(), end
