"""The shapes of the API, for its schema. What a ranking must hold is checked by `Answer.from_positions` alone."""

from typing import Any

from rest_framework import serializers
from rest_framework.fields import (
    BooleanField,
    CharField,
    ChoiceField,
    DateTimeField,
    DictField,
    FloatField,
    IntegerField,
    JSONField,
    ListField,
    UUIDField,
)

from annotation.models import Kind, Lease

Shape = serializers.Serializer[Any]

POSITION = "display position, 1 for the first answer shown"


class Message(Shape):
    role = ChoiceField(["system", "user", "assistant"])
    content = CharField()


class ShownCandidate(Shape):
    position = IntegerField(min_value=1, max_value=9, help_text=POSITION)
    text = CharField()
    cut = BooleanField(help_text="it ended at the length limit")


class NextTask(Shape):
    lease = UUIDField()
    kind = ChoiceField(Kind.choices)
    prompt = Message(many=True)
    candidates = ShownCandidate(many=True)
    expires_at = DateTimeField(help_text="renew the lease before, or the seat may go to another")
    draft = JSONField(allow_null=True, help_text="what was last sent as the draft of this lease")
    draft_counter = IntegerField(min_value=0)


class RenewedLease(Shape):
    expires_at = DateTimeField()


class Draft(Shape):
    """Any further fields are the draft: kept as they are, returned with the lease."""

    counter = IntegerField(min_value=1, max_value=2**31 - 1, help_text="grows with every draft; lower ones are ignored")


class SkipBody(Shape):
    reason = ChoiceField(Lease.SkipReason.choices)


class RankingBody(Shape):
    tiers = ListField(
        child=ListField(child=IntegerField(min_value=1, max_value=9, help_text=POSITION)),
        allow_null=True,
        required=False,
        help_text="best first; answers in one tier are equal: [[2], [1, 3], [4]]",
    )
    unranked = ListField(
        child=IntegerField(min_value=1, max_value=9),
        required=False,
        help_text="worse than every tier, unjudged among themselves",
    )
    all_bad = BooleanField(required=False, help_text="no answer is acceptable; needs no tiers")
    strength = IntegerField(
        min_value=1,
        max_value=4,
        allow_null=True,
        required=False,
        help_text="two answers only: 1 negligibly .. 4 significantly",
    )
    comment = CharField(max_length=10_000, required=False, allow_blank=True)
    seconds = FloatField(min_value=0, allow_null=True, required=False, help_text="active time")
    idempotency_key = CharField(max_length=80, required=False, help_text="instead of the header Idempotency-Key")


class StoredRanking(Shape):
    ranking = UUIDField()


class OwnRanking(Shape):
    ranking = UUIDField()
    lease = UUIDField()
    tiers = ListField(child=ListField(child=IntegerField()), allow_null=True)
    unranked = ListField(child=IntegerField())
    all_bad = BooleanField()
    strength = IntegerField(allow_null=True)
    comment = CharField()
    counted = BooleanField(help_text="false for surplus: the seat had gone to another")
    created_at = DateTimeField()


class History(Shape):
    rankings = OwnRanking(many=True, help_text="latest first, each in its last form")
    next = UUIDField(allow_null=True, help_text="pass it as `before` to read on")


class PromptsBody(Shape):
    prompts = ListField(
        child=DictField(),
        help_text='rows as in a prompts file: {"prompt": text or messages, "language", "tags", "batch", "metadata", '
        '"candidates": [text or {"text", "model"}]}',
    )
    skip_bad = BooleanField(required=False, help_text="store the good rows and report each bad one")


class PromptsReport(Shape):
    prompts = IntegerField()
    tasks = IntegerField()
    candidates = IntegerField()
    duplicates = ListField(child=CharField())
    bad = ListField(child=CharField())


class Problem(Shape):
    detail = CharField(help_text="a sentence for the person who reads it")
    errors = DictField(child=CharField(), required=False, help_text="a reason per field")  # type: ignore[assignment]
