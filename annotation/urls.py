from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from annotation.views import accounts, annotate, guideline, people, projects, settings, tasks, tokens, upload

urlpatterns = [
    path("", accounts.home, name="home"),
    path("login/", LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("tokens/", tokens.tokens, name="tokens"),
    path("tokens/<int:pk>/revoke/", tokens.token_revoke, name="token_revoke"),
    path("p/<slug:slug>/annotate/", annotate.annotate, name="annotate"),
    path("p/<slug:slug>/preview/", annotate.preview, name="preview"),
    path("p/<slug:slug>/history/", annotate.history, name="history"),
    path("leases/<uuid:lease_id>/submit/", annotate.submit, name="submit"),
    path("leases/<uuid:lease_id>/draft/", annotate.draft, name="draft"),
    path("leases/<uuid:lease_id>/skip/", annotate.skip_task, name="skip"),
    path("leases/<uuid:lease_id>/renew/", annotate.renew_lease, name="renew"),
    path("rankings/<uuid:ranking_id>/amend/", annotate.amend, name="amend"),
    path("link/<str:token>/", people.one_time_link, name="one_time_link"),
    path("p/new/", projects.project_new, name="project_new"),
    path("p/<slug:slug>/", projects.overview, name="overview"),
    path("p/<slug:slug>/tasks/", tasks.tasks, name="tasks"),
    path("p/<slug:slug>/tasks/<int:pk>/", tasks.task, name="task"),
    path("p/<slug:slug>/data/upload/", upload.upload, name="upload"),
    path("p/<slug:slug>/people/", people.people, name="people"),
    path("p/<slug:slug>/people/invite/", people.people_invite, name="people_invite"),
    path("p/<slug:slug>/people/links/<int:pk>/take-back/", people.people_take_back, name="people_take_back"),
    path("p/<slug:slug>/people/<int:pk>/password/", people.people_password, name="people_password"),
    path("p/<slug:slug>/people/<int:pk>/role/", people.people_role, name="people_role"),
    path("p/<slug:slug>/people/<int:pk>/remove/", people.people_remove, name="people_remove"),
    path("p/<slug:slug>/guideline/", guideline.guideline, name="guideline"),
    path("p/<slug:slug>/guideline/preview/", guideline.guideline_preview, name="guideline_preview"),
    path("p/<slug:slug>/guideline/publish/", guideline.guideline_publish, name="guideline_publish"),
    path("p/<slug:slug>/guideline/<int:version>/", guideline.guideline_version, name="guideline_version"),
    path("p/<slug:slug>/settings/", settings.settings, name="settings"),
    path("p/<slug:slug>/settings/effect/", settings.settings_effect, name="settings_effect"),
    path("p/<slug:slug>/settings/state/", settings.settings_state, name="settings_state"),
]
