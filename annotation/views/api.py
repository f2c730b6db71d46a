"""The endpoints of /api/v1/: each fetches within the token owner's rights, calls one verb, and answers."""

from __future__ import annotations

import json
from typing import Any, cast
from uuid import UUID

from django.http import HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.decorators import api_view, permission_classes
from rest_framework.request import Request
from rest_framework.response import Response

from annotation import api_schema as schema
from annotation import assignment, rankings
from annotation.access import ANNOTATES, MEASURES, membership_for, project_for
from annotation.api import MayAnnotate, MayRead, MayWrite
from annotation.api_body import read_body
from annotation.exports import TYPES, export_rows
from annotation.imports import import_prompts
from annotation.models import Lease, Purpose, Ranking, Role
from annotation.own_work import judged_by
from annotation.quality import project_agreement
from annotation.rankings import Answer, WrongAnswer

RANKING_FIELDS = schema.RankingBody().fields
PAGE = 100

KEY = OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, description="a new random one per judgement")
ERRORS = {401: schema.Problem, 403: schema.Problem, 404: schema.Problem, 503: schema.Problem}
STORED = ERRORS | {
    200: schema.StoredRanking,
    201: schema.StoredRanking,
    409: schema.Problem,
    422: schema.Problem,
}


@extend_schema(
    operation_id="next",
    summary="The next task, or the one held already",
    request=None,
    responses=ERRORS | {200: schema.NextTask, 204: None},
)
@api_view(["POST"])
@permission_classes([MayAnnotate])
def next_task(request: Request, slug: str) -> Response:
    lease = assignment.next_task(membership_for(request.user, slug, *ANNOTATES))
    if lease is None:
        return Response(status=204)
    shown = enumerate(lease.candidates_as_shown(), 1)
    return Response(
        {
            "lease": lease.public_id,
            "kind": lease.kind,
            "prompt": lease.task.prompt.messages,
            "candidates": [{"position": n, "text": answer.text, "cut": answer.cut} for n, answer in shown],
            "expires_at": lease.expires_at,
            "draft": lease.draft,
            "draft_counter": lease.draft_counter,
        }
    )


@extend_schema(
    operation_id="renew",
    summary="Keep the seat: restart the lease's clock",
    request=None,
    responses=ERRORS | {200: schema.RenewedLease, 409: schema.Problem},
)
@api_view(["POST"])
@permission_classes([MayAnnotate])
def renew(request: Request, lease_id: UUID) -> Response:
    lease = _own_lease(request, lease_id)
    if not assignment.renew(lease):
        raise assignment.SeatLost
    return Response({"expires_at": lease.expires_at})


@extend_schema(
    operation_id="draft",
    summary="Keep unfinished work on the server",
    request=schema.Draft,
    responses=ERRORS | {204: None, 409: schema.Problem, 422: schema.Problem},
)
@api_view(["PUT"])
@permission_classes([MayAnnotate])
def draft(request: Request, lease_id: UUID) -> Response:
    lease = _own_lease(request, lease_id)
    data = read_body(request, schema.Draft().fields, others=True)
    if not rankings.save_draft(lease, data, counter=data.pop("counter", None)):
        raise assignment.SeatLost
    return Response(status=204)


@extend_schema(
    operation_id="skip",
    summary="Give the seat back, with a reason",
    request=schema.SkipBody,
    responses=ERRORS | {204: None, 409: schema.Problem, 422: schema.Problem},
)
@api_view(["POST"])
@permission_classes([MayAnnotate])
def skip(request: Request, lease_id: UUID) -> Response:
    lease = _own_lease(request, lease_id)
    reason = read_body(request, schema.SkipBody().fields).get("reason")
    if reason not in Lease.SkipReason.values:
        raise WrongAnswer({"reason": _("must be one of: %(names)s") % {"names": ", ".join(Lease.SkipReason.values)}})
    assignment.skip(lease, Lease.SkipReason(reason))
    return Response(status=204)


@extend_schema(
    operation_id="rank",
    summary="Submit the judgement",
    description="The same key and body again: 200, stored once. A lost seat: 409, kept as surplus and not counted.",
    parameters=[KEY],
    request=schema.RankingBody,
    responses=STORED,
)
@api_view(["POST"])
@permission_classes([MayAnnotate])
def rank(request: Request, lease_id: UUID) -> Response:
    lease = _own_lease(request, lease_id)
    key, answer = _read_answer(request, lease)
    return _stored(rankings.submit_ranking(lease, answer, key=key))


@extend_schema(
    operation_id="amend",
    summary="Replace one's judgement; the old one counts until then",
    parameters=[KEY],
    request=schema.RankingBody,
    responses=STORED,
)
@api_view(["POST"])
@permission_classes([MayAnnotate])
def amend(request: Request, ranking_id: UUID) -> Response:
    own = Ranking.objects.held_by(request.user).select_related("lease__annotator__project", "annotator__project")
    ranking = get_object_or_404(own.filter(lease__isnull=False), public_id=ranking_id)
    assert ranking.lease is not None
    key, answer = _read_answer(request, ranking.lease)
    return _stored(rankings.amend(ranking, answer, key=key))


@extend_schema(
    operation_id="history",
    summary="One's own judgements, latest first",
    parameters=[OpenApiParameter("before", UUID, description="`next` of the page before")],
    responses=ERRORS | {200: schema.History},
)
@api_view(["GET"])
@permission_classes([MayAnnotate])
def history(request: Request, slug: str) -> Response:
    mine = judged_by(membership_for(request.user, slug, *ANNOTATES)).select_related("lease")
    if before := request.query_params.get("before"):
        last = get_object_or_404(mine, public_id=_read_uuid("before", before))
        mine = mine.filter(created_at__lte=last.created_at).exclude(created_at=last.created_at, pk__gte=last.pk)
    page = list(mine[: PAGE + 1])
    return Response(
        {
            "rankings": [_as_own(ranking) for ranking in page[:PAGE]],
            "next": page[PAGE - 1].public_id if len(page) > PAGE else None,
        }
    )


@extend_schema(
    operation_id="add_prompts",
    summary="Add prompts, with or without answers",
    request=schema.PromptsBody,
    responses=ERRORS | {201: schema.PromptsReport, 422: schema.Problem},
)
@api_view(["POST"])
@permission_classes([MayWrite])
def prompts(request: Request, slug: str) -> Response:
    project = project_for(request.user, slug, Role.MANAGER)
    data = read_body(request, schema.PromptsBody().fields)
    rows, skip_bad = data.get("prompts"), data.get("skip_bad", False)
    if not isinstance(rows, list) or not rows:
        raise WrongAnswer({"prompts": _("must be a list of one or more objects")})
    if not isinstance(skip_bad, bool):
        raise WrongAnswer({"skip_bad": _("must be true or false")})
    report = import_prompts(project, rows, skip_bad=skip_bad).as_dict()
    return Response({name: report[name] for name in map(str, schema.PromptsReport().fields)}, status=201)


@extend_schema(
    operation_id="agreement",
    summary="How far people agree, as `manage.py agreement --json` has it",
    description="Managers see names, engineers pseudonyms. What cannot be computed is null and explained.",
    responses=ERRORS | {200: OpenApiTypes.OBJECT},
)
@api_view(["GET"])
@permission_classes([MayRead])
def agreement(request: Request, slug: str) -> Response:
    membership = membership_for(request.user, slug, *MEASURES)
    return Response(project_agreement(membership.project, pseudonyms=membership.role != Role.MANAGER))


@extend_schema(
    operation_id="export",
    summary="Judgements as JSON lines, in TRL's formats",
    parameters=[
        OpenApiParameter("type", str, enum=list(TYPES), required=True),
        OpenApiParameter("ties", bool, description="preference: tied pairs too, with a target of 0.5"),
        OpenApiParameter("votes", bool, description="preference: a line per vote, not one per pair"),
    ],
    responses=ERRORS | {(200, "application/jsonl"): OpenApiTypes.STR, 422: schema.Problem},
)
@api_view(["GET"])
@permission_classes([MayRead])
def export(request: Request, slug: str) -> HttpResponseBase:
    project = project_for(request.user, slug, *MEASURES)
    kind = request.query_params.get("type", "")
    if kind not in TYPES:
        raise WrongAnswer({"type": _("must be one of: %(names)s") % {"names": ", ".join(TYPES)}})
    flags = {name: request.query_params.get(name, "") in ("1", "true") for name in ("ties", "votes")}
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in export_rows(project, kind, **flags))
    name = f'attachment; filename="{project.slug}-{kind}.jsonl"'
    return StreamingHttpResponse(lines, content_type="application/jsonl", headers={"Content-Disposition": name})


class Schema(SpectacularAPIView):
    authentication_classes = []  # the same for everybody


class Docs(SpectacularSwaggerSplitView):
    authentication_classes = []
    template_name = "annotation/api_docs.html"
    url_name = "api_schema"

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        response.csp_update = {"img-src": "'self' data:"}  # Swagger's icons
        return cast(Response, response)


def _own_lease(request: Request, lease_id: UUID) -> Lease:
    own = Lease.objects.held_by(request.user).select_related("annotator__project")
    return get_object_or_404(own, public_id=lease_id)  # in any state: a retry must find it


def _read_answer(request: Request, lease: Lease) -> tuple[str, Answer]:
    data = read_body(request, RANKING_FIELDS)
    given = [key for key in (request.headers.get("Idempotency-Key"), data.get("idempotency_key")) if key is not None]
    if len({*map(str, given)}) != 1 or not isinstance(given[0], str):
        reason = _("send one: a header Idempotency-Key with a new random UUID for each judgement")
        raise WrongAnswer({"idempotency_key": reason})
    return given[0], Answer.from_positions(data, lease.display_order, lease.kind)


def _stored(ranking: Ranking) -> Response:
    return Response({"ranking": ranking.public_id}, status=200 if ranking.repeated else 201)


def _as_own(ranking: Ranking) -> dict[str, Any]:
    assert ranking.lease is not None
    position = {pk: n for n, pk in enumerate(ranking.display_order, 1)}
    return {
        "ranking": ranking.public_id,
        "lease": ranking.lease.public_id,
        "tiers": ranking.tiers and [sorted(position[pk] for pk in tier) for tier in ranking.tiers],
        "unranked": sorted(position[pk] for pk in ranking.unranked),
        "all_bad": ranking.all_bad,
        "strength": ranking.strength,
        "comment": ranking.comment,
        "counted": ranking.purpose != Purpose.SURPLUS,
        "created_at": ranking.created_at,
    }


def _read_uuid(name: str, text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise WrongAnswer({name: _("must be a UUID")}) from None
