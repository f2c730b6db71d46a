"""Simulated annotators: for demos, tests and trying a project out. What they judge is marked simulated everywhere.

What they like is written down here and known to everyone, so that measured agreement can be checked against theory:

    utility = 3 in the prompt's language + 2 not repetitive + 1 complete + 1 of 20 to 120 words     (each from 0 to 1)

A ranking is one draw from the Plackett-Luce model over utility / noise: each next place goes to candidate i with
probability proportional to exp(utility_i / noise), which is the order of utility_i / noise + Gumbel noise. Every
annotator adds a liking of their own for what is shown first. They never tie, skip or call all bad.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from annotation.assignment import next_task
from annotation.models import Candidate, Lease, MadeBy, Membership, Project, Ranking, Task
from annotation.rankings import Answer, submit_ranking

LEAST_WORDS, MOST_WORDS = 20, 120
CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
CJK_PER_WORD = 1.5  # characters that say as much as one English word, roughly
END = re.compile(r"""[.!?。！？…]["'”’)\]）」』】*_`]*$|```$""")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Annotator:
    name: str
    noise: float = 1.0
    place_bias: float = 0.3  # added for the first place shown, falling to 0 for the last

    def draw(self, utilities: Floats, rng: np.random.Generator) -> Floats:
        """Scores (..., n) of candidates in the order shown; the highest is ranked first."""
        places = np.linspace(self.place_bias, 0.0, utilities.shape[-1])
        scores: Floats = utilities / self.noise + places + rng.gumbel(size=utilities.shape)
        return scores


@dataclass(frozen=True)
class Band:
    """Where the raw agreement of simulated annotators must lie, in 999 of 1,000 repetitions."""

    low: float
    mean: float
    high: float

    def __contains__(self, raw: float) -> bool:
        return self.low <= raw <= self.high


def crowd(annotators: int, seed: int) -> list[Annotator]:
    """So many annotators, each a little different in noise and place bias; the same for the same seed."""
    rng = np.random.default_rng([seed, 0])
    noises, biases = rng.uniform(0.5, 1.0, annotators), rng.uniform(0.0, 0.6, annotators)
    return [
        Annotator(f"simulated-{n}", float(noise), float(bias))
        for n, (noise, bias) in enumerate(zip(noises, biases, strict=True), 1)
    ]


def utility(prompt: str, answer: str, *, cut: bool = False) -> float:
    """How good an answer is to all simulated annotators, from 0 to 7.

    >>> good = "Boil the eggs for ten minutes, put them into cold water, and keep them in the fridge for up to a week."
    >>> [utility("How do I keep boiled eggs?", answer) for answer in (good, "Boil eggs boil eggs boil eggs", "")]
    [7.0, 4.3, 0.0]
    """
    units = re.findall(rf"[{CJK}]|[^\W_{CJK}]+", answer.lower())
    if not units:
        return 0.0
    language = float(_cjk_share(prompt) is None or (_cjk_share(prompt) == _cjk_share(answer)))
    triples = list(zip(units, units[1:], units[2:], strict=False))
    varied = len(set(triples)) / len(triples) if triples else 1.0
    complete = float(not cut and bool(END.search(answer.strip())))
    cjk = len(re.findall(rf"[{CJK}]", answer))
    words = len(units) - cjk + cjk / CJK_PER_WORD
    length = min(1.0, words / LEAST_WORDS, max(0.0, 1 - (words - MOST_WORDS) / (2 * MOST_WORDS)))
    return round(3 * language + 2 * varied + complete + length, 6)


def _cjk_share(text: str) -> bool | None:
    """Whether a text is written mainly in Chinese, Japanese or Korean characters; None where it has no letters."""
    letters = [character for character in text if character.isalpha()]
    return len(re.findall(rf"[{CJK}]", text)) > 0.3 * len(letters) if letters else None


def predict(tasks: Sequence[tuple[Sequence[float], Sequence[Annotator]]], *, repetitions: int = 1000) -> Band:
    """The raw agreement that the model itself predicts for tasks, each with its utilities and who judges it.

    Monte Carlo with a seed of its own; every repetition shows the candidates in new random orders.
    """
    rng = np.random.default_rng(20_000)
    agreeing, units = np.zeros(repetitions), 0
    for utilities, annotators in tasks:
        if len(annotators) < 2:
            continue
        pairs = list(combinations(range(len(utilities)), 2))
        first, second = np.array(pairs).T
        votes = np.zeros((repetitions, len(pairs)))
        for annotator in annotators:
            shown = rng.permuted(np.tile(np.arange(len(utilities)), (repetitions, 1)), axis=1)
            scores = np.empty((repetitions, len(utilities)))
            np.put_along_axis(scores, shown, annotator.draw(np.asarray(utilities)[shown], rng), axis=1)
            votes += scores[:, first] > scores[:, second]
        against = len(annotators) - votes
        same = votes * (votes - 1) + against * (against - 1)
        agreeing += same.sum(axis=1) / (len(annotators) * (len(annotators) - 1))
        units += len(pairs)
    if not units:
        raise ValueError("Nobody's work overlaps, so no agreement can be predicted.")
    mean, spread = float((agreeing / units).mean()), float((agreeing / units).std())
    # A sum over tasks is nearly normal; of few tasks it would reach beyond what a share can be.
    return Band(max(0.0, mean - 3.29 * spread), mean, min(1.0, mean + 3.29 * spread))


def judge_everything(project: Project, *, annotators: int, seed: int) -> list[Membership]:
    """Let simulated annotators take and submit every task that is open to them, by the verbs that people use."""
    members = []
    for annotator in crowd(annotators, seed):
        member, _new = Membership.objects.get_or_create(
            project=project, external_id=annotator.name, defaults={"made_by": MadeBy.SIMULATED}
        )
        judge(member, annotator, seed=seed)
        members.append(member)
    return members


def judge(member: Membership, annotator: Annotator, *, seed: int) -> int:
    """Judge until nothing is left; how many tasks that were."""
    if member.made_by != MadeBy.SIMULATED:
        raise ValueError(f"{member} is no simulated annotator.")
    done = 0
    while lease := next_task(member):
        rng = np.random.default_rng([seed, member.pk, lease.task_id])
        submit_ranking(lease, _answer(lease, annotator, rng), key=f"simulated-{lease.public_id}")
        done += 1
    return done


def expected_agreement(project: Project, *, annotators: int, seed: int) -> Band:
    """The band for what `judge_everything` made of this project with the same annotators and seed."""
    by_name = {annotator.name: annotator for annotator in crowd(annotators, seed)}
    judged: dict[int, list[Annotator]] = {}
    rankings = Ranking.objects.counted().filter(task__project=project, annotator__external_id__in=by_name)
    for task, name in rankings.order_by("task_id", "annotator_id").values_list("task_id", "annotator__external_id"):
        judged.setdefault(task, []).append(by_name[name])
    tasks = Task.objects.filter(pk__in=judged).select_related("prompt").prefetch_related("candidates").order_by("pk")
    return predict([(_utilities(task, list(task.candidates.all())), judged[task.pk]) for task in tasks])


def _answer(lease: Lease, annotator: Annotator, rng: np.random.Generator) -> Answer:
    shown = lease.candidates_as_shown()
    scores = annotator.draw(np.array(_utilities(lease.task, shown)), rng)
    return Answer(tiers=[[shown[n].pk] for n in np.argsort(-scores)])


def _utilities(task: Task, candidates: Sequence[Candidate]) -> list[float]:
    return [utility(task.prompt.last_user_turn, each.text, cut=each.cut) for each in candidates]
