"""Cover pictures, drawn as bytes: an evening sky, a sun, reeds, and the water below. No imaging library."""

from __future__ import annotations

import colorsys
import struct
import zlib
from functools import lru_cache
from math import isqrt
from random import Random

SIDE = 300  # pixels
SKY, SUN, REED, WATER = 0, 24, 25, 26  # places in the palette; the sky takes 24


@lru_cache(maxsize=256)
def draw_cover(album: int, side: int = SIDE) -> bytes:
    """A square PNG for the album, always the same for the same id. About 2 kB, a few milliseconds."""
    rng = Random(album)  # noqa: S311 - a picture, not a secret
    shore = side * rng.randint(60, 75) // 100
    sun_x, sun_y, sun_r = (
        rng.randint(side // 4, side * 3 // 4),
        rng.randint(side // 4, shore),
        side // rng.randint(5, 9),
    )
    reeds = [
        (rng.randrange(side), max(1, side // rng.randint(40, 120)), rng.randint(side // 8, shore))
        for _ in range(rng.randint(9, 22))
    ]
    rows = []
    for y in range(side):
        row = bytearray([WATER if y > shore else SKY + y * 24 // (shore + 1)]) * side
        half = isqrt(max(0, sun_r**2 - (y - sun_y) ** 2))
        if y <= shore and half:
            left, right = max(0, sun_x - half), min(side, sun_x + half)
            row[left:right] = bytes([SUN]) * (right - left)
        for x, width, top in reeds:
            if y >= top and (y <= shore or y % 4):
                row[x : x + width] = bytes([REED]) * len(row[x : x + width])
        rows.append(b"\0" + row)
    return write_png(side, choose_palette(rng.random()), b"".join(rows))


def choose_palette(hue: float) -> bytes:
    """27 colours around a hue, red green blue."""
    shades = [((hue + n / 150) % 1, 0.45 + n / 80, 0.35 + n / 45) for n in range(24)]
    shades += [(hue + 0.12, 0.35, 1.0), (hue + 0.45, 0.5, 0.18), (hue + 0.05, 0.5, 0.45)]
    return bytes(round(part * 255) for shade in shades for part in colorsys.hsv_to_rgb(*shade))


def write_png(side: int, palette: bytes, rows: bytes) -> bytes:
    """A PNG of palette indices, 8 bits each; every row starts with its filter byte."""
    header = struct.pack(">IIBBBBB", side, side, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(rows, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


@lru_cache(maxsize=1)
def draw_favicon() -> bytes:
    """A 32-pixel cover in an ICO envelope."""
    png = draw_cover(7, 32)
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 32, 32, 0, 0, 1, 32, len(png), 22) + png
