"""The only door in: prompts, candidates and finished rankings, from rows and files.

An import is all or nothing, in one transaction; `skip_bad=True` stores the good rows and reports each bad one.
What is there already is reported as a duplicate and not stored again, so an import may be repeated safely.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import F, Max
from django.db.models.functions import Greatest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotation.import_rows import (
    MAX_ANSWERS,
    NewCandidate,
    PromptRow,
    RankingRow,
    Wrong,
    guess_language,
    read_prompt_row,
    read_ranking_row,
)
from annotation.models import COUNTED, Candidate, Kind, Membership, Project, Prompt, Purpose, Ranking, Task
from annotation.readers import BadFile, Line, Source, read_lines

__all__ = [
    "BadFile",
    "ImportRefused",
    "ImportReport",
    "NewCandidate",
    "Problem",
    "add_candidates",
    "import_prompts",
    "import_rankings",
]

CHUNK = 500  # rows that are looked up and stored together

Progress = Callable[[int], None]  # called with the number of rows read so far
Row = TypeVar("Row")


@dataclass(frozen=True)
class Problem:
    """A row that was not stored, and why."""

    where: str
    field: str
    reason: str

    def __str__(self) -> str:
        return _(": ").join(part for part in (self.where, self.field, self.reason) if part)


@dataclass
class ImportReport:
    """What an import stored, and what it left out."""

    prompts: int = 0
    tasks: int = 0
    candidates: int = 0
    rankings: int = 0
    amended: int = 0  # of the rankings: those that supersede an earlier one
    duplicates: list[Problem] = field(default_factory=list)
    bad: list[Problem] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        lists = {name: [str(problem) for problem in getattr(self, name)] for name in ("duplicates", "bad")}
        return {**vars(self), **lists}


class ImportRefused(ValueError):
    """Something in the rows is wrong, so nothing was stored."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        more = len(problems) - 1
        tail = ngettext("%(n)d more row is wrong.", "%(n)d more rows are wrong.", more) % {"n": more} if more else ""
        first = str(problems[0])
        first = first if first.endswith(("?", "？")) else _("%(problem)s.") % {"problem": first}
        super().__init__(" ".join(filter(None, [first, tail, _("Nothing was stored.")])))


def import_prompts(
    project: Project, source: Source, *, name: str = "", skip_bad: bool = False, progress: Progress | None = None
) -> ImportReport:
    """Store prompts, each with a task; the task opens at once when enough finished answers come along.

    A row: {"prompt": text or messages, "language", "tags", "batch", "metadata", "candidates": [text or {"text",
    "model"}]}; only the prompt is needed. Raises ImportRefused or BadFile.
    """
    most = 2 if project.kind == Kind.PAIRWISE else MAX_ANSWERS

    def read(line: Line) -> PromptRow:
        row = read_prompt_row(line)
        if len(row.candidates) > most:
            raise Wrong("candidates", _("expected at most %(most)d in this project") % {"most": most})
        if len({candidate.key for candidate in row.candidates}) < len(row.candidates):
            raise Wrong("candidates", _("holds the same answer of the same model twice"))
        return row

    return _import(project, source, name, skip_bad, progress, read, _Importer.store_prompts)


def import_rankings(
    project: Project, source: Source, *, name: str = "", skip_bad: bool = False, progress: Progress | None = None
) -> ImportReport:
    """Store finished judgements with their prompts and candidates.

    A row: {"prompt", "candidates", "annotator", "tiers" or "all_bad"}, and if wanted "task", "unranked", "strength",
    "ratings", "comment", "seconds", "created_at", "made_by" (human, simulated, judge). Imported judgements take
    nobody's seat: the overlap of their task is raised to hold them. Rows of the same person on the same task amend
    each other in the order of the file. Raises ImportRefused or BadFile.
    """
    return _import(project, source, name, skip_bad, progress, read_ranking_row, _Importer.store_rankings)


def add_candidates(task: Task, answers: Iterable[NewCandidate], *, wanted: int | None = None) -> list[Candidate]:
    """Give a waiting task answers and open it once it has `wanted` (else the project's number) of them.

    An answer that the task has already, from the same model, is not added again; an open task takes no more,
    since people may be looking at it. Returns what was added.
    """
    with transaction.atomic():
        task = Task.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(pk=task.pk)
        if task.ready:
            return []
        wanted = min(wanted or task.project.answers_per_task, MAX_ANSWERS)
        present = set(task.candidates.values_list("text", "model_name"))
        added = []
        for answer in answers:
            if answer.key not in present and len(present) < wanted:
                present.add(answer.key)
                added.append(answer.for_task(task))
        Candidate.objects.bulk_create(added)
        if len(present) >= wanted:
            Task.objects.filter(pk=task.pk).update(ready=True)
        return added


def _import(
    project: Project,
    source: Source,
    name: str,
    skip_bad: bool,
    progress: Progress | None,
    read: Callable[[Line], Row],
    store: Callable[[_Importer, list[tuple[str, Row]]], None],
) -> ImportReport:
    if not (isinstance(source, str | Path) or hasattr(source, "read")):
        source = list(source)  # it is read twice
    if not skip_bad:  # first all that can be seen without the database, so that its write lock is held briefly
        problems: list[Problem] = []
        for line in read_lines(source, name):
            _parse(line, read, problems)
        if problems:
            raise ImportRefused(problems)
    with transaction.atomic():
        # One import into a project at a time: a second one waits here and then finds what the first one stored.
        importer = _Importer(Project.objects.select_for_update(no_key=True).get(pk=project.pk))
        bad = importer.report.bad
        rows = (row for line in read_lines(source, name) if (row := _parse(line, read, bad)))
        done = 0
        while chunk := list(islice(rows, CHUNK)):
            store(importer, chunk)
            done += len(chunk)
            if progress:
                progress(done)
        if bad and not skip_bad:
            raise ImportRefused(bad)
    return importer.report


def _parse(line: Line, read: Callable[[Line], Row], problems: list[Problem]) -> tuple[str, Row] | None:
    try:
        return line.where, read(line)
    except Wrong as wrong:
        problems.append(Problem(line.where, wrong.field, wrong.reason))
        return None


@dataclass
class _TaskRows:
    """A task with its prompt's hash and its candidates in the order of their ids, stored or about to be."""

    task: Task
    content_hash: str
    candidates: list[Candidate]

    def places(self, row: RankingRow, content_hash: str) -> list[int]:
        """For each candidate of the row its place among the task's; both hold the same, in any order."""
        if content_hash != self.content_hash:
            raise Wrong("prompt", _("differs from the prompt that this task has already"))
        free = dict(enumerate(self.candidates))
        places: dict[int, int] = {}
        for exact in (True, False):  # then those where one side does not say which model wrote the text
            for n, candidate in enumerate(row.candidates):
                if n not in places:
                    same = [place for place, other in free.items() if _same(candidate, other, exact=exact)]
                    if not exact and len({free[place].model_name for place in same}) > 1:
                        raise Wrong(f"candidates[{n}]", _("is the text of several models; expected its model"))
                    if same:
                        places[n] = same[0]
                        del free[same[0]]
        for n in range(len(row.candidates)):
            if n not in places:
                raise Wrong(f"candidates[{n}]", _("is none of the candidates that this task has already"))
        if free:
            raise Wrong("candidates", _("misses %(n)d of the candidates that this task has already") % {"n": len(free)})
        return [places[n] for n in range(len(row.candidates))]


def _same(candidate: NewCandidate, other: Candidate, *, exact: bool) -> bool:
    models = candidate.model_name, other.model_name
    return candidate.text == other.text and (models[0] == models[1] if exact else "" in models)


class _Importer:
    """One import into one project: stores chunk after chunk with a handful of statements each."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.report = ImportReport()
        self.position = (project.tasks.aggregate(last=Max("position"))["last"] or 0) + 1
        people = project.memberships.exclude(external_id="")
        self.members = {member.external_id: member for member in people}
        self.met: dict[tuple[int, int], list[tuple[str, str]]] = defaultdict(list)  # (task, member): digests so far

    def store_prompts(self, rows: list[tuple[str, PromptRow]]) -> None:
        hashes = [Prompt.hash_messages(row.messages) for _where, row in rows]
        known = self._stored_prompts(hashes)
        new: list[_TaskRows] = []
        for (where, row), content_hash in zip(rows, hashes, strict=True):
            if content_hash in known:
                self.report.duplicates.append(Problem(where, "prompt", _("is there already")))
                continue
            known[content_hash] = self._new_prompt(row, content_hash)
            task = self._new_task(known[content_hash])
            task.ready = len(row.candidates) >= self.project.answers_per_task
            new.append(_TaskRows(task, content_hash, [candidate.for_task(task) for candidate in row.candidates]))
        self._save(new)

    def store_rankings(self, rows: list[tuple[str, RankingRow]]) -> None:
        hashes = [Prompt.hash_messages(row.messages) for _where, row in rows]
        names = [
            row.task or _content_id(content_hash, row.candidates)
            for (_where, row), content_hash in zip(rows, hashes, strict=True)
        ]
        nameless = [content_hash for (_where, row), content_hash in zip(rows, hashes, strict=True) if not row.task]
        prompts, tasks = self._stored_prompts(hashes), self._stored_tasks(names, nameless)
        stored = {rows.task.pk for rows in tasks.values()}
        new: list[_TaskRows] = []
        judgements: list[tuple[str, RankingRow, _TaskRows, list[int]]] = []
        for (where, row), content_hash, name in zip(rows, hashes, names, strict=True):
            try:
                self._check_made_by(row)
                if name in tasks:
                    places = tasks[name].places(row, content_hash)
                else:
                    places = list(range(len(row.candidates)))
                    if content_hash not in prompts:
                        prompts[content_hash] = self._new_prompt(row, content_hash)
                    task = self._new_task(prompts[content_hash], name)
                    tasks[name] = _TaskRows(task, content_hash, [each.for_task(task) for each in row.candidates])
                    new.append(tasks[name])
            except Wrong as wrong:
                self.report.bad.append(Problem(where, wrong.field, wrong.reason))
            else:
                if row.annotator not in self.members:
                    self.members[row.annotator] = Membership(
                        project=self.project, external_id=row.annotator, made_by=row.made_by
                    )
                judgements.append((where, row, tasks[name], places))
        self._save(new)
        self._save_members()
        self._store_judgements(judgements, stored)

    def _stored_prompts(self, hashes: Iterable[str]) -> dict[str, Prompt]:
        prompts = Prompt.objects.filter(project=self.project, content_hash__in=set(hashes)).only("content_hash")
        return {prompt.content_hash: prompt for prompt in prompts}

    def _stored_tasks(self, names: Iterable[str], nameless: Iterable[str]) -> dict[str, _TaskRows]:
        """Tasks by external id; one that came with its prompt has none, and goes by its prompt's hash and its texts."""
        found = Task.objects.filter(project=self.project).select_related("prompt").prefetch_related("candidates")
        found = found.only("external_id", "prompt__content_hash")
        tasks = {}
        # Two queries: joined by "or" they would read every task of the project.
        for task in [
            *found.filter(external_id__in=set(names)),
            *found.filter(external_id=None, prompt__in=self._stored_prompts(nameless).values()),
        ]:
            candidates = sorted(task.candidates.all(), key=lambda candidate: candidate.pk)
            content_hash = task.prompt.content_hash
            name = task.external_id or _content_id(content_hash, candidates)
            tasks[name] = _TaskRows(task, content_hash, candidates)
        return tasks

    def _new_prompt(self, row: PromptRow | RankingRow, content_hash: str) -> Prompt:
        prompt = Prompt(
            project=self.project,
            messages=row.messages,
            content_hash=content_hash,
            split=Prompt.split_of(content_hash),
            language=guess_language(row.messages),
        )
        if isinstance(row, PromptRow):
            prompt.language = row.language or prompt.language
            prompt.tags, prompt.batch, prompt.metadata = row.tags, row.batch, row.metadata
        return prompt

    def _new_task(self, prompt: Prompt, external_id: str | None = None) -> Task:
        draw = _draw(f"{prompt.content_hash}{external_id or ''}")
        calibrates = draw < self.project.calibration_share
        overlap = max(self.project.overlap, self.project.calibration_overlap) if calibrates else self.project.overlap
        self.position += 1
        return Task(
            project=self.project,
            prompt=prompt,
            external_id=external_id,
            position=self.position - 1,
            draw=draw,
            is_calibration=calibrates,
            overlap=overlap,
        )

    def _save(self, new: list[_TaskRows]) -> None:
        prompts = list({id(rows.task.prompt): rows.task.prompt for rows in new if rows.task.prompt.pk is None}.values())
        candidates = [candidate for rows in new for candidate in rows.candidates]
        Prompt.objects.bulk_create(prompts)
        Task.objects.bulk_create([rows.task for rows in new])
        Candidate.objects.bulk_create(candidates)
        self.report.prompts += len(prompts)
        self.report.tasks += len(new)
        self.report.candidates += len(candidates)

    def _check_made_by(self, row: RankingRow) -> None:
        member = self.members.get(row.annotator)
        if member and member.made_by != row.made_by:
            raise Wrong("made_by", _("is %(other)s for this annotator elsewhere") % {"other": member.made_by})

    def _save_members(self) -> None:
        Membership.objects.bulk_create(member for member in self.members.values() if member.pk is None)

    def _store_judgements(
        self, judgements: list[tuple[str, RankingRow, _TaskRows, list[int]]], stored_tasks: set[int]
    ) -> None:
        current: dict[tuple[int, int], Ranking] = {}
        keys: set[tuple[int, str]] = set()
        people = {self.members[row.annotator].pk for _where, row, _rows, _places in judgements}
        for ranking in Ranking.objects.filter(task__in=stored_tasks, annotator__in=people):
            keys.add((ranking.annotator_id, ranking.key))
            if ranking.is_current and ranking.purpose in COUNTED:
                current[ranking.task_id, ranking.annotator_id] = ranking

        unsaved: list[Ranking] = []
        newly_judged: Counter[int] = Counter()
        for where, row, rows, places in judgements:
            member, task = self.members[row.annotator], rows.task
            answer = _answer(row, [rows.candidates[place].pk for place in places], places)
            earlier, met = current.get((task.pk, member.pk)), self.met[task.pk, member.pk]
            said, dated = _digest(answer), _digest(answer, row.created_at)
            repeats_line = bool(met) and met[-1][0] == said
            # A file may go back and forth (A, B, A); imported again, each line must find itself. Hence the count.
            key = f"import-{task.pk}-{dated}-{met.count((said, dated))}"
            if not repeats_line:
                met.append((said, dated))
            if repeats_line or (member.pk, key) in keys or (earlier and _says(earlier, answer)):
                self.report.duplicates.append(Problem(where, "", _("this judgement is there already")))
                continue
            if earlier is None:
                newly_judged[task.pk] += 1
            elif earlier.pk is None:  # it waits to be stored: first that one, then its amendment
                _save_rankings(unsaved)
                unsaved = []
            ranking = Ranking(
                task=task,
                annotator=member,
                key=key,
                kind=self.project.kind,
                purpose=Purpose.IMPORTED,
                made_by=row.made_by,
                seconds=row.seconds,
                created_at=row.created_at or timezone.now(),
                supersedes=earlier,
                **answer,
            )
            current[task.pk, member.pk] = ranking
            keys.add((member.pk, key))
            unsaved.append(ranking)
            self.report.rankings += 1
            self.report.amended += earlier is not None
        _save_rankings(unsaved)
        _take_seats(newly_judged)


def _answer(row: RankingRow, ids: list[int], places: list[int]) -> dict[str, Any]:
    """The judgement with candidate ids; ratings in the order of the task's candidates."""
    return {
        "tiers": row.tiers and [sorted(ids[n] for n in tier) for tier in row.tiers],
        "unranked": sorted(ids[n] for n in row.unranked),
        "all_bad": row.all_bad,
        "strength": row.strength,
        "ratings": {
            axis: [value for _place, value in sorted(zip(places, values, strict=True))]
            for axis, values in row.ratings.items()
        },
        "comment": row.comment,
    }


def _says(ranking: Ranking, answer: dict[str, Any]) -> bool:
    return all(getattr(ranking, name) == value for name, value in answer.items())


def _digest(answer: dict[str, Any], created_at: datetime | None = None) -> str:
    content = json.dumps([answer, created_at and created_at.isoformat()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _save_rankings(rankings: list[Ranking]) -> None:
    superseded = [ranking.supersedes.pk for ranking in rankings if ranking.supersedes]
    Ranking.objects.filter(pk__in=superseded).update(is_current=False)  # first: one current ranking per person
    Ranking.objects.bulk_create(rankings)


def _take_seats(newly_judged: Counter[int]) -> None:
    """Count the judgements; the overlap rises where they need more room than there is. What is judged is open."""
    tasks_by_count = defaultdict(list)
    for task, count in newly_judged.items():
        tasks_by_count[count].append(task)
    for count, tasks in tasks_by_count.items():
        Task.objects.filter(pk__in=tasks).update(
            overlap=Greatest(F("overlap"), F("taken") + count),
            taken=F("taken") + count,
            judged=F("judged") + count,
            ready=True,
        )


def _content_id(content_hash: str, candidates: Sequence[NewCandidate | Candidate]) -> str:
    """The external id of a task that came without one: its prompt and its texts, in any order."""
    content = json.dumps([content_hash, sorted(candidate.text for candidate in candidates)])
    return f"content-{hashlib.sha256(content.encode()).hexdigest()}"


def _draw(content: str) -> float:
    """Uniform in [0, 1), the same for the same task in every project; other bits than the split's."""
    return int(hashlib.sha256(f"draw {content}".encode()).hexdigest()[:12], 16) / 16**12
