"""The page of one's own API tokens."""

import re

from django.urls import reverse

from annotation.models import ApiToken, hash_token


def test_a_token_is_shown_once_and_works(client, annotator):
    client.force_login(annotator.user)

    made = client.post(reverse("tokens"), {"name": "workbench", "scopes": ["annotate", "read"]})

    secret = re.search(r'id="secret"[^>]* value="([^"]+)"', made.content.decode())[1]
    token = ApiToken.objects.get(token_hash=hash_token(secret))
    assert (token.user, token.name, token.scopes) == (annotator.user, "workbench", ["annotate", "read"])
    assert "no-store" in made.headers["Cache-Control"]
    again = client.get(reverse("tokens")).content.decode()
    assert "workbench" in again
    assert secret not in again


def test_what_a_role_needs_is_ticked(client, annotator, engineer):
    for person, scope in ((annotator, "annotate"), (engineer, "read")):
        client.force_login(person.user)
        assert client.get(reverse("tokens")).context["form"]["scopes"].value() == [scope]


def test_a_token_without_name_or_scope_is_not_made(client, annotator):
    client.force_login(annotator.user)

    assert client.post(reverse("tokens"), {"name": "", "scopes": ["everything"]}).status_code == 422
    assert not ApiToken.objects.exists()


def test_one_revokes_ones_own_tokens_only(client, annotator, other_annotator):
    token, _secret = ApiToken.make(annotator.user, "workbench", ["annotate"])
    client.force_login(other_annotator.user)
    assert client.post(reverse("token_revoke", args=[token.pk])).status_code == 404
    client.force_login(annotator.user)
    assert client.get(reverse("token_revoke", args=[token.pk])).status_code == 405
    assert client.post(reverse("token_revoke", args=[token.pk])).status_code == 302

    token.refresh_from_db()
    assert token.revoked_at
    assert "workbench" not in client.get(reverse("tokens")).content.decode()
