from django.urls import path

from annotation.views import api

urlpatterns = [
    path("projects/<slug:slug>/next/", api.next_task, name="api_next"),
    path("projects/<slug:slug>/history/", api.history, name="api_history"),
    path("projects/<slug:slug>/prompts/", api.prompts, name="api_prompts"),
    path("projects/<slug:slug>/agreement/", api.agreement, name="api_agreement"),
    path("projects/<slug:slug>/export/", api.export, name="api_export"),
    path("leases/<uuid:lease_id>/renew/", api.renew, name="api_renew"),
    path("leases/<uuid:lease_id>/draft/", api.draft, name="api_draft"),
    path("leases/<uuid:lease_id>/skip/", api.skip, name="api_skip"),
    path("leases/<uuid:lease_id>/ranking/", api.rank, name="api_rank"),
    path("rankings/<uuid:ranking_id>/amend/", api.amend, name="api_amend"),
    path("schema/", api.Schema.as_view(), name="api_schema"),
    path("docs/", api.Docs.as_view(), name="api_docs"),
]
