"""What people see when the database could not be had in time: a lock was held too long, the disk is full."""

import logging
from collections.abc import Callable

from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

logger = logging.getLogger(__name__)


class BusyMiddleware:
    """Nothing was stored, and the same request may be sent again: a 503, where Django would say 500."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, OperationalError):
            return None
        logger.error("%s %s: %s", request.method, request.path, error)
        response = render(None, "503.html", status=503)  # without the request: the top bar would ask the database
        response.headers["Retry-After"] = "1"
        return response
