"""One's own API tokens: made here, shown once, revoked here."""

from django import forms
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from annotation.models import ApiToken, Role


class TokenForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=80, help_text=_("Where you will use it, such as “laptop”."))
    scopes = forms.MultipleChoiceField(
        label=_("It may"),
        choices=ApiToken.Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Within your own roles: a token never sees more than you do."),
    )


@never_cache
@login_required
def tokens(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    judges = request.user.memberships.filter(left_at=None).exclude(role=Role.ENGINEER).exists()
    usual = {"scopes": [ApiToken.Scope.ANNOTATE if judges else ApiToken.Scope.READ]}
    form, secret = TokenForm(request.POST or None, initial=usual), ""
    if form.is_valid():
        _token, secret = ApiToken.make(request.user, **form.cleaned_data)
        form = TokenForm(initial=usual)
    mine = ApiToken.objects.filter(user=request.user, revoked_at=None).order_by("-created_at")
    status = 422 if form.errors else 200
    return render(request, "annotation/tokens.html", {"form": form, "secret": secret, "tokens": mine}, status=status)


@require_POST
@login_required
def token_revoke(request: HttpRequest, pk: int) -> HttpResponse:
    token = get_object_or_404(ApiToken, pk=pk, user=request.user)
    ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())
    return redirect("tokens")
