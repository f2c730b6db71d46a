"""The door out: a project's rows as streams, a handful of queries per chunk, in memory that does not grow.

`TYPES` names the file exports; all show people by their pseudonyms. `task_rows` is what a snapshot freezes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from django.db.models import Count, Prefetch, Q

from annotation.comparisons import Comparison, aggregate, ordered_pairs
from annotation.models import Candidate, Message, Project, Prompt, Ranking, Task
from annotation.progress import Progress

CHUNK = 500  # tasks fetched together with their candidates and rankings

Row = dict[str, Any]

SPLITS = Prompt.Split.choices


def export_rows(project: Project, kind: str, *, ties: bool = False, votes: bool = False) -> Iterator[Row]:
    """The rows of one of TYPES. `ties` and `votes` shape preferences alone."""
    if kind == "preference":
        return preference_rows(project, ties=ties, votes=votes)
    return TYPES[kind](project)


def preference_rows(project: Project, *, ties: bool = False, votes: bool = False) -> Iterator[Row]:
    """TRL's preference, conversational: a row per ordered pair with the votes added up, or with `votes` one per vote.

    Tied pairs make no row, or with `ties` one with `"target": 0.5`, its sides in the order of their ids.
    """
    for task in judged_tasks(project):
        texts = {candidate.pk: candidate.text for candidate in task.candidates}
        compared = _votes(task) if votes else aggregate(task.rankings)
        for pair in compared:
            if pair.tied and not ties:
                continue
            yield {
                "prompt": task.prompt.messages,
                "chosen": _says(texts[pair.i]),
                "rejected": _says(texts[pair.j]),
                "margin": pair.margin,
                "weight": pair.weight,
                "votes_for": pair.votes_for,
                "votes_against": pair.votes_against,
                "task": task.pk,
                "chosen_id": pair.i,
                "rejected_id": pair.j,
                "rankings": list(pair.rankings),
                "split": task.prompt.split,
                **({"target": 0.5} if pair.tied else {}),
            }


def unpaired_preference_rows(project: Project) -> Iterator[Row]:
    """TRL's unpaired preference: each candidate that won more comparisons than it lost, or lost more than it won.

    "All bad" is a loss of every candidate. A candidate that comes out even says nothing and makes no row.
    """
    for task in judged_tasks(project):
        for candidate, (won, lost) in _balance(task).items():
            if won != lost:
                yield {
                    "prompt": task.prompt.messages,
                    "completion": _says(candidate.text),
                    "label": won > lost,
                    "won": won,
                    "lost": lost,
                    "task": task.pk,
                    "candidate_id": candidate.pk,
                    "split": task.prompt.split,
                }


def prompt_completion_rows(project: Project) -> Iterator[Row]:
    """TRL's prompt-completion: the best answer of each task, or several that are equally best.

    Where nothing won more than it lost (all tied, all bad) there is no best answer and no row.
    """
    for task in judged_tasks(project):
        balance = {candidate: won - lost for candidate, (won, lost) in _balance(task).items()}
        best = max(balance.values())
        for candidate, value in balance.items():
            if value == best > 0:
                yield {
                    "prompt": task.prompt.messages,
                    "completion": _says(candidate.text),
                    "task": task.pk,
                    "candidate_id": candidate.pk,
                    "split": task.prompt.split,
                }


def prompt_only_rows(project: Project) -> Iterator[Row]:
    """TRL's prompt-only: every prompt, judged or not."""
    for prompt in Prompt.objects.filter(project=project).order_by("pk").iterator(chunk_size=CHUNK):
        yield {
            "prompt": prompt.messages,
            "language": prompt.language,
            "tags": prompt.tags,
            "prompt_id": prompt.pk,
            "split": prompt.split,
        }


def waiting_rows(project: Project) -> Iterator[Row]:
    """Every task that waits for answers, in the order of the queue, with the answers that it has."""
    waiting = Task.objects.filter(project=project, ready=False).order_by("position", "pk").select_related("prompt")
    for task in waiting.prefetch_related("candidates").iterator(chunk_size=CHUNK):
        yield {
            "task_id": task.pk,
            "prompt_id": task.prompt_id,
            "prompt": task.prompt.messages,
            "language": task.prompt.language,
            "existing": [candidate.text for candidate in task.candidates.all()],
        }


def waiting_counts(project: Project) -> list[int]:
    """How many answers each task has that waits for more. Pages ask this often: no text is read."""
    waiting = Task.objects.filter(project=project, ready=False)
    return list(waiting.annotate(answers=Count("candidates")).values_list("answers", flat=True))


def ranking_rows(project: Project) -> Iterator[Row]:
    """Every counted judgement as `import_rankings` takes it in."""
    for task in judged_tasks(project):
        index = {candidate.pk: n for n, candidate in enumerate(task.candidates)}
        for ranking in task.rankings:
            yield {
                **({"task": task.external_id} if task.external_id else {}),
                "prompt": task.prompt.messages,
                "candidates": [{"text": c.text, "model": c.model_name} for c in task.candidates],
                "annotator": ranking.annotator.pseudonym,
                "made_by": ranking.made_by,
                "tiers": ranking.tiers and [[index[pk] for pk in tier] for tier in ranking.tiers],
                "unranked": [index[pk] for pk in ranking.unranked],
                "all_bad": ranking.all_bad,
                "strength": ranking.strength,
                "ratings": ranking.ratings,
                "comment": ranking.comment,
                "seconds": ranking.seconds,
                "created_at": ranking.created_at.isoformat(),
            }


def task_rows(project: Project) -> Iterator[Row]:
    """What a snapshot freezes: a row per judged task with its candidates, current rankings and comparisons."""
    for task in judged_tasks(project):
        yield {
            "task_id": task.pk,
            "prompt": task.prompt.messages,
            "split": task.prompt.split,
            "tags": task.prompt.tags,
            "candidates": [{"id": each.pk, "text": each.text, "model": each.model_name} for each in task.candidates],
            "rankings": [
                {
                    "id": ranking.pk,
                    "annotator": ranking.annotator.pseudonym,
                    "made_by": ranking.made_by,
                    "tiers": ranking.tiers,
                    "unranked": ranking.unranked,
                    "all_bad": ranking.all_bad,
                    "strength": ranking.strength,
                }
                for ranking in task.rankings
            ],
            "comparisons": [_plain(pair) for pair in aggregate(task.rankings)],
        }


TYPES: dict[str, Callable[[Project], Iterator[Row]]] = {
    "preference": preference_rows,
    "unpaired_preference": unpaired_preference_rows,
    "prompt_only": prompt_only_rows,
    "prompt_completion": prompt_completion_rows,
    "rankings": ranking_rows,
}


@dataclass(frozen=True)
class JudgedTask:
    """A task with the judgements that count, in the order in which they came."""

    pk: int
    external_id: str | None
    prompt: Prompt
    candidates: list[Candidate]
    rankings: list[Ranking]


def counts(project: Project) -> dict[str, int]:
    """How much there is: prompts, answers and those cut at the length limit, rankings, and the tasks by their state."""
    answers = Candidate.objects.filter(task__project=project)
    return {
        **Progress(project).tasks,
        **answers.aggregate(answers=Count("pk"), cut=Count("pk", filter=Q(cut=True))),
        "prompts": Prompt.objects.filter(project=project).count(),
        "rankings": Ranking.objects.counted().filter(task__project=project).count(),
    }


def prompts_by_id(project: Project, ids: Collection[int]) -> dict[int, Prompt]:
    return project.prompts.in_bulk(list(ids))


def answers_of_all(project: Project, models: Collection[str]) -> list[tuple[Prompt, dict[str, Candidate]]]:
    """Prompts that every one of these models answered, with the first answer of each, in the order of the queue."""
    found: dict[int, dict[str, Candidate]] = defaultdict(dict)
    written = Candidate.objects.filter(task__project=project, model_name__in=models).select_related("task__prompt")
    for candidate in written.order_by("task__position", "pk"):
        found[candidate.task_id].setdefault(candidate.model_name, candidate)
    complete = [answers for answers in found.values() if len(answers) == len(set(models))]
    return [(next(iter(answers.values())).task.prompt, answers) for answers in complete]


def judged_tasks(project: Project) -> Iterator[JudgedTask]:
    counted = Ranking.objects.counted().select_related("annotator").order_by("pk")
    tasks = Task.objects.filter(project=project, judged__gt=0).order_by("pk").select_related("prompt")
    for task in tasks.prefetch_related("candidates", Prefetch("rankings", counted)).iterator(chunk_size=CHUNK):
        candidates, rankings = list(task.candidates.all()), list(task.rankings.all())
        yield JudgedTask(task.pk, task.external_id, task.prompt, candidates, rankings)


def _balance(task: JudgedTask) -> dict[Candidate, tuple[int, int]]:
    """How often each candidate won and lost, over all people; "all bad" is a loss of each."""
    won: Counter[int] = Counter()
    lost = Counter({candidate.pk: sum(ranking.all_bad for ranking in task.rankings) for candidate in task.candidates})
    for ranking in task.rankings:
        for better, worse in ordered_pairs(ranking.tiers, ranking.unranked, ranking.all_bad):
            won[better] += 1
            lost[worse] += 1
    return {candidate: (won[candidate.pk], lost[candidate.pk]) for candidate in task.candidates}


def _votes(task: JudgedTask) -> Iterator[Comparison]:
    """Each verdict of each person as a comparison of its own."""
    for ranking in task.rankings:
        yield from aggregate([ranking])


def _says(text: str) -> list[Message]:
    return [{"role": "assistant", "content": text}]


def _plain(pair: Comparison) -> Row:
    row = asdict(pair)
    del row["rankings"]  # they stand beside it, with their tiers
    return row
