"""What a row of an import may hold: each field checked, each fault told in words. Nothing here touches the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import MAXYEAR, MINYEAR, datetime
from difflib import get_close_matches
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from annotation.models import Candidate, MadeBy, Message, Task
from annotation.readers import Line, parse_json

MAX_ANSWERS = 9
ROLES = ("system", "user", "assistant")

Tiers = list[list[int]]


class Wrong(ValueError):
    """A field is wrong: its name and what was expected."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.field, self.reason = name, reason


@dataclass(frozen=True)
class NewCandidate:
    """An answer before it is stored, with what is known of its making."""

    text: str
    model_name: str = ""
    sampling: dict[str, Any] = field(default_factory=dict)
    tokens: int | None = None
    cut: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What makes it this answer within its task: two models may say the same."""
        return self.text, self.model_name

    def for_task(self, task: Task) -> Candidate:
        return Candidate(task=task, **vars(self))


@dataclass(frozen=True)
class PromptRow:
    messages: list[Message]
    language: str = ""
    tags: list[str] = field(default_factory=list)
    batch: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    candidates: list[NewCandidate] = field(default_factory=list)


@dataclass(frozen=True)
class RankingRow:
    task: str  # external id; "": prompt and texts identify the task
    messages: list[Message]
    candidates: list[NewCandidate]
    annotator: str
    made_by: str
    tiers: Tiers | None  # with indices into `candidates`, as all below
    unranked: list[int]
    all_bad: bool
    strength: int | None
    ratings: dict[str, list[float | None]]
    comment: str
    seconds: float | None
    created_at: datetime | None


PROMPT_FIELDS = ("prompt", "language", "tags", "batch", "metadata", "candidates")
RANKING_FIELDS = (
    *("task", "prompt", "candidates", "annotator", "made_by", "tiers", "unranked", "all_bad", "strength", "ratings"),
    *("comment", "seconds", "created_at"),
)
TEXT_FIELDS = {"task", "prompt", "language", "batch", "annotator", "made_by", "comment", "created_at"}  # of a CSV


def read_prompt_row(line: Line) -> PromptRow:
    row = _fields(line, PROMPT_FIELDS)
    messages = _messages(row)
    tags = row.get("tags") or []
    if not (isinstance(tags, list) and all(isinstance(tag, str) and tag.strip() for tag in tags)):
        raise Wrong("tags", _("expected a list of texts"))
    metadata = row.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise Wrong("metadata", _("expected an object"))
    _check_texts("metadata", metadata)
    return PromptRow(
        messages=messages,
        language=_text(row, "language", most=20) or guess_language(messages),
        tags=list(dict.fromkeys(_clean("tags", tag.strip()) for tag in tags)),
        batch=_text(row, "batch", most=80),
        metadata=metadata,
        candidates=_candidates(row, least=0),
    )


def read_ranking_row(line: Line) -> RankingRow:
    row = _fields(line, RANKING_FIELDS)
    candidates = _candidates(row, least=2)
    annotator = _text(row, "annotator", most=100).strip()
    if not annotator:
        raise Wrong("annotator", _("is missing; expected who judged"))
    if "|" in annotator:
        raise Wrong("annotator", _("must not hold the character |"))
    made_by = _text(row, "made_by", most=20) or MadeBy.HUMAN
    if made_by not in MadeBy.values:
        raise Wrong("made_by", _("expected one of %(names)s") % {"names": ", ".join(MadeBy.values)})
    all_bad = row.get("all_bad", False)
    if not isinstance(all_bad, bool):
        raise Wrong("all_bad", _("expected true or false"))
    tiers, unranked = _tiers(row, len(candidates), all_bad=all_bad)
    strength = row.get("strength")
    if strength is not None and not (_is_int(strength) and 1 <= strength <= 4 and len(candidates) == 2):
        raise Wrong("strength", _("expected 1 to 4, and only where two candidates are compared"))
    return RankingRow(
        task=_text(row, "task", most=200).strip(),
        messages=_messages(row),
        candidates=candidates,
        annotator=annotator,
        made_by=made_by,
        tiers=tiers,
        unranked=unranked,
        all_bad=all_bad,
        strength=strength,
        ratings=_ratings(row, len(candidates)),
        comment=_text(row, "comment", most=10_000),
        seconds=_seconds(row),
        created_at=_created_at(row),
    )


def guess_language(messages: Sequence[Message]) -> str:
    """The language where the script alone tells it: zh, ja, ko. Latin letters serve too many to guess: "".

    >>> [guess_language([{"role": "user", "content": text}]) for text in ("怎么煮米饭?", "Hi")]
    ['zh', '']
    """
    text = messages[-1]["content"]
    scripts = Counter(_script(character) for character in text if character.isalpha())
    letters = scripts.total()
    if not letters or (scripts["han"] + scripts["kana"] + scripts["hangul"]) / letters < 0.3:
        return ""
    if scripts["hangul"] > scripts["han"]:
        return "ko"
    return "ja" if scripts["kana"] > 0.1 * letters else "zh"


def _script(character: str) -> str:
    code = ord(character)
    if 0x3040 <= code <= 0x30FF:
        return "kana"
    if 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0x20000 <= code <= 0x323AF:
        return "han"
    return "hangul" if 0xAC00 <= code <= 0xD7AF else "other"


def _fields(line: Line, names: tuple[str, ...]) -> dict[str, Any]:
    """The named values that are there (null and an empty cell are absent). Unknown names are refused."""
    if line.problem:
        raise Wrong("", line.problem)
    for name in line.data:
        if name not in names:
            near = get_close_matches(str(name), names, n=1)
            hint = _("did you mean %(name)s?") % {"name": near[0]} if near else ""
            known = _("expected %(names)s") % {"names": ", ".join(names)}
            raise Wrong(str(name), _("unknown field; %(hint)s") % {"hint": hint or known})
    row = {name: value for name, value in line.data.items() if value is not None}
    return {name: _cell(name, value) for name, value in row.items()} if line.cells else row


def _cell(name: str, text: str) -> Any:
    """A value from the text in a CSV cell: lists and numbers as JSON, tags also with commas, a conversation as JSON."""
    if name == "tags" and not text.startswith("["):
        return [tag for tag in text.split(",") if tag.strip()]
    if name in TEXT_FIELDS and not (name == "prompt" and text.startswith("[{")):
        return text
    try:
        return parse_json(text.lower() if name == "all_bad" else text)
    except ValueError:
        if name == "prompt":
            return text
        raise Wrong(name, _("expected JSON in this cell")) from None


def _messages(row: dict[str, Any]) -> list[Message]:
    prompt = row.get("prompt")
    if prompt is None:
        raise Wrong("prompt", _("is missing; expected a text or a list of messages"))
    if isinstance(prompt, str):
        if not prompt.strip():
            raise Wrong("prompt", _("is empty; expected a text"))
        return [{"role": "user", "content": _clean("prompt", prompt)}]
    if not isinstance(prompt, list) or not prompt:
        raise Wrong("prompt", _("expected a text or a list of messages"))
    messages = []
    for n, message in enumerate(prompt):
        name = f"prompt[{n}]"
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise Wrong(name, _("expected an object with exactly role and content"))
        if message["role"] not in ROLES or (message["role"] == "system" and n > 0):
            raise Wrong(f"{name}.role", _("expected user or assistant, or system in the first message"))
        if not isinstance(message["content"], str):
            raise Wrong(f"{name}.content", _("expected a text"))
        messages.append({"role": message["role"], "content": _clean(f"{name}.content", message["content"])})
    if messages[-1]["role"] != "user" or not messages[-1]["content"].strip():
        raise Wrong(f"prompt[{len(messages) - 1}]", _("expected the last message to be a user's, with a text"))
    return messages


def _candidates(row: dict[str, Any], *, least: int) -> list[NewCandidate]:
    given = row.get("candidates", [])
    if not isinstance(given, list) or not least <= len(given) <= MAX_ANSWERS:
        raise Wrong("candidates", _("expected a list of %(least)d to %(most)d") % {"least": least, "most": MAX_ANSWERS})
    candidates = []
    for n, candidate in enumerate(given):
        name = f"candidates[{n}]"
        if not isinstance(candidate, dict):
            candidate = {"text": candidate}
        text = candidate.get("text")
        if isinstance(text, bool | int | float):  # some tables turned an answer "True" or "42" into a value
            text = str(text)
        if not isinstance(text, str):
            raise Wrong(name, _("expected a text, or an object with text and model"))
        if unknown := set(candidate) - {"text", "model"}:
            raise Wrong(f"{name}.{min(unknown)}", _("unknown field; expected text and model"))
        model = candidate.get("model")
        if not (model is None or (isinstance(model, str) and len(model) <= 200)):
            raise Wrong(f"{name}.model", _("expected the name of a model, at most 200 characters"))
        candidates.append(NewCandidate(_clean(name, text), _clean(name, model or "")))
    return candidates


def _tiers(row: dict[str, Any], candidates: int, *, all_bad: bool) -> tuple[Tiers | None, list[int]]:
    """Tiers and unranked that name every candidate once; all bad needs no ranks."""
    tiers, unranked = row.get("tiers") or None, row.get("unranked", [])
    if tiers is None and not all_bad:
        raise Wrong("tiers", _("is missing; expected lists of candidates, best first, such as [[2], [0, 1]]"))
    if not (isinstance(tiers or [], list) and all(isinstance(tier, list) and tier for tier in tiers or [])):
        raise Wrong("tiers", _("expected lists of candidates, best first, such as [[2], [0, 1]]"))
    if not isinstance(unranked, list):
        raise Wrong("unranked", _("expected a list of candidates"))
    seen: set[int] = set()
    for name, index in [("tiers", i) for tier in tiers or [] for i in tier] + [("unranked", i) for i in unranked]:
        if not _is_int(index) or not 0 <= index < candidates:
            raise Wrong(name, _("expected numbers from 0 to %(last)d") % {"last": candidates - 1})
        if index in seen:
            raise Wrong(name, _("names candidate %(n)d twice") % {"n": index})
        seen.add(index)
    if (missing := sorted(set(range(candidates)) - seen)) and not all_bad:
        raise Wrong("tiers", _("misses candidate %(n)d; expected each one once") % {"n": missing[0]})
    return tiers, unranked


def _ratings(row: dict[str, Any], candidates: int) -> dict[str, list[float | None]]:
    ratings = row.get("ratings") or {}
    if not isinstance(ratings, dict):
        raise Wrong("ratings", _("expected an object with a list of numbers for each axis"))
    ratings = {axis: values for axis, values in ratings.items() if values is not None}
    _check_texts("ratings", ratings)
    for axis, values in ratings.items():
        if not (
            isinstance(values, list)
            and len(values) == candidates
            and all(value is None or _is_number(value) for value in values)
        ):
            raise Wrong(f"ratings.{axis}", _("expected a number (or null) for each candidate"))
    return ratings


def _seconds(row: dict[str, Any]) -> float | None:
    seconds = row.get("seconds")
    if seconds is not None and not (_is_number(seconds) and seconds >= 0):
        raise Wrong("seconds", _("expected a number of seconds, 0 or more"))
    return None if seconds is None else float(seconds)


def _created_at(row: dict[str, Any]) -> datetime | None:
    value = row.get("created_at")
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise Wrong("created_at", _("expected a time such as 2026-11-01T10:00:00Z")) from None
    # Parquet holds real times. The first and the last year cannot be brought into another time zone.
    if value is not None and not (isinstance(value, datetime) and MINYEAR < value.year < MAXYEAR):
        raise Wrong("created_at", _("expected a time such as 2026-11-01T10:00:00Z"))
    return timezone.make_aware(value) if value is not None and timezone.is_naive(value) else value


def _text(row: dict[str, Any], name: str, *, most: int) -> str:
    value = row.get(name, "")
    if _is_int(value):  # ids are often numbers
        value = str(value)
    if not isinstance(value, str):
        raise Wrong(name, _("expected a text"))
    if len(value) > most:
        raise Wrong(name, _("has %(n)d characters; expected at most %(most)d") % {"n": len(value), "most": most})
    return _clean(name, value)


def _clean(name: str, text: str) -> str:
    """Text that every database stores: no NUL, no half of a surrogate pair."""
    if "\0" in text:
        raise Wrong(name, _("holds a NUL character"))
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Wrong(name, _("holds half of a surrogate pair, which is no character")) from None
    return text


def _check_texts(name: str, value: Any) -> None:
    """The same for all texts within a value of any shape."""
    if isinstance(value, str):
        _clean(name, value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _clean(name, str(key))
            _check_texts(name, inner)
    elif isinstance(value, list):
        for inner in value:
            _check_texts(name, inner)
    elif not (value is None or isinstance(value, bool) or _is_number(value)):
        raise Wrong(name, _("expected only texts, finite numbers, true, false, null, lists and objects"))


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15  # NaN is not either
