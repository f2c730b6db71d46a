"""What comes in by the API: the JSON body, and errors that say what was expected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError
from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework import exceptions
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from annotation.assignment import SeatLost
from annotation.imports import BadFile, ImportRefused
from annotation.rankings import AlreadyAmended, KeyReused, WrongAnswer


class JSONParser(BaseParser):
    """JSON in UTF-8, no larger than DATA_UPLOAD_MAX_MEMORY_SIZE (the parser of DRF reads bodies of any size)."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        assert parser_context is not None
        body = parser_context["request"]._request.body
        try:
            return json.loads(body.decode(), parse_constant=_refuse_constant)
        except RecursionError:
            raise exceptions.ParseError(_("The body is nested too deeply.")) from None
        except ValueError as error:
            raise exceptions.ParseError(_("The body is not JSON: %(reason)s.") % {"reason": error}) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def read_body(request: Request, known: Mapping[str, Any], *, others: bool = False) -> dict[str, Any]:
    """The object that was sent. A field that nobody knows would be lost in silence, so it is refused."""
    expected = _("Expected an object with: %(names)s.") % {"names": ", ".join(known)}
    try:
        data = request.data
    except exceptions.ParseError as error:
        raise exceptions.ParseError(f"{error.detail} {expected}") from None
    if not isinstance(data, dict):
        raise exceptions.ParseError(expected)
    if not others and (unknown := sorted(set(data) - set(known))):
        raise WrongAnswer({name: _("is not a field here. %(expected)s") % {"expected": expected} for name in unknown})
    return data


def explain(error: Exception, context: dict[str, Any]) -> Response | None:
    """Every error as {"detail": a sentence, "errors": {field: reason}}, with the status of DESIGN 4."""
    match error:
        case WrongAnswer():
            return Response({"detail": str(error), "errors": error.errors}, status=422)
        case KeyReused():
            return Response({"detail": str(error), "errors": {"idempotency_key": str(error)}}, status=422)
        case ImportRefused():
            errors = {f"{problem.where}: {problem.field}": problem.reason for problem in error.problems}
            return Response({"detail": str(error), "errors": errors}, status=422)
        case BadFile():
            return Response({"detail": str(error), "errors": {}}, status=422)
        case SeatLost() | AlreadyAmended():
            return Response({"detail": str(error)}, status=409)
        case Http404():
            return Response({"detail": _("There is no such thing, or it is not yours to see.")}, status=404)
        case RequestDataTooBig():
            return Response({"detail": _("The body is too large; send it in parts, or as a file.")}, status=413)
        case OperationalError():  # a lock that was waited for too long, a full disk: nothing was stored
            sentence = _("The database is busy and nothing was stored; send the same request again.")
            return Response({"detail": sentence}, status=503, headers={"Retry-After": "1"})
    from rest_framework.views import exception_handler  # at the top it would import this module again

    return exception_handler(error, context)
