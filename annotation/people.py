"""Who belongs to a project: one-time links, roles, leaving. When people leave, their judgements stay."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation.assignment import release
from annotation.models import Lease, Membership, OneTimeLink, Project, Role, hash_token

LINK_LIFE = timedelta(days=7)


class LinkSpent(Exception):
    """The link was used, has expired, was taken back, or never was."""


class NotAllowed(Exception):
    """A sentence for the person who asked."""


def invite(project: Project, role: str, *, by: Any) -> str:
    """The token of a link that lets one person into the project. It is stored hashed: this is its only sight."""
    return _make_link(project=project, role=Role(role), created_by=by)


def password_link(membership: Membership, *, by: Any) -> str:
    """The token of a link that lets this person choose a new password. Raises NotAllowed."""
    if membership.user is None:
        raise NotAllowed(_("Imported annotators have no password."))
    if not may_reset(by, membership.user):
        raise NotAllowed(
            _("%(name)s also works where you are not a manager: ask an administrator for a new password.")
            % {"name": membership.name}
        )
    return _make_link(project=membership.project, user=membership.user, created_by=by)


def may_reset(by: Any, user: User) -> bool:
    """A new password opens the whole account, so a manager may give one only where the account opens nothing else."""
    if by.is_superuser:
        return True
    if user.is_superuser or user.is_staff:
        return False
    managed = Membership.objects.active().filter(user=by, role=Role.MANAGER).values("project")
    return not Membership.objects.active().filter(user=user).exclude(project__in=managed).exists()


def find_link(token: str) -> OneTimeLink:
    """The link of a token, or LinkSpent. Reading it spends nothing."""
    links = OneTimeLink.objects.select_related("project", "user", "created_by")
    link = links.filter(token_hash=hash_token(token), used_at=None, expires_at__gt=timezone.now()).first()
    if link is None or (link.user and not _still_stands(link)):
        raise LinkSpent
    return link


def join(link: OneTimeLink, user: Any) -> Membership:
    """Let an existing user in. Who left may come back; who is in already spends nothing and keeps the role."""
    with transaction.atomic():
        present = Membership.objects.select_for_update().filter(project=link.project, user=user).first()
        if present and present.left_at is None:
            return present
        _spend(link)
        if present is None:
            return Membership.objects.create(project=link.project, user=user, role=link.role)
        present.role, present.left_at = link.role, None
        present.save(update_fields=["role", "left_at"])
        return present


def sign_up(link: OneTimeLink, username: str, password: str) -> Membership:
    """Make a user and let them in. A name that is taken raises IntegrityError and leaves the link as it was."""
    with transaction.atomic():
        return join(link, User.objects.create_user(username, password=password))


def choose_password(link: OneTimeLink, password: str) -> User:
    """Give the link's user a new password; all their sessions end."""
    user = link.user
    if user is None or not _still_stands(link):
        raise LinkSpent
    with transaction.atomic():
        _spend(link)
        user.set_password(password)
        user.save(update_fields=["password"])
    return user


def change_role(membership: Membership, role: str) -> None:
    """Raises NotAllowed where it would leave the project without a manager."""
    with transaction.atomic():
        if role != Role.MANAGER:
            _need_another_manager(membership)
            _take_back_links(membership)
        if role == Role.ENGINEER:  # who sees models judges no more
            _release_seat(membership)
        membership.role = Role(role)
        membership.save(update_fields=["role"])


def remove(membership: Membership) -> None:
    """Let a person leave: judgements stay, the seat they hold is free again. Raises NotAllowed for the last manager."""
    with transaction.atomic():
        _need_another_manager(membership)
        _take_back_links(membership)
        _release_seat(membership)
        membership.left_at = timezone.now()
        membership.save(update_fields=["left_at"])


def open_links(project: Project) -> QuerySet[OneTimeLink]:
    return OneTimeLink.objects.filter(project=project, used_at=None, expires_at__gt=timezone.now()).order_by("-pk")


def mail_link(address: str, url: str, project: Project) -> None:
    """Only where SMTP is set; the sender shows the link to copy in any case."""
    send_mail(
        _("Your link to %(project)s") % {"project": project.title},
        _("This link works once, within 7 days:\n\n%(url)s\n") % {"url": url},
        None,
        [address],
    )


def _make_link(**fields: Any) -> str:
    token = secrets.token_urlsafe(32)  # 256 bits
    OneTimeLink.objects.create(token_hash=hash_token(token), expires_at=timezone.now() + LINK_LIFE, **fields)
    return token


def _spend(link: OneTimeLink) -> None:
    """Of two requests with one link the second counts zero rows."""
    unspent = OneTimeLink.objects.filter(pk=link.pk, used_at=None, expires_at__gt=timezone.now())
    if not unspent.update(used_at=timezone.now()):
        raise LinkSpent


def _still_stands(link: OneTimeLink) -> bool:
    """Within seven days either side may have left, or the account may have come to open more."""
    here = Membership.objects.active().filter(project=link.project, user=link.user)
    return bool(link.user and link.created_by and here.exists() and may_reset(link.created_by, link.user))


def _release_seat(membership: Membership) -> None:
    for lease in Lease.objects.live().filter(annotator=membership):
        release(lease)


def _need_another_manager(membership: Membership) -> None:
    # The project's row is the lock: two managers who demote each other at once come one after the other.
    Project.objects.select_for_update().get(pk=membership.project_id)
    managers = Membership.objects.active().filter(project=membership.project_id, role=Role.MANAGER)
    if membership.role == Role.MANAGER and not managers.exclude(pk=membership.pk).exists():
        raise NotAllowed(_("A project needs a manager: make someone else manager first."))


def _take_back_links(membership: Membership) -> None:
    """Who is no manager any more could otherwise come back by a link of their own."""
    if membership.user:
        OneTimeLink.objects.filter(project=membership.project_id, created_by=membership.user, used_at=None).delete()
