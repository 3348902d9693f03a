"""The parts of a sound file: stretches that libsndfile reads to their ends, each a file of its own to it.

libsndfile believes headers, and stops early, or fails, where they are wrong:

* MP3 of a variable rate without a table of contents, as written to a pipe, is as long as its first frames suggest.
* Files put one behind the other (MP3, Ogg, FLAC, WAV) are as long as the first of them.
* A recorder that crashed, or that wrote to a pipe, leaves a WAV of zero bytes.
* A FLAC may go on behind the samples that its header counts.

So the frames of an MP3, the pages of an Ogg and the chunks of a WAV are walked, which takes their headers alone; the
last frame of a FLAC tells where it ends.
"""

import dataclasses
import functools
import io
import re

Bytes = io.BufferedIOBase  # an open file, or bytes as one
_CHUNK = 2**20  # bytes that are searched at once
_LOOK_AHEAD = 2**12  # of which the first hit is wanted
_ENDLESS = 0x7FF00000  # bytes from which on a WAV says that it does not know its length
_FEWEST = 4  # frames of an MP3 in a row; fewer are bytes that look like frames


@dataclasses.dataclass(frozen=True)
class Part:
    """Bytes of a file, behind some that replace its own.

    Attributes:
      head: what libsndfile reads first.
      start, stop: of the bytes of the file that follow.
      frames: of sound, where they were counted.
      promise: how many times the frames that libsndfile finds the header tells of.
    """

    head: bytes
    start: int
    stop: int
    frames: int | None = None
    promise: float = 1.0


def parts_of(file: Bytes, size: int) -> list[Part]:
    """The parts of a file; of one that needs no such care, the file."""
    start = _bytes_at(file, 0, 12)
    found: list[Part] = []
    if start[:4] == b"OggS":
        found = _ogg_parts(file, size)
    elif start[:4] == b"fLaC":
        found = _flac_parts(file, size)
    elif start[:4] in _RIFF and start[8:] == b"WAVE":
        found = _wav_parts(file, size)
    elif start[:3] == b"ID3" or _mp3_frame(start[:4]):
        found = _mp3_parts(file, size)
    return found or [Part(b"", 0, size)]


def _bytes_at(file: Bytes, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def _find(file: Bytes, wanted: bytes, place: int, size: int) -> int:
    """The next place of some bytes, or the end of the file."""
    while len(data := _bytes_at(file, place, _CHUNK)) >= len(wanted):
        if (found := data.find(wanted)) >= 0:
            return place + found
        place += len(data) - len(wanted) + 1
    return size


def _between(borders: list[int], size: int, promise: float = 1.0) -> list[Part]:
    """Parts from one border to the next."""
    stops = [*borders[1:], size]
    return [Part(b"", start, stop, promise=promise) for start, stop in zip(borders, stops, strict=True)]


def _ogg_parts(file: Bytes, size: int) -> list[Part]:
    """The links of a chain: each begins with pages that say so, one for every stream in it."""
    borders, place, is_beginning = [0], 0, True
    while place < size:
        header = _bytes_at(file, place, 27 + 255)
        if header[:4] != b"OggS" or len(header) < 27:
            place = _find(file, b"OggS", place + 1, size)
            continue
        if header[5] & 2 and not is_beginning:
            borders.append(place)
        is_beginning = bool(header[5] & 2)
        place += 27 + header[26] + sum(header[27 : 27 + header[26]])
    # What the last page counts may have begun long before the first, in a stream that was recorded: no promise.
    return _between(borders, size, promise=0.0)


def _flac_parts(file: Bytes, size: int) -> list[Part]:
    """A file begins with its name and a header of 34 bytes, be it the last one or not."""
    borders = {0}
    for mark in (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22"):
        place = 0
        while (place := _find(file, mark, place + 1, size)) < size:
            borders.add(place)
    return [_whole_flac(file, part) for part in _between(sorted(borders), size)]


_FLAC_HEADER = 42  # bytes: the name, and the block that every file begins with
_COUNTED = 2**36 - 1  # the bits of its last number but one: samples of each channel


def _whole_flac(file: Bytes, part: Part) -> Part:
    """A part of which the header tells of no length, where its last frame lies behind the one that it tells of."""
    header = _bytes_at(file, part.start, _FLAC_HEADER)
    if len(header) < _FLAC_HEADER:
        return part
    counts = int.from_bytes(header[18:26], "big")
    if not 0 < counts & _COUNTED < _flac_end(file, part, header):
        return part
    unknown = (counts & ~_COUNTED).to_bytes(8, "big")
    return Part(header[:18] + unknown + header[26:], part.start + _FLAC_HEADER, part.stop)


def _flac_end(file: Bytes, part: Part, header: bytes) -> int:
    """Samples up to the end of the last frame; 0 where none is found.

    What looks like the head of a frame inside of one may be taken for the last: then the file is read to its end in
    vain, and all of it all the same.
    """
    block, largest = int.from_bytes(header[8:10], "big"), int.from_bytes(header[15:18], "big") or 2**16
    begin = max(part.start + _FLAC_HEADER, part.stop - 2 * largest - _LOOK_AHEAD)  # tags may follow
    data = _bytes_at(file, begin, part.stop - begin)
    place = len(data)
    while (place := data.rfind(b"\xff", 0, place)) >= 0:
        if end := _flac_frame_end(data[place : place + 16], block):
            return end
    return 0


def _flac_frame_end(head: bytes, block: int) -> int:
    """The sample behind a frame that begins with these bytes; 0 where none does."""
    if len(head) < 7 or head[1] not in (0xF8, 0xF9) or head[3] & 1:
        return 0
    size_code, rate_code = head[2] >> 4, head[2] & 15
    more = max(0, 8 - (head[4] ^ 0xFF).bit_length() - 1)  # bytes of the number behind its first, as in UTF-8
    number = head[4] & (0x7F if not more else 0x3F >> more)
    for byte in head[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    place = 5 + more
    extra = {6: 1, 7: 2}.get(size_code, 0)
    count = int.from_bytes(head[place : place + extra], "big") + 1
    place += extra + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if not size_code or place >= len(head) or _crc8(head[:place]) != head[place]:
        return 0
    if not extra:
        count = 192 if size_code == 1 else 576 << size_code - 2 if size_code < 6 else 256 << size_code - 8
    return (number if head[1] == 0xF9 else number * block) + count


def _crc8(data: bytes) -> int:
    check = 0
    for byte in data:
        check ^= byte
        for _ in range(8):
            check = (check << 1 ^ 0x07) & 0xFF if check & 0x80 else check << 1
    return check


# The byte order of each kind of WAV.
_RIFF = {b"RIFF": "little", b"RIFX": "big"}


def _wav_parts(file: Bytes, size: int) -> list[Part]:
    borders, begin, promise = [], 0, 1.0
    while (start := _bytes_at(file, begin, 12))[:4] in _RIFF and start[8:] == b"WAVE":
        borders.append(begin)
        order = _RIFF[start[:4]]
        stated = int.from_bytes(start[4:8], order)
        data, length = _wav_data(file, begin + 12, size, order)
        if data is None:
            break
        if not length and begin + stated < data < size:
            # A recorder writes both lengths when it ends; this one did not.
            endless = b"\xff" * 4
            head = start[:4] + endless + _bytes_at(file, begin + 8, data - begin - 12) + endless
            return [*_between(borders, begin)[:-1], Part(head, data, size)]
        if _ENDLESS > length > size - data > 0:
            promise = length / (size - data)
        begin += 8 + stated + stated % 2
    *whole, last = _between(borders, size)
    return [*whole, dataclasses.replace(last, promise=promise)]


def _wav_data(file: Bytes, place: int, size: int, order: str) -> tuple[int | None, int]:
    """Where the samples begin, None for nowhere, and how many bytes there are said to be."""
    while place + 8 <= size:
        chunk = _bytes_at(file, place, 8)
        length = int.from_bytes(chunk[4:], order)
        if chunk[:4] == b"data":
            return place + 8, length
        place += 8 + length + length % 2
    return None, 0


@dataclasses.dataclass(frozen=True)
class _Mp3Frame:
    """What the four bytes in front of a frame say; `table` is where a table of contents stands in a first frame."""

    kind: tuple[int, int]  # version and rate, which no encoder changes
    kilobits: int
    samples: int
    bytes: int
    table: int


_MP3_START = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]|ID3")
_MPEG1 = 3
_RATES = {_MPEG1: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_KILOBITS = (
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)


@functools.lru_cache(maxsize=4096)
def _mp3_frame(header: bytes) -> _Mp3Frame | None:
    """A frame of layer 3; None for anything else."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, speed, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version not in _RATES or speed in (0, 15) or rate == 3:
        return None
    is_first, is_mono = version == _MPEG1, header[3] >> 6 == 3
    hertz, kilobits, samples = _RATES[version][rate], _KILOBITS[is_first][speed - 1], 1152 if is_first else 576
    side = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}[is_first, is_mono]
    length = samples // 8 * 1000 * kilobits // hertz + (header[2] >> 1 & 1)
    return _Mp3Frame((version, hertz), kilobits, samples, length, 4 + side)


@dataclasses.dataclass
class _Run:
    """Frames in a row that one encoder wrote, from place to place; `stated` are those of a table of contents."""

    first: bytes
    kind: tuple[int, int]
    start: int
    stop: int
    stated: int | None = None
    frames: int = 0
    kilobits: set[int] = dataclasses.field(default_factory=set)


def _mp3_parts(file: Bytes, size: int) -> list[Part]:
    parts = [_mp3_part(run) for run in _mp3_runs(file, size) if run.frames >= _FEWEST]
    if len(parts) == 1 and not parts[0].head:
        return [dataclasses.replace(parts[0], start=0, stop=size)]
    return parts


def _mp3_part(run: _Run) -> Part:
    frame = _mp3_frame(run.first)
    samples = run.frames * frame.samples
    if run.stated is None:
        # Where the rate is constant, libsndfile divides the bytes by it.
        head = _table_of(run.first, run.frames) if len(run.kilobits) > 1 else b""
        return Part(head, run.start, run.stop, samples, promise=0.0)
    if run.stated < run.frames:
        return Part(_table_of(run.first, run.frames), run.start + frame.bytes, run.stop, samples)
    return Part(b"", run.start, run.stop, samples)


def _table_of(header: bytes, frames: int) -> bytes:
    """A first frame that tells how many others follow: the header without a checksum, at the lowest rate that fits."""
    for speed in range(1, 15):
        own = bytes((header[0], header[1] | 1, speed << 4 | header[2] & 0x0C, header[3]))
        frame = _mp3_frame(own)
        if frame.bytes >= frame.table + 12:
            break
    return (own.ljust(frame.table, b"\0") + b"Xing\0\0\0\1" + frames.to_bytes(4, "big")).ljust(frame.bytes, b"\0")


def _mp3_runs(file: Bytes, size: int) -> list[_Run]:
    runs: list[_Run] = []
    place, run = _next_mp3_frame(file, 0, size), None
    while place < size:
        data = _bytes_at(file, place, 64)
        frame = _mp3_frame(data[:4])
        if frame is None or place + frame.bytes > size:
            place, run = _next_mp3_frame(file, place, size), None
            continue
        has_table = data[frame.table : frame.table + 4] in (b"Xing", b"Info")
        if run is None or has_table or frame.kind != run.kind:
            run = _Run(data[:4], frame.kind, place, place)
            runs.append(run)
        if has_table:
            flags, count = (int.from_bytes(data[frame.table + i : frame.table + i + 4], "big") for i in (4, 8))
            run.stated = count if flags & 1 else None
        else:
            run.frames += 1
            run.kilobits.add(frame.kilobits)
        place += frame.bytes
        run.stop = place
    return runs


def _next_mp3_frame(file: Bytes, place: int, size: int) -> int:
    """The next place of a frame with another one behind it, or the end of the file; tags are passed over."""
    while place < size:
        data = _bytes_at(file, place, 10)
        if data[:3] == b"ID3" and len(data) == 10:
            place += 10 + functools.reduce(lambda total, byte: total << 7 | byte & 0x7F, data[6:], 0)
            continue
        frame = _mp3_frame(data[:4])
        following = _mp3_frame(_bytes_at(file, place + frame.bytes, 4)) if frame else None
        if following and following.kind == frame.kind:
            return place
        found = _MP3_START.search(_bytes_at(file, place + 1, _LOOK_AHEAD))
        place += 1 + found.start() if found else _LOOK_AHEAD - 2
    return size
