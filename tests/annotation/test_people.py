"""People come by a link that works once, change roles, leave; their judgements stay."""

import re
from datetime import timedelta
from smtplib import SMTPException

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.urls import reverse
from django.utils import timezone

from annotation.assignment import next_task
from annotation.models import Lease, Membership, OneTimeLink, Project, Purpose, Ranking, Role, hash_token
from annotation.people import (
    LinkSpent,
    NotAllowed,
    change_role,
    choose_password,
    find_link,
    invite,
    join,
    password_link,
    remove,
    sign_up,
)
from annotation.progress import people
from annotation.rankings import Answer, submit_ranking


@pytest.fixture
def token(project, manager) -> str:
    return invite(project, Role.ANNOTATOR, by=manager.user)


def judge(membership: Membership) -> None:
    lease = next_task(membership)
    submit_ranking(lease, Answer(tiers=[sorted(lease.display_order)]), key="k")


def test_a_new_person_joins_by_a_link_once(project, token):
    membership = sign_up(find_link(token), "zoe", "correct horse battery")

    assert (membership.user.username, membership.role) == ("zoe", Role.ANNOTATOR)
    with pytest.raises(LinkSpent):
        find_link(token)


def test_the_token_is_stored_hashed_and_has_256_bits(token):
    link = OneTimeLink.objects.get()
    assert link.token_hash == hash_token(token) and token not in str(vars(link))
    assert len(token) == 43  # 32 bytes in base64


def test_two_requests_with_one_link_let_one_person_in(token, stranger, project):
    first, second = find_link(token), find_link(token)  # both read it before either spends it
    join(first, stranger)

    with pytest.raises(LinkSpent):
        sign_up(second, "zoe", "correct horse battery")

    assert not User.objects.filter(username="zoe").exists()
    assert project.memberships.active().count() == 2


def test_a_link_ends_after_seven_days(token, stranger):
    link = find_link(token)
    OneTimeLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    with pytest.raises(LinkSpent):
        join(link, stranger)
    assert not stranger.memberships.exists()


def test_who_is_in_already_spends_nothing_and_keeps_the_role(project, manager, annotator):
    token = invite(project, Role.MANAGER, by=manager.user)

    assert join(find_link(token), annotator.user).role == Role.ANNOTATOR
    assert find_link(token)


def test_who_left_comes_back_as_the_same_person(project, manager, annotator, task):
    judge(annotator)
    remove(annotator)

    back = join(find_link(invite(project, Role.ENGINEER, by=manager.user)), annotator.user)

    assert (back.pk, back.left_at, back.role, back.rankings.count()) == (annotator.pk, None, Role.ENGINEER, 1)


def test_leaving_keeps_judgements_and_frees_the_seat(annotator, manager, make_task):
    first, second = make_task("One?"), make_task("Two?")
    judge(annotator)
    held = next_task(annotator)

    remove(annotator)

    held.refresh_from_db()
    assert held.state == Lease.State.RELEASED
    for task in (first, second):
        task.refresh_from_db()
    assert (first.judged, second.taken) == (1, 0)
    assert annotator.rankings.counted().count() == 1


def test_the_last_manager_stays(manager, make_member):
    with pytest.raises(NotAllowed, match="needs a manager"):
        remove(manager)
    with pytest.raises(NotAllowed):
        change_role(manager, Role.ANNOTATOR)

    make_member("max", Role.MANAGER)
    remove(manager)
    assert manager.left_at


def test_links_of_a_manager_who_leaves_open_nothing(project, manager, make_member, stranger):
    token = invite(project, Role.MANAGER, by=manager.user)
    make_member("max", Role.MANAGER)
    change_role(manager, Role.ANNOTATOR)

    with pytest.raises(LinkSpent):
        find_link(token)


def test_who_becomes_engineer_gives_the_task_back(manager, annotator, lease):
    change_role(annotator, Role.ENGINEER)
    lease.refresh_from_db()
    assert lease.state == Lease.State.RELEASED


def test_a_password_link_gives_a_new_password_once(manager, annotator):
    token = password_link(annotator, by=manager.user)
    user = choose_password(find_link(token), "a new long one")

    assert user.check_password("a new long one")
    with pytest.raises(LinkSpent):
        find_link(token)


def test_a_manager_opens_no_account_that_opens_more(manager, annotator, make_member):
    elsewhere = Project.objects.create(slug="other", title="Other")
    token = password_link(annotator, by=manager.user)
    make_member(annotator.user.username, project=elsewhere)

    with pytest.raises(NotAllowed, match="ask an administrator"):
        password_link(annotator, by=manager.user)
    with pytest.raises(LinkSpent):  # the one that was made before
        find_link(token)

    boss = make_member("boss")
    User.objects.filter(pk=boss.user.pk).update(is_superuser=True)
    boss.user.refresh_from_db()
    with pytest.raises(NotAllowed):
        password_link(boss, by=manager.user)
    assert password_link(annotator, by=boss.user)  # the administrator


# --- The pages ---


def test_the_list_shows_people_with_their_work(client, manager, annotator, task):
    judge(annotator)
    client.force_login(manager.user)

    page = client.get(reverse("people", args=["kitchen"])).content.decode()

    assert "ada" in page and f"?annotator={annotator.pk}" in page and "mia" in page


def test_the_list_counts_only_judgements_that_count(annotator, project, task):
    judge(annotator)
    Ranking.objects.update(purpose=Purpose.SURPLUS)

    person = people(project).get(pk=annotator.pk)

    assert person.judgements == 0 and person.last_active


def test_the_list_takes_the_same_queries_for_any_number(client, manager, make_member, count_queries):
    client.force_login(manager.user)
    url = reverse("people", args=["kitchen"])
    make_member("p0")
    few = count_queries(client, url)
    for n in range(1, 20):
        make_member(f"p{n}")
    assert count_queries(client, url) == few <= 12


@pytest.mark.parametrize("who", ["annotator", "engineer", "stranger"])
def test_nobody_else_sees_people(client, who, request, manager, annotator):
    person = request.getfixturevalue(who)
    client.force_login(getattr(person, "user", person))

    assert client.get(reverse("people", args=["kitchen"])).status_code == 404
    assert client.post(reverse("people_invite", args=["kitchen"]), {"role": "manager"}).status_code == 404
    for name in ("people_role", "people_remove", "people_password"):
        assert client.post(reverse(name, args=["kitchen", manager.pk])).status_code == 404
    assert not OneTimeLink.objects.exists()


def test_a_manager_touches_nobody_of_another_project(client, manager, make_member):
    other = Project.objects.create(slug="other", title="Other")
    foreign = make_member("fay", project=other)
    client.force_login(manager.user)

    for name in ("people_role", "people_remove", "people_password"):
        assert client.post(reverse(name, args=["kitchen", foreign.pk]), {"role": "engineer"}).status_code == 404
    foreign.refresh_from_db()
    assert foreign.left_at is None and foreign.role == Role.ANNOTATOR


def link_in(page: str) -> str:
    return re.search(r'value="http://testserver(/link/[^"]+)"', page).group(1)


def test_invite_shows_a_link_that_a_new_person_follows(client, manager):
    client.force_login(manager.user)
    answer = client.post(reverse("people_invite", args=["kitchen"]), {"role": "engineer"})
    assert answer["Cache-Control"] == "no-store"
    url = link_in(answer.content.decode())
    client.logout()

    assert "Kitchen questions" in client.get(url).content.decode()
    taken = {"username": "MIA", "password1": "quite a long one", "password2": "quite a long one"}
    assert client.post(url, taken).status_code == 422
    answer = client.post(url, taken | {"username": "zoe"})

    assert answer.status_code == 302
    assert Membership.objects.get(user__username="zoe").role == Role.ENGINEER
    assert client.session["_auth_user_id"]
    gone = client.get(url)
    assert gone.status_code == 410 and "opens nothing any more" in gone.content.decode()


def test_a_weak_password_is_refused_and_the_link_stays(client, token):
    url = reverse("one_time_link", args=[token])
    answer = client.post(url, {"username": "zoe", "password1": "password", "password2": "password"})
    assert answer.status_code == 422 and "too common" in answer.content.decode()
    assert find_link(token)


def test_who_has_an_account_joins_by_one_click(client, token, stranger):
    client.force_login(stranger)
    url = reverse("one_time_link", args=[token])

    client.get(url)
    assert not stranger.memberships.exists()  # looking is not joining
    client.post(url)
    assert stranger.memberships.get().project.slug == "kitchen"


def test_who_is_in_already_is_told_so(client, token, annotator):
    client.force_login(annotator.user)
    assert "in Kitchen questions already" in client.post(reverse("one_time_link", args=[token])).content.decode()
    assert find_link(token)


def test_a_new_password_ends_the_old_sessions(client, manager, annotator):
    client.force_login(annotator.user)
    other = type(client)()
    other.post(
        reverse("one_time_link", args=[password_link(annotator, by=manager.user)]),
        {"new_password1": "quite a long one", "new_password2": "quite a long one"},
    )
    assert client.get(reverse("home")).status_code == 302
    assert reverse("login") in client.get(reverse("home"))["Location"]
    assert other.session["_auth_user_id"] == str(annotator.user.pk)


def test_an_invitation_of_a_command_names_nobody(client, project, manager):
    url = reverse("one_time_link", args=[invite(project, Role.ANNOTATOR, by=None)])
    assert "You are invited as annotator." in client.get(url).content.decode()
    client.force_login(manager.user)
    assert "a command" in client.get(reverse("people", args=["kitchen"])).content.decode()


def test_an_open_link_is_taken_back(client, manager, token):
    client.force_login(manager.user)
    client.post(reverse("people_take_back", args=["kitchen", OneTimeLink.objects.get().pk]))
    with pytest.raises(LinkSpent):
        find_link(token)


def test_remove_asks_first_and_then_removes(client, manager, annotator):
    client.force_login(manager.user)
    url = reverse("people_remove", args=["kitchen", annotator.pk])

    assert "Remove ada?" in client.get(url).content.decode()
    annotator.refresh_from_db()
    assert annotator.left_at is None
    page = client.post(url, follow=True).content.decode()
    assert "ada left. Their judgements stay." in page
    annotator.refresh_from_db()
    assert annotator.left_at


def test_the_last_manager_is_told_why(client, manager):
    client.force_login(manager.user)
    url = reverse("people_remove", args=["kitchen", manager.pk])
    assert "A project needs a manager" in client.post(url, follow=True).content.decode()
    assert Membership.objects.active().filter(pk=manager.pk).exists()


def test_mail_only_where_smtp_is_set(client, manager, settings):
    client.force_login(manager.user)
    url = reverse("people_invite", args=["kitchen"])
    data = {"role": "annotator", "email": "zoe@example.org"}
    client.post(url, data)
    assert not mail.outbox

    settings.EMAIL_HOST = "mail.example.org"
    page = client.post(url, data).content.decode()
    assert mail.outbox[0].to == ["zoe@example.org"] and link_in(page) in mail.outbox[0].body


def test_a_mail_that_fails_leaves_the_link_to_copy(client, manager, settings, monkeypatch):
    def fail(*args):
        raise SMTPException("no")

    settings.EMAIL_HOST = "mail.example.org"
    monkeypatch.setattr("annotation.views.people.mail_link", fail)
    client.force_login(manager.user)
    page = client.post(reverse("people_invite", args=["kitchen"]), {"role": "annotator", "email": "z@example.org"})
    assert link_in(page.content.decode()) and "copy the link instead" in page.content.decode()
