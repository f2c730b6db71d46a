"""The Content-Security-Policy of every page, until Django 6 brings its own middleware."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

POLICY = {
    "default-src": "'self'",
    "img-src": "'self'",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}


def csp_middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Set the policy; a view may widen single directives by a dict in `response.csp_update`."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        policy = POLICY | getattr(response, "csp_update", {})
        response.headers["Content-Security-Policy"] = "; ".join(f"{name} {value}" for name, value in policy.items())
        return response

    return middleware
