"""Two models' answers to the same prompts: those of a comparison by a judge, or else those that a project holds."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import Q, QuerySet
from django.utils.safestring import SafeString

from annotation import exports
from annotation.rendering import length_of, render_markdown
from training.access import visible_models
from training.configs import SPEAKERS
from training.models import Evaluation, ModelVersion, Run
from training.rundir import RunFolder

if TYPE_CHECKING:
    from annotation.models import Candidate, Project, Prompt


@dataclass(frozen=True)
class Answer:
    text: str
    cut: bool
    score: float | None = None  # the judge's
    ahead: bool = False

    @property
    def html(self) -> SafeString:
        return render_markdown(self.text)

    @property
    def length(self) -> str:
        return length_of(self.text)


@dataclass(frozen=True)
class SideBySide:
    prompt: Prompt
    a: Answer
    b: Answer

    @property
    def earlier(self) -> list[tuple[str, SafeString]]:
        return [(turn["role"], render_markdown(turn["content"])) for turn in self.prompt.earlier_turns]


def comparable_models(user: Any, project: Project) -> QuerySet[ModelVersion]:
    """Models that write answers: those registered for everyone, and those that this project made."""
    models = visible_models(user).filter(kind__in=SPEAKERS).order_by("name", "-version")
    return models.filter(Q(run=None) | Q(run__project=project))


def newest_comparison(project: Project, a: ModelVersion, b: ModelVersion) -> Evaluation | None:
    """The last time that a judge compared the two in this project, whichever of them was called the baseline."""
    either = Q(model=a, baseline=b) | Q(model=b, baseline=a)
    found = Evaluation.objects.filter(either, run__project=project).select_related("run", "model", "baseline", "judge")
    return found.order_by("-pk").first()


def comparison_under_way(project: Project, a: ModelVersion, b: ModelVersion) -> Run | None:
    runs = Run.objects.filter(project=project, method="evaluate", state__in=[Run.State.QUEUED, Run.State.RUNNING])
    return runs.filter(parents=a).filter(parents=b).order_by("-pk").first()


def judged_answers(project: Project, evaluation: Evaluation, a: ModelVersion, b: ModelVersion) -> list[SideBySide]:
    """What both wrote in a comparison, with the judge's scores; answer number n beside answer number n."""
    found: dict[int, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in RunFolder(evaluation.run.folder).sampled():
        found[row["prompt_id"]][row["model"]].append(row)
    prompts = exports.prompts_by_id(project, found)
    return [
        SideBySide(prompts[pk], _judged(one, other), _judged(other, one))
        for pk, rows in sorted(found.items())
        if pk in prompts
        for one, other in zip(rows[str(a)], rows[str(b)], strict=False)
    ]


def _judged(row: dict[str, Any], other: dict[str, Any]) -> Answer:
    return Answer(row["text"], row["cut"], score=row["score"], ahead=row["score"] > other["score"])


def answers_to_rank(project: Project, a: ModelVersion, b: ModelVersion) -> list[SideBySide]:
    """The first answer of each model in tasks of the project that hold answers of both."""
    return [
        SideBySide(prompt, _held(answers[str(a)]), _held(answers[str(b)]))
        for prompt, answers in exports.answers_of_all(project, [str(a), str(b)])
    ]


def _held(candidate: Candidate) -> Answer:
    return Answer(candidate.text, candidate.cut)
