"""Who comes in by the API: tokens and their scopes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from annotation.models import ApiToken, hash_token


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Token ...`. Found by the index on its hash; revoked tokens and inactive people are refused."""

    def authenticate(self, request: Request) -> tuple[Any, ApiToken] | None:
        header = request.headers.get("Authorization", "")
        if not header:
            return None
        scheme, _space, secret = header.partition(" ")
        if scheme.lower() != "token" or not secret.strip():
            raise exceptions.AuthenticationFailed(_("The Authorization header must read: Token, a space, your token."))
        valid = ApiToken.objects.filter(token_hash=hash_token(secret.strip()), revoked_at=None, user__is_active=True)
        token = valid.select_related("user").first()
        if token is None:
            raise exceptions.AuthenticationFailed(_("This token is unknown or was revoked."))
        minute_ago = timezone.now() - timedelta(minutes=1)
        if token.last_used_at is None or token.last_used_at < minute_ago:  # not a write with every request
            unseen = Q(last_used_at=None) | Q(last_used_at__lt=minute_ago)
            ApiToken.objects.filter(unseen, pk=token.pk).update(last_used_at=timezone.now())
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return "Token"  # makes it a 401, not a 403


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "annotation.api.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Token` and a space before the token, which you make on the page *API tokens*.",
        }


class HasScope(BasePermission):
    """What a token may do; what its owner may see in a project is decided by the membership."""

    scope: ApiToken.Scope

    def has_permission(self, request: Request, view: Any) -> bool:
        if not isinstance(request.auth, ApiToken):
            raise exceptions.NotAuthenticated(
                _("Send a header `Authorization: Token ...`; you make tokens on the page API tokens.")
            )
        if self.scope not in request.auth.scopes:
            raise exceptions.PermissionDenied(
                _("This token lacks the scope %(scope)s; make one that has it.") % {"scope": self.scope.value}
            )
        return True


class MayAnnotate(HasScope):
    scope = ApiToken.Scope.ANNOTATE


class MayRead(HasScope):
    scope = ApiToken.Scope.READ


class MayWrite(HasScope):
    scope = ApiToken.Scope.WRITE
