"""Rows of a file, whatever its format: jsonl, json, csv, parquet, each also gzip'd; told by content, not by name.

Memory stays small: a line is never read beyond MAX_LINE, so that neither a 200 MB line nor a gzip bomb fills it.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from django.utils.translation import gettext as _

MAX_LINE = 8 * 2**20  # bytes; nine answers of 100,000 words still fit
MAX_JSON = 64 * 2**20  # a JSON array is read as a whole, so it must be smaller than a file of lines may be

Source = Path | str | IO[bytes] | Iterable[Mapping[str, Any]]


class BadFile(ValueError):
    """The file as a whole cannot be read; a sentence that names it."""


@dataclass(frozen=True)
class Line:
    """One row of a file with its place, or the reason why it is none."""

    where: str  # "prompts.jsonl, line 3"
    data: dict[str, Any]
    problem: str = ""
    cells: bool = False  # from a CSV: every value is a text


def read_lines(source: Source, name: str = "") -> Iterator[Line]:
    """The rows of a path, an open binary file, or a collection of dicts. Raises BadFile."""
    if isinstance(source, str | Path):
        path = Path(source)
        try:
            with path.open("rb") as file:
                yield from _read_file(file, name or path.name)
        except OSError as error:
            raise BadFile(
                _("%(file)s cannot be read: %(reason)s.") % {"file": path, "reason": error.strerror}
            ) from None
    elif hasattr(source, "read"):
        stream: Any = getattr(source, "file", source)  # an upload of Django's wraps the file
        stream.seek(0)
        yield from _read_file(stream, name or Path(str(getattr(source, "name", "") or _("the file"))).name)
    else:
        for number, row in enumerate(source, 1):
            where = _("row %(number)d") % {"number": number}
            if isinstance(row, Mapping):
                yield Line(where, dict(row))
            else:
                yield Line(where, {}, _("must be an object with named fields"))


def _read_file(file: Any, name: str) -> Iterator[Line]:
    with _sentences(name):
        if _peek(file, 2) == b"\x1f\x8b":
            file = gzip.GzipFile(fileobj=file)
        start = _peek(file, 4096)
        if start.startswith(b"PAR1"):
            yield from _read_parquet(file, name)
            return
        if start.startswith(b"PK\x03\x04"):
            _refuse(name, _("it is a ZIP archive or a spreadsheet; save the table as CSV"))
        if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in start:
            _refuse(name, _("it is not UTF-8 text (it looks like UTF-16 or a binary file); save it as UTF-8"))
        start = start.removeprefix(b"\xef\xbb\xbf").lstrip()
        if start.startswith(b"["):
            yield from _read_json(file, name)
        elif start.startswith(b"{"):
            yield from _read_jsonl(file, name)
        elif start:
            yield from _read_csv(file, name)
        else:
            _refuse(name, _("it is empty"))


@contextmanager
def _sentences(name: str) -> Iterator[None]:
    """What a broken archive or table raises, as one sentence."""
    try:
        yield
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise BadFile(_("%(file)s is a damaged gzip file.") % {"file": name}) from None


def _refuse(name: str, reason: str) -> NoReturn:
    raise BadFile(_("%(file)s cannot be read: %(reason)s.") % {"file": name, "reason": reason})


def _peek(file: Any, size: int) -> bytes:
    start = bytes(file.read(size))
    file.seek(0)
    return start


def _numbered_lines(file: Any) -> Iterator[tuple[int, bytes | None]]:
    """Lines from 1, without a byte order mark; None in place of one that is too long, whose rest is skipped."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) <= MAX_LINE:
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE)
        yield number, None


def _too_long() -> str:
    return _("is longer than %(size)d MB; expected one row") % {"size": MAX_LINE // 2**20}


def _read_jsonl(file: Any, name: str) -> Iterator[Line]:
    for number, line in _numbered_lines(file):
        where = _("%(file)s, line %(number)d") % {"file": name, "number": number}
        if line is None:
            yield Line(where, {}, _too_long())
        elif line.strip():
            try:
                row = parse_json(line.decode().strip())
            except UnicodeDecodeError as error:
                yield Line(where, {}, _("is not UTF-8 at byte %(byte)d") % {"byte": error.start + 1})
            except ValueError as error:
                yield Line(where, {}, _("is not JSON: %(reason)s") % {"reason": error})
            else:
                ok = isinstance(row, dict)
                yield Line(where, row) if ok else Line(where, {}, _("must be one JSON object"))


def _read_json(file: Any, name: str) -> Iterator[Line]:
    content = file.read(MAX_JSON + 1)
    if len(content) > MAX_JSON:
        size = MAX_JSON // 2**20
        _refuse(name, _("a JSON array may have %(size)d MB; write one object a line instead") % {"size": size})
    try:
        rows = parse_json(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        _refuse(name, _("it is not UTF-8 at byte %(byte)d") % {"byte": error.start + 1})
    except ValueError as error:
        _refuse(name, _("it is not JSON: %(reason)s") % {"reason": error})
    for number, row in enumerate(rows, 1):
        where = _("%(file)s, item %(number)d") % {"file": name, "number": number}
        yield Line(where, row) if isinstance(row, dict) else Line(where, {}, _("must be one JSON object"))


def _read_csv(file: Any, name: str) -> Iterator[Line]:
    def text() -> Iterator[str]:
        for number, line in _numbered_lines(file):
            where = _("line %(number)d") % {"number": number}
            if line is None:
                _refuse(name, f"{where} {_too_long()}")
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                _refuse(name, _("%(where)s is not UTF-8 at byte %(byte)d") % {"where": where, "byte": error.start + 1})

    lines = text()
    first = next(lines)
    delimiter = max(",;\t", key=first.count)  # spreadsheets of many countries write semicolons
    header = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter))]
    csv.field_size_limit(MAX_LINE)
    rows = csv.reader(lines, delimiter=delimiter)
    try:
        for cells in rows:
            if not any(cells):
                continue
            where = _("%(file)s, line %(number)d") % {"file": name, "number": rows.line_num + 1}
            if len(cells) > len(header):
                reason = _("has %(cells)d cells; its first line names %(columns)d columns")
                yield Line(where, {}, reason % {"cells": len(cells), "columns": len(header)})
            else:
                yield Line(where, {k: v for k, v in zip(header, cells, strict=False) if v != ""}, cells=True)
    except csv.Error as error:
        _refuse(name, _("line %(number)d: %(reason)s") % {"number": rows.line_num + 1, "reason": error})


def _read_parquet(file: Any, name: str) -> Iterator[Line]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(file, gzip.GzipFile):
        _refuse(name, _("Parquet is compressed already; leave out gzip"))
    number = 0
    try:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=256):
            for row in batch.to_pylist():
                number += 1
                yield Line(_("%(file)s, row %(number)d") % {"file": name, "number": number}, row)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # the last two: texts not UTF-8, times
        _refuse(name, _("it is damaged Parquet (%(reason)s)") % {"reason": str(error).splitlines()[0].rstrip(".")})


def parse_json(text: str) -> Any:
    """JSON as the standard has it: no NaN. Raises ValueError, also for nesting that Python cannot follow."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(_("%(constant)s is no JSON number") % {"constant": constant})

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        reason = error.msg[0].lower() + error.msg[1:].removesuffix(" at")
        raise ValueError(_("%(reason)s at character %(n)d") % {"reason": reason, "n": error.pos + 1}) from None
    except RecursionError:
        raise ValueError(_("it is nested too deeply")) from None
