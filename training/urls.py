from django.urls import path

from training import views, views_compare

urlpatterns = [
    path("p/<slug:slug>/data/", views.data, name="data"),
    path("p/<slug:slug>/data/generate/", views.generate, name="generate"),
    path("p/<slug:slug>/data/stop/", views.stop, name="stop"),
    path("p/<slug:slug>/data/snapshot/", views.snapshot, name="snapshot"),
    path("p/<slug:slug>/data/export/", views.export, name="export"),
    path("p/<slug:slug>/compare/", views_compare.compare, name="compare"),
]
