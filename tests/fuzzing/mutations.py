"""Random changes of the content of files, by a seed."""

import copy
import io
import json
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence

Mutation = Callable[[bytes, random.Random], bytes]

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
# What a value in JSON becomes.
VALUES = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**400, -(10**30), 0.5, -1e308, float("inf")),
    *(float("nan"), "", "x" * 1000, "\0", "\ud800", "a\nb", "../../a", "/etc/passwd", "[/red]"),
    *(
        [],
        {},
        [[]],
        [None],
        {"": {}},
        {"a": [1, 2]},
        ["a"] * 300,
        [[0.0, 1e300]] * 5,
        "1e999999999",
    ),
)
LINES = ("../../a", "/etc/passwd", "", "\0", "\ufeff", "a b c", "a 1 2 3", "a 1 2 999", "x" * 5000)


def flip(content: bytes, rng: random.Random) -> bytes:
    """Flips a few bits."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = _place(content, rng)
        changed[place : place + 1] = bytes(x ^ (1 << rng.randrange(8)) for x in changed[place:][:1])
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    """Leaves the end out, or a piece."""
    start = _place(content, rng)
    return content[:start] + content[start + rng.choice((1, 4, 100, len(content))) :]


def insert(content: bytes, rng: random.Random) -> bytes:
    """Inserts random bytes, or many equal ones."""
    length = rng.choice((1, 4, 100))
    piece = rng.choice((rng.randbytes(length), bytes(length), b"\xff" * length))
    place = _place(content, rng)
    return content[:place] + piece + content[place:]


def repeat(content: bytes, rng: random.Random) -> bytes:
    """Puts a piece elsewhere, or again in its place."""
    start, place = _place(content, rng), _place(content, rng)
    piece = content[start : start + rng.choice((1, 8, 64, 1000))] * rng.choice((1, 1, 2, 50))
    return content[:place] + piece + content[place + rng.choice((0, len(piece))) :]


def renumber(content: bytes, rng: random.Random) -> bytes:
    """Writes a number that is often a limit where a length may stand."""
    kind = rng.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    piece = struct.pack(kind, rng.choice(NUMBERS) % 256 ** struct.calcsize(kind))
    place = _place(content, rng)
    return content[:place] + piece + content[place + len(piece) :]


def swap(content: bytes, rng: random.Random) -> bytes:
    """Exchanges two pieces of a few bytes."""
    length = rng.choice((1, 2, 4, 8))
    first, second = sorted((_place(content, rng), _place(content, rng)))
    a, b = content[first : first + length], content[second : second + length]
    if len(a) != len(b) or second < first + length:
        return content
    return content[:first] + b + content[first + length : second] + a + content[second + length :]


BYTES: tuple[Mutation, ...] = (flip, cut, insert, repeat, renumber, swap)


def any_bytes(content: bytes, rng: random.Random) -> bytes:
    """Changes a file that has no structure that is known here."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        content = rng.choice(BYTES)(content, rng)
    return content


def any_png(content: bytes, rng: random.Random) -> bytes:
    """Changes a PNG file, and mends its checksums half of the time."""
    content = any_bytes(content, rng)
    return _with_checksums(content) if rng.random() < 0.5 else content


def any_text(content: bytes, rng: random.Random) -> bytes:
    """Changes the lines of a text, or its bytes."""
    if rng.random() < 0.4:
        return any_bytes(content, rng)
    lines = content.decode().split("\n")
    lines.insert(rng.randrange(len(lines) + 1), rng.choice((*LINES, *lines)))
    if rng.random() < 0.3:
        del lines[rng.randrange(len(lines))]
    encoding = rng.choice(("utf-8", "utf-8", "utf-16", "latin-1"))
    return "\n".join(lines).encode(encoding, "replace")


def any_json(content: bytes, rng: random.Random) -> bytes:
    """Changes values of JSON to those of other types, nests them deeply, or changes bytes."""
    draw = rng.random()
    if draw < 0.2:
        return any_bytes(content, rng)
    if draw < 0.25:
        depth = rng.choice((100, 900, 100_000))
        nested = b"[" * depth + b"]" * depth
        return rng.choice((nested, b'{"a":' * depth + b"1" + b"}" * depth, content[:-2] + nested))
    value = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        _change(value, rng)
    return json.dumps(value).encode()


def any_zip(inside: Mutation) -> Mutation:
    """Returns a mutation that changes a file in a zip file, or the zip file itself."""

    def change(content: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.4:
            return any_bytes(content, rng)
        made = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of two files of one name
            names = old.namelist()
            chosen = rng.choice(names)
            with zipfile.ZipFile(made, "w") as new:
                for name in names:
                    part = old.read(name)
                    kind = old.getinfo(name).compress_type
                    new.writestr(name, inside(part, rng) if name == chosen else part, kind)
                if rng.random() < 0.1:
                    new.writestr(rng.choice((*names, "../../a", "/a", "a/")), b"")
        return made.getvalue()

    return change


def any_safetensors(content: bytes, rng: random.Random) -> bytes:
    """Changes the header of a `.safetensors` file, the JSON in it, or any bytes."""
    if rng.random() < 0.3:
        return any_bytes(content, rng)
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length]
    if rng.random() < 0.6 and b"__metadata__" in header:
        fields = json.loads(header)
        key = next(iter(fields["__metadata__"]))
        about = any_json(fields["__metadata__"][key].encode(), rng)
        fields["__metadata__"][key] = about.decode(errors="replace")
        header = json.dumps(fields).encode()
    else:
        header = any_json(header, rng)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _place(content: bytes, rng: random.Random) -> int:
    """Returns a place in a file; places near its start, where headers are, are likelier."""
    end = rng.choice((16, 64, 256, len(content)))
    return rng.randrange(max(1, min(end, len(content))))


def _change(value: object, rng: random.Random) -> None:
    """Changes one value anywhere below a list or an object, unless that is empty."""
    if not value:
        return
    parents = [value]
    for parent in parents:
        below: Sequence[object] = [*parent.values()] if isinstance(parent, dict) else parent
        parents += [x for x in below if isinstance(x, dict | list) and x]
    parent = rng.choice(parents)
    key = rng.choice([*parent] if isinstance(parent, dict) else range(len(parent)))
    draw = rng.random()
    if draw < 0.15:
        del parent[key]
    elif draw < 0.25 and isinstance(parent, dict):
        parent[rng.choice((*parent, "", "a\nb", "\ud800", "x/y"))] = parent.pop(key)
    else:
        parent[key] = copy.deepcopy(rng.choice(VALUES))


def _with_checksums(content: bytes) -> bytes:
    """Returns a PNG file in which the checksum of each chunk is right, as far as it has chunks."""
    changed, start = bytearray(content), 8
    while start + 12 <= len(changed):
        length = int.from_bytes(changed[start : start + 4])
        end = start + 8 + length
        if end + 4 > len(changed):
            break
        changed[end : end + 4] = zlib.crc32(changed[start + 4 : end]).to_bytes(4)
        start = end + 4
    return bytes(changed)
