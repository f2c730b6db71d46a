"""Who may see what: every URL as every role. A URL without a row in TABLE fails; so does a row without a URL."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from annotation.assignment import next_task
from annotation.models import ApiToken, Guideline, Membership, Project, Ranking, Role
from annotation.people import invite
from annotation.rankings import Answer, submit_ranking
from training.models import Dataset, ModelVersion, Run

ROLES = ("anonymous", "stranger", "outsider", "annotator", "manager", "engineer", "superuser")
# A stranger is in no project; an outsider is annotator, manager and engineer, each in a project other than ours.
ALL = frozenset(ROLES)
USERS = ALL - {"anonymous"}
ANNOTATOR, MANAGER, ENGINEER = frozenset({"annotator"}), frozenset({"manager"}), frozenset({"engineer"})
ANNOTATES, MEASURES = ANNOTATOR | MANAGER, MANAGER | ENGINEER
SUPERUSER = frozenset({"superuser"})
TRAINS = ENGINEER | SUPERUSER
ENGINEERS = TRAINS | {"outsider"}  # the admin opens to an engineer of any project, with the rows of the own projects
NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Row:
    """Who gets in by GET (None: the URL knows no GET) and by POST, with these fields."""

    get: frozenset[str] | None = None
    post: frozenset[str] | None = None
    data: dict[str, object] = field(default_factory=dict)


TABLE = {
    # everybody
    "login/": Row(get=ALL),
    "i18n/setlang/": Row(post=ALL, data={"language": "en"}),
    "link/<str:token>/": Row(get=ALL),
    "api/v1/schema/": Row(get=ALL),
    "api/v1/docs/": Row(get=ALL),
    # whoever has logged in
    "": Row(get=USERS),
    "logout/": Row(post=ALL),
    "tokens/": Row(get=USERS, post=USERS),
    "tokens/<int:pk>/revoke/": Row(post=ANNOTATOR),
    # one's own work
    "p/<slug:slug>/annotate/": Row(get=ANNOTATES),
    "p/<slug:slug>/history/": Row(get=ANNOTATES),
    "leases/<uuid:lease_id>/submit/": Row(post=ANNOTATOR),
    "leases/<uuid:lease_id>/draft/": Row(post=ANNOTATOR),
    "leases/<uuid:lease_id>/skip/": Row(post=ANNOTATOR),
    "leases/<uuid:lease_id>/renew/": Row(post=ANNOTATOR),
    "rankings/<uuid:ranking_id>/amend/": Row(post=ANNOTATOR),
    "api/v1/projects/<slug:slug>/next/": Row(post=ANNOTATES),
    "api/v1/projects/<slug:slug>/history/": Row(get=ANNOTATES),
    "api/v1/leases/<uuid:lease_id>/renew/": Row(post=ANNOTATOR),
    "api/v1/leases/<uuid:lease_id>/draft/": Row(post=ANNOTATOR),
    "api/v1/leases/<uuid:lease_id>/skip/": Row(post=ANNOTATOR),
    "api/v1/leases/<uuid:lease_id>/ranking/": Row(post=ANNOTATOR),
    "api/v1/rankings/<uuid:ranking_id>/amend/": Row(post=ANNOTATOR),
    # a project's manager
    "p/<slug:slug>/": Row(get=MANAGER),
    "p/<slug:slug>/preview/": Row(get=MANAGER),
    "p/<slug:slug>/people/": Row(get=MANAGER),
    "p/<slug:slug>/people/invite/": Row(post=MANAGER, data={"role": "annotator"}),
    "p/<slug:slug>/people/links/<int:pk>/take-back/": Row(post=MANAGER),
    "p/<slug:slug>/people/<int:pk>/password/": Row(post=MANAGER),
    "p/<slug:slug>/people/<int:pk>/role/": Row(post=MANAGER),
    "p/<slug:slug>/people/<int:pk>/remove/": Row(get=MANAGER, post=MANAGER),
    "p/<slug:slug>/guideline/": Row(get=MANAGER),
    "p/<slug:slug>/guideline/preview/": Row(post=MANAGER),
    "p/<slug:slug>/guideline/publish/": Row(post=MANAGER),
    "p/<slug:slug>/guideline/<int:version>/": Row(get=MANAGER),
    "p/<slug:slug>/settings/": Row(get=MANAGER, post=MANAGER),
    "p/<slug:slug>/settings/effect/": Row(post=MANAGER),
    "p/<slug:slug>/settings/state/": Row(post=MANAGER),
    "api/v1/projects/<slug:slug>/prompts/": Row(post=MANAGER),
    "p/new/": Row(get=USERS, post=USERS),
    # who measures: manager and engineer
    "p/<slug:slug>/quality/": Row(get=MEASURES),
    "p/<slug:slug>/quality/overlap/": Row(post=MANAGER),
    "p/<slug:slug>/tasks/": Row(get=MEASURES),
    "p/<slug:slug>/tasks/<int:pk>/": Row(get=MEASURES),
    "p/<slug:slug>/data/": Row(get=MEASURES),
    "p/<slug:slug>/data/upload/": Row(get=MEASURES, post=MEASURES),
    "p/<slug:slug>/data/generate/": Row(get=MEASURES, post=MEASURES),
    "p/<slug:slug>/data/stop/": Row(post=MEASURES),
    "p/<slug:slug>/data/snapshot/": Row(get=MEASURES, post=MEASURES),
    "p/<slug:slug>/data/export/": Row(get=MEASURES, data={"type": "preference"}),
    "api/v1/projects/<slug:slug>/agreement/": Row(get=MEASURES),
    "api/v1/projects/<slug:slug>/export/": Row(get=MEASURES, data={"type": "preference"}),
    # the engineer: models have names here
    "p/<slug:slug>/compare/": Row(get=ENGINEER, post=ENGINEER),
    "admin/": Row(get=ENGINEERS),
    "admin/login/": Row(get=ALL),
    "admin/(?P<url>.*)$": Row(get=NOBODY),
    "admin/training/run/": Row(get=ENGINEERS),
    "admin/training/run/add/": Row(get=ENGINEERS, post=ENGINEERS),
    "admin/training/run/<int:pk>/change/": Row(get=TRAINS),
    "admin/training/run/<int:pk>/live/": Row(get=TRAINS),
    "admin/training/run/<int:pk>/metrics/": Row(get=TRAINS),
    "admin/training/run/<int:pk>/cancel/": Row(post=TRAINS),
    "admin/training/run/<int:pk>/resume/": Row(post=TRAINS),
    "admin/training/modelversion/": Row(get=ENGINEERS),
    "admin/training/modelversion/<int:pk>/change/": Row(get=TRAINS),
    "admin/training/modelversion/<int:pk>/promote/": Row(post=TRAINS),
    "admin/training/dataset/": Row(get=ENGINEERS),
    "admin/training/dataset/<int:pk>/change/": Row(get=TRAINS),
}
# the superuser: people, projects and lockouts, as rows that nobody makes here and only lockouts are deleted
for kept in ("auth/user", "annotation/project", "axes/accessattempt"):
    deletes = SUPERUSER if kept.startswith("axes") else NOBODY
    TABLE |= {
        f"admin/{kept}/": Row(get=SUPERUSER),
        f"admin/{kept}/add/": Row(get=NOBODY),
        f"admin/{kept}/<path:object_id>/": Row(get=ENGINEERS),  # a redirect to .../change/, whatever is there
        f"admin/{kept}/<path:object_id>/change/": Row(get=SUPERUSER),
        f"admin/{kept}/<path:object_id>/history/": Row(get=SUPERUSER),
        f"admin/{kept}/<path:object_id>/delete/": Row(get=deletes),
    }


def patterns(resolver: URLResolver, before: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        route = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from patterns(entry, route)
        else:
            yield route, entry


ROUTES = [route for route, _pattern in patterns(get_resolver())]


@pytest.fixture
def world(project, make_task, make_member, stranger) -> dict[str, object]:
    """A project with something behind every URL, and its people; what is somebody's is the annotator's."""
    task, _spare, _another = make_task(overlap=3), make_task("Why is the sky blue?"), make_task("And butter?")
    people = {role: make_member(role, role) for role in ("annotator", "manager", "engineer")}
    User.objects.create_superuser("superuser")
    for slug, role in (("garden", Role.MANAGER), ("garage", Role.ENGINEER), ("attic", Role.ANNOTATOR)):
        elsewhere = Project.objects.create(slug=slug, title=slug)
        make_member("outsider", role, project=elsewhere)
    project.guideline = Guideline.objects.create(project=project, version=1, text="Be kind.")
    project.save()
    lease = next_task(people["annotator"])
    ranking = submit_ranking(lease, Answer(tiers=[lease.display_order]), key="a")
    lease = next_task(people["annotator"])
    token, _secret = ApiToken.make(people["annotator"].user, "laptop", ["annotate"])
    run = Run.objects.create(name="first", method="reward", config={}, project=project)
    dataset = Dataset.objects.create(name="frozen", project=project, file="x.parquet", sha256="0" * 64)
    model = ModelVersion.objects.create(name="rm", version=1, kind="reward", folder="x", checksum="0" * 64, run=run)
    return {
        "slug": project.slug,
        "lease_id": lease.public_id,
        "ranking_id": ranking.public_id,
        "version": 1,
        "token": invite(project, Role.ANNOTATOR, by=people["manager"].user),
        "people": people["annotator"].pk,
        "links": project.links.get().pk,
        "tasks": task.pk,
        "tokens": token.pk,
        "run": run.pk,
        "dataset": dataset.pk,
        "modelversion": model.pk,
        "user": people["annotator"].user_id,
        "project": project.pk,
        "accessattempt": AccessAttempt.objects.create(username="sam", failures_since_start=8).pk,
    }


def address(route: str, world: dict[str, object]) -> str:
    """The route with the world's things in it; an anonymous <int:pk> is named by the segment before it."""
    segments: list[str] = []
    for segment in route.split("/"):
        if segment.startswith("<"):
            name = segment.strip("<>").partition(":")[2]
            segment = str(world[name if name in world else segments[-1]])
        segments.append("nowhere" if segment.startswith("(?P<") else segment)
    return "/" + "/".join(segments)


def client_of(role: str, *, api: bool) -> Client:
    if role == "anonymous":
        return Client()
    user = User.objects.get(username={"stranger": "sam"}.get(role, role))
    if api:
        _token, secret = ApiToken.make(user, "test", ApiToken.Scope.values)
        return Client(headers={"Authorization": f"Token {secret}"})
    client = Client()
    client.force_login(user)
    return client


def visit(client: Client, route: str, row: Row, method: str, world: dict[str, object]) -> HttpResponse:
    """One request, of which nothing stays: the next one finds the same world."""
    api = route.startswith("api/")
    send = "put" if api and route.endswith("/draft/") else method
    options = {"content_type": "application/json"} if api and send != "get" else {}
    with transaction.atomic():
        cookies = SimpleCookie({name: morsel.value for name, morsel in client.cookies.items()})
        try:
            return getattr(client, send)(address(route, world), row.data, **options)
        finally:
            client.cookies = cookies
            transaction.set_rollback(True)


def verdict(answer: HttpResponse, role: str, route: str) -> str:
    to_login = answer.status_code == 302 and answer.headers["Location"].startswith("/login/")
    if answer.status_code == 404 or (answer.status_code == 403 and role == "superuser"):
        return "not there"
    if answer.status_code == 401 or (to_login and route not in ("logout/", "admin/login/")):
        return "asked who it is"
    if answer.status_code in (403, 405) or answer.status_code >= 500:
        return f"wrong: {answer.status_code}"
    return "in"


@pytest.mark.parametrize("role", ROLES)
def test_who_may_see_what(role, world):
    clients = {api: client_of(role, api=api) for api in (True, False)}
    otherwise = "asked who it is" if role == "anonymous" else "not there"
    wrong = []
    for route, row in TABLE.items():
        for method, allowed in (("get", row.get), ("post", row.post)):
            if allowed is None:
                continue
            answer = visit(clients[route.startswith("api/")], route, row, method, world)
            found, expected = verdict(answer, role, route), "in" if role in allowed else otherwise
            if found != expected:
                wrong.append(f"{method} /{route} as {role}: {found} ({answer.status_code}), expected: {expected}")
    assert not wrong, "\n".join(wrong)


def test_nothing_of_a_project_is_reached_through_another(world):
    """A manager who writes an id of another project behind the own project's name finds nothing there."""
    client = client_of("outsider", api=False)
    within = [route for route in TABLE if "<slug:slug>/" in route and route.count("<") > 1]
    for route in within:
        for method in ("get", "post"):
            if getattr(TABLE[route], method) is not None:
                answer = visit(client, route, TABLE[route], method, world | {"slug": "garden"})
                assert answer.status_code == 404, f"{method} {route}"
    assert within


@pytest.mark.parametrize("role", ["annotator", "manager", "engineer"])
@pytest.mark.parametrize("value", ["²", "9" * 30, "a\0b"])
def test_no_hostile_value_breaks_a_page(role, value, world):
    """Each is refused or ignored by whatever parameter reads it, on both databases, and never a 500."""
    names = "a all annotator answers_per_task b before change_note choice clone comment counter email key kind language"
    names += (
        " method model n name next o overlap p page per_prompt q rank_1 reason role seconds state tag text title type"
    )
    clients = {api: client_of(role, api=api) for api in (True, False)}
    broken = []
    for route, row in TABLE.items():
        client = clients[route.startswith("api/")]
        client.raise_request_exception = False
        for method in ("get", "post"):
            if role in (getattr(row, method) or ()):
                hostile = Row(data=dict.fromkeys(names.split(), value))
                answer = visit(client, route, hostile, method, world)
                broken += [f"{method} {route}: {answer.status_code}"] if answer.status_code >= 500 else []
    assert not broken


def test_every_url_has_a_row():
    missing = [route for route in ROUTES if route not in TABLE]
    assert not missing, "say in TABLE who may see them"


def test_every_row_has_a_url():
    assert set(TABLE) <= set(ROUTES)


def test_nobody_writes_by_a_page_without_its_csrf_token(world, annotator):
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get(username="annotator"))

    for route, row in TABLE.items():
        if row.post is not None and not route.startswith("api/"):
            answer = client.post(address(route, world), row.data)
            assert answer.status_code in (403, 404), route
    assert not Membership.objects.filter(left_at__isnull=False).exists()
    assert Ranking.objects.count() == 1
