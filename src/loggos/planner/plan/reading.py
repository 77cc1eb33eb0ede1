"""TOML to records: what cannot be used is refused with the file, the line, the key and what to write instead.

Rules: unknown keys are errors that name the nearest known one; types and ranges are those that the record's annotations say.
Pure: text in, a record out; who calls it reads the file. Lines are found by a scan of the text, since the TOML parser keeps none:
a key inside an inline table has the line of that table.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any, Final, TypeVar, get_args, get_type_hints

import msgspec

from loggos.base.errors import InputError

T = TypeVar("T", bound=msgspec.Struct)
Path = tuple[str | int, ...]

TABLE: Final = re.compile(r"^\s*(\[\[?)\s*([^\[\]#]+?)\s*\]\]?\s*(?:#.*)?$")
KEY: Final = re.compile(r"^\s*([A-Za-z0-9_.\"'\- ]+?)\s*=")
AT: Final = re.compile(r"^(.*?)(?: - at `(?:key in )?\$(.*)`)?$", re.DOTALL)


def read(text: str, kind: type[T], where: str) -> T:
    """One record of `kind` from TOML; InputError names the place. `where`: the file's name, for messages."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where} is not TOML: {error}") from None
    refuse_unknown(data, kind, text, where, ())
    for path in not_finite(data, ()):
        raise InputError(f"{place(text, where, path)}: {dotted(path)} is not a finite number: write a figure")
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        said = AT.match(str(error))
        assert said is not None
        path = parse_path(said.group(2) or "")
        raise InputError(f"{place(text, where, path)}: {dotted(path) or 'the file'}: {said.group(1)}") from None


def dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


def not_finite(value: object, path: Path) -> Iterator[Path]:
    """Where a number is infinite or none: TOML can write both."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from not_finite(inner, (*path, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from not_finite(inner, (*path, number))
    elif isinstance(value, float) and not isfinite(value):
        yield path


def place(text: str, where: str, path: Path) -> str:
    """ "file:line" of a key, or the file alone when the key is not written."""
    line = line_of(text, path)
    return f"{where}:{line}" if line else where


def line_of(text: str, path: Path) -> int:
    """The line (from 1) on which a key stands, or on which the nearest table around it does; 0 if neither is written."""
    names = [part for part in path if isinstance(part, str)]
    wanted = {len(path): tuple(path)} | {depth: tuple(path[:depth]) for depth in range(1, len(path))}
    best, depth_best = 0, 0
    table: Path = ()
    arrays: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        head = TABLE.match(line)
        if head:
            parts = split_key(head.group(2))
            table = (*parts,)
            if head.group(1) == "[[":
                arrays[parts] = arrays.get(parts, -1) + 1
            table = with_places(parts, arrays)
            found = table
        else:
            key = KEY.match(line)
            if not key:
                continue
            found = (*table, *split_key(key.group(1)))
        if names and len(found) > depth_best and wanted.get(len(found)) == found:
            best, depth_best = number, len(found)
    return best


def with_places(parts: tuple[str, ...], arrays: dict[tuple[str, ...], int]) -> Path:
    """A table's path with the numbers of the arrays of tables it is in."""
    path: list[str | int] = []
    for depth, part in enumerate(parts, 1):
        path.append(part)
        if parts[:depth] in arrays:
            path.append(arrays[parts[:depth]])
    return tuple(path)


def split_key(key: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in key.split("."))


def parse_path(said: str) -> Path:
    """msgspec's `.load.per_s` or `.node[1].price` as a path."""
    found = re.findall(r"\.([A-Za-z0-9_]+)|\[(\d+)\]", said)
    return tuple(int(place) if place else name for name, place in found)


def refuse_unknown(data: dict[str, Any], kind: type[msgspec.Struct], text: str, where: str, path: Path) -> None:
    """InputError for the first key that the record does not know, at any depth."""
    known = get_type_hints(kind)
    for name, value in data.items():
        here = (*path, name)
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it can be {', '.join(known)}"
            raise InputError(f"{place(text, where, here)}: there is no key {dotted(here)}: {hint}")
        inner = record_in(known[name])
        if inner is None:
            continue
        if isinstance(value, dict):
            refuse_unknown(value, inner, text, where, here)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                if isinstance(item, dict):
                    refuse_unknown(item, inner, text, where, (*here, number))


def record_in(hint: object) -> type[msgspec.Struct] | None:
    """The record that an annotation holds, behind lists and unions."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint
    found: Sequence[type[msgspec.Struct] | None] = [record_in(part) for part in get_args(hint)]
    return next((kind for kind in found if kind is not None), None)
