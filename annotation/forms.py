"""What the annotate page sends: a rank for each display position, or a choice between two."""

from __future__ import annotations

from typing import Any

from django import forms

from annotation.models import Lease, Ranking
from annotation.rankings import Answer, WrongAnswer

TIE = "tie"


class BallotForm(forms.Form):
    """The fields of the page. They name answers by display position and nothing else."""

    all_bad = forms.BooleanField(required=False)
    comment = forms.CharField(required=False, max_length=10_000)
    seconds = forms.FloatField(required=False, min_value=0, max_value=7 * 24 * 3600)

    def __init__(self, *args: Any, lease: Lease, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lease = lease
        self.positions = range(1, len(lease.display_order) + 1)
        for position in self.positions:
            self.fields[f"rank_{position}"] = forms.IntegerField(required=False, min_value=1, max_value=9)
        choices = [(str(position), str(position)) for position in self.positions] + [(TIE, TIE)]
        self.fields["choice"] = forms.ChoiceField(required=False, choices=choices)

    def ranks(self) -> dict[int, int]:
        """The rank of each position that has one: 1, 1, 3 says the same as 1, 1, 2."""
        data = self.cleaned_data
        if self.lease.is_pairwise and (choice := data.get("choice")):
            return {position: 1 if choice in (TIE, str(position)) else 2 for position in self.positions}
        return {position: rank for position in self.positions if (rank := data.get(f"rank_{position}"))}


class RankingForm(BallotForm):
    key = forms.CharField(max_length=80)

    answer: Answer

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        ranks = self.ranks()
        judgement = {
            "tiers": [[p for p, rank in ranks.items() if rank == tier] for tier in sorted(set(ranks.values()))],
            "all_bad": cleaned.get("all_bad", False),
            "comment": cleaned.get("comment", ""),
            "seconds": cleaned.get("seconds"),
        }
        try:
            kind = self.lease.annotator.project.kind
            self.answer = Answer.from_positions(judgement, self.lease.display_order, kind)
        except WrongAnswer as wrong:
            for name, reason in wrong.errors.items():
                self.add_error(name if name in self.fields else None, reason)
        return cleaned


class DraftForm(BallotForm):
    counter = forms.IntegerField(min_value=1, max_value=2**31 - 1)

    def draft(self) -> dict[str, Any]:
        """Raw ranks, not tiers: 1 and 3 leave room for a 2 that is still to come."""
        names = [name for name in self.fields if name.startswith("rank_")] + ["all_bad", "comment", "seconds"]
        return {name: value for name in names if (value := self.cleaned_data.get(name))}


def as_initial(ranking: Ranking) -> dict[str, Any]:
    """A stored ranking as the fields that would send it again."""
    tiers = ranking.tiers or []
    initial: dict[str, Any] = {"all_bad": ranking.all_bad, "comment": ranking.comment}
    for rank, tier in enumerate(tiers, 1):
        for pk in tier:
            initial[f"rank_{ranking.display_order.index(pk) + 1}"] = rank
    if len(ranking.display_order) == 2 and tiers:
        initial["choice"] = TIE if len(tiers) == 1 else str(ranking.display_order.index(tiers[0][0]) + 1)
    return initial
