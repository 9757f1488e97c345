"""Real sound without a recording: a few short pieces are synthesised once, encoded, and kept in a directory.

The only door to PyAV. Many tracks share one piece, so the whole platform weighs a few megabytes. A piece on disk is
a folder: `audio.mp3` and `waveform.json`, and for music the HLS playlist `index.m3u8` with `seg0.ts`, `seg1.ts` …
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from operator import add, mul
from pathlib import Path
from types import ModuleType

RATE = 22_050  # samples a second while composing: nothing here sounds above 8 kHz
SEGMENT_S = 4.2  # leaves no crumb of a segment at the end of any piece
PEAKS = 240  # bars in a waveform
EDITION = "audio-1"  # raise when anything here changes what is heard

Progress = Callable[[int, int], None]
"""Called with (pieces done, pieces in all)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A recipe: `chords` as MIDI notes, low to high, each sounding `chord_s` seconds, the whole `rounds` times."""

    name: str
    chords: tuple[tuple[int, ...], ...]
    chord_s: float
    steps: int  # plucked notes over each chord
    harmonics: tuple[float, ...]  # strength of each overtone, the ground note first
    rounds: int

    @property
    def seconds(self) -> float:
        return self.chord_s * len(self.chords) * self.rounds


@dataclass(frozen=True, slots=True)
class Form:
    """One way to encode: FFmpeg's names; `rate` in samples and `bit_rate` in bits a second."""

    container: str
    codec: str
    rate: int
    layout: str
    bit_rate: int
    options: tuple[tuple[str, str], ...]


QUICK_MP3 = (("compression_level", "7"), ("joint_stereo", "0"))
QUICK_AAC = (("aac_coder", "fast"), ("aac_ms", "0"), ("aac_is", "0"), ("aac_tns", "0"), ("aac_pns", "0"))
MUSIC = Form("mp3", "libmp3lame", 44_100, "stereo", 128_000, QUICK_MP3)
SEGMENTS = Form("hls", "aac", 44_100, "stereo", 128_000, QUICK_AAC)
SPEECH = Form("mp3", "libmp3lame", 22_050, "mono", 64_000, QUICK_MP3)

PIECES = (
    Piece(
        "reedbed", ((45, 57, 60, 64), (41, 57, 60, 65), (48, 55, 60, 64), (43, 55, 59, 62)), 2.0, 5, (1, 0.4, 0.2), 2
    ),
    Piece("ferry", ((50, 57, 62, 65), (46, 58, 62, 65), (48, 58, 60, 64)), 2.0, 4, (1, 0.1, 0.3, 0.05), 2),
    Piece("lantern", ((40, 55, 59, 64), (45, 57, 60, 64), (47, 54, 59, 63)), 3.0, 6, (1, 0.6), 2),
    Piece(
        "tideclock", ((43, 58, 62, 67), (51, 58, 63, 67), (46, 58, 62, 65), (41, 57, 60, 65)), 2.5, 6, (1, 0, 0.4), 2
    ),
    Piece("paper-kite", ((48, 60, 64, 67), (45, 60, 64, 69), (41, 60, 65, 69), (43, 59, 62, 67)), 1.75, 5, (1, 0.3), 2),
    Piece("night-bus", ((42, 57, 61, 66), (38, 57, 62, 66), (45, 57, 61, 64)), 2.5, 4, (1, 0.5, 0.1), 2),
)
"""What tracks sound like: track `id` plays `PIECES[id % 6]`. 12 to 20 seconds each."""

EPISODE = Piece("episode", ((45, 57, 60, 64), (43, 55, 59, 62), (41, 53, 57, 60)), 4.0, 3, (1, 0.2, 0.1), 5)
"""What every podcast episode sounds like, 60 seconds."""


def piece_of(track: int) -> Piece:
    """The piece a track plays."""
    return PIECES[track % len(PIECES)]


def record(directory: Path, progress: Progress | None = None) -> Path:
    """The folder with every piece, made now if this directory has none. Some seconds the first time, then instant.

    Two processes may start at once: each builds its own folder aside, the first rename wins, the other is thrown away.
    """
    finished = directory / EDITION
    if finished.is_dir():
        return finished
    directory.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{EDITION}-", dir=directory))
    try:
        pieces = (*PIECES, EPISODE)
        for done, piece in enumerate(pieces):
            if progress:
                progress(done, len(pieces))
            keep(piece, aside / piece.name)
        if progress:
            progress(len(pieces), len(pieces))
        aside.chmod(0o755)
        try:
            aside.rename(finished)
        except OSError:
            if not finished.is_dir():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return finished


def keep(piece: Piece, folder: Path) -> None:
    """Write one piece in every form the platform serves."""
    folder.mkdir()
    left, right = synthesise(piece)
    sound = array("h", bytes(4 * len(left)))
    sound[0::2], sound[1::2] = left, right
    waveform = {"seconds": piece.seconds, "peaks": measure(left, right)}
    (folder / "waveform.json").write_text(json.dumps(waveform), "utf-8")
    if piece is EPISODE:
        encode(sound, folder / "audio.mp3", SPEECH)
        return
    encode(sound, folder / "audio.mp3", MUSIC)
    hls = {
        "hls_time": str(SEGMENT_S),
        "hls_playlist_type": "vod",
        "hls_list_size": "0",
        "hls_segment_filename": os.fspath(folder / "seg%d.ts"),
    }
    encode(sound, folder / "index.m3u8", SEGMENTS, hls)


def synthesise(piece: Piece) -> tuple[array[int], array[int]]:
    """Left and right samples, 16 bits: a soft low chord under plucked notes that wander between the ears."""
    chord_n = round(piece.chord_s * RATE)
    length = chord_n * len(piece.chords)
    left, right = [0.0] * length, [0.0] * length
    pluck = [math.exp(-3.5 * n / RATE) * min(1.0, n / 100) for n in range(RATE)]
    swell = [0.5 * math.sin(math.pi * n / chord_n) ** 0.5 for n in range(chord_n)]
    plucked = {note: shape(hum(note, piece.harmonics), pluck) for note in notes_of(piece)}
    for bar, chord in enumerate(piece.chords):
        start = bar * chord_n
        mix(left, start, shape(hum(chord[0], piece.harmonics), swell))
        mix(right, start, shape(hum(chord[1], piece.harmonics), swell))
        for step in range(piece.steps):
            sound = plucked[chord[1 + (step * 2 + bar) % (len(chord) - 1)] + (12 if step % 3 == 2 else 0)]
            at = start + step * chord_n // piece.steps
            near, far = (left, right) if step % 2 else (right, left)
            mix(near, at, sound)
            mix(far, at + RATE // 90, sound)
    return level(left, piece.rounds), level(right, piece.rounds)


def notes_of(piece: Piece) -> set[int]:
    """Every note that may be plucked in the piece."""
    return {note + octave for chord in piece.chords for note in chord[1:] for octave in (0, 12)}


def hum(note: int, harmonics: tuple[float, ...]) -> list[float]:
    """A twentieth of a second of steady tone that joins onto itself without a click."""
    period = RATE / (440 * 2 ** ((note - 69) / 12))
    cycles = max(1, round(RATE / 20 / period))
    n = round(cycles * period)
    turn = 2 * math.pi * cycles / n
    return [sum(g * math.sin(turn * k * i) for k, g in enumerate(harmonics, 1)) for i in range(n)]


def shape(loop: list[float], envelope: list[float]) -> list[float]:
    """The loop, repeated under the envelope and as long as it."""
    return list(map(mul, loop * (len(envelope) // len(loop) + 1), envelope))


def mix(into: list[float], at: int, sound: list[float]) -> None:
    """Add the sound from sample `at`; what passes the end comes round to the beginning, so rounds join."""
    at %= len(into)
    fits = min(len(sound), len(into) - at)
    into[at : at + fits] = map(add, into[at : at + fits], sound)
    if fits < len(sound):
        into[: len(sound) - fits] = map(add, into, sound[fits:])


def level(samples: list[float], rounds: int) -> array[int]:
    """To 16 bits at an even loudness, repeated, and the last half second faded out."""
    scale = 28_000 / max(max(samples), -min(samples))
    sound = array("h", map(int, map(scale.__mul__, samples))) * rounds
    fade = RATE // 2
    sound[-fade:] = array("h", (value * (fade - n) // fade for n, value in enumerate(sound[-fade:])))
    return sound


def measure(left: array[int], right: array[int]) -> list[float]:
    """The loudest sample of each of PEAKS equal stretches, 0 to 1."""
    edges = [len(left) * n // PEAKS for n in range(PEAKS + 1)]
    return [round(max(map(abs, left[a:b] + right[a:b])) / 32_768, 3) for a, b in pairwise(edges)]


def encode(sound: array[int], file: Path, form: Form, container_options: dict[str, str] | None = None) -> None:
    """Encode interleaved stereo samples into `file`, and whatever else the container writes beside it."""
    av = open_av()
    with av.open(os.fspath(file), "w", format=form.container, options=container_options or {}) as out:
        stream = out.add_stream(
            form.codec, form.rate, options=dict(form.options), layout=form.layout, bit_rate=form.bit_rate
        )
        for frame in cut(av, sound):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def cut(av: ModuleType, sound: array[int]) -> Iterator[object]:
    """The samples as frames of a tenth of a second."""
    size = RATE // 10
    for start in range(0, len(sound) // 2, size):
        part = sound[2 * start : 2 * (start + size)]
        frame = av.AudioFrame(format="s16", layout="stereo", samples=len(part) // 2, align=1)
        frame.planes[0].update(part.tobytes())
        frame.sample_rate = RATE
        frame.pts = start
        frame.time_base = Fraction(1, RATE)
        yield frame


def open_av() -> ModuleType:
    """PyAV, which only the first start needs."""
    try:
        import av
    except ImportError as missing:
        raise ImportError("guard demo needs the demo extra: pip install 'noai-guard[demo]'") from missing
    return av
