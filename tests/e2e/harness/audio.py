"""Audio the tests make and judge: pure tones, told apart by their frequency."""

from __future__ import annotations

import array
import math
import wave
from collections.abc import Sequence
from pathlib import Path

RATE = 8000


def tone(hertz: int, seconds: float, rate: int = RATE) -> array.array[int]:
    """A sine at half of full scale."""
    step = 2 * math.pi * hertz / rate
    return array.array("h", (round(16384 * math.sin(step * index)) for index in range(round(seconds * rate))))


def write_wav(path: Path, samples: array.array[int], rate: int = RATE) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def read_wav(path: Path) -> array.array[int]:
    """The samples; a file whose writer was stopped may claim more than it holds."""
    samples = array.array("h")
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        frames = file.readframes(file.getnframes())
    samples.frombytes(frames[: len(frames) // 2 * 2])
    return samples


def share(samples: Sequence[int], hertz: int, rate: int = RATE) -> float:
    """How much of the signal's energy is a tone of this frequency, 0..1 (Goertzel's algorithm over 100 ms pieces)."""
    piece = rate // 10
    found = total = 0.0
    factor = 2 * math.cos(2 * math.pi * hertz / rate)
    for start in range(0, len(samples) - piece + 1, piece):
        last = before = energy = 0.0
        for value in samples[start : start + piece]:
            last, before = value + factor * last - before, last
            energy += value * value
        found += (last * last + before * before - factor * last * before) * 2 / piece
        total += energy
    return found / total if total else 0.0


def ulaw(samples: Sequence[int]) -> bytes:
    """G.711 mu-law."""
    return bytes(_ulaw(value) for value in samples)


def _ulaw(value: int) -> int:
    sign = 0x80 if value < 0 else 0
    magnitude = min(abs(value), 32635) + 132
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | magnitude >> (exponent + 3) & 0x0F) & 0xFF
