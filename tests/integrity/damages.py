"""Ways in which bytes go wrong on disks, in copies and in transfers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Change a single bit."""
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Zero a block, cut off an end, swap or repeat blocks, or overwrite some bytes."""
    length = len(data)
    start = rng.randrange(length)
    size = min(length - start, rng.choice([1, 16, 512, 4096, length // 2 + 1]))
    block = data[start : start + size]
    kind = rng.randrange(5)
    if kind == 0:
        return data[:start] + bytes(size) + data[start + size :]
    if kind == 1:
        return data[:start]
    if kind == 2:
        return data[:start] + block[::-1] + data[start + size :]
    if kind == 3:
        return data[:start] + block + data[start:]
    return data[:start] + rng.randbytes(size) + data[start + size :]


_SIZES = ("4000000000", "-1", "0", "1e308", "nan", "inf", "9" * 5000, "NaN", "null", "")


def garbled(text: bytes, rng: random.Random) -> bytes:
    """Change a text as a stranger's program might: numbers, marks, lines, or bytes."""
    kind = rng.randrange(6)
    lines = text.splitlines(keepends=True)
    if kind == 0 and lines:
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    elif kind == 1 and lines:
        del lines[rng.randrange(len(lines))]
    elif kind == 2:
        numbers = [i for i, byte in enumerate(text) if 48 <= byte <= 57]
        if numbers:
            at = rng.choice(numbers)
            return text[:at] + rng.choice(_SIZES).encode() + text[at + 1 :]
    elif kind == 3:
        at = rng.randrange(len(text) + 1)
        mark = rng.choice([b'"', b",", b";", b"[", b"{", b"<", b"\0", b"\xff\xfe", b"=" * 200_000])
        return text[:at] + mark + text[at:]
    elif kind == 4 and text:
        return damaged(text, rng)
    elif text:
        return flipped(text, rng)
    return b"".join(lines)
