"""The guideline is written in Markdown and published in versions."""

import pytest
from django.urls import reverse

from annotation.models import Guideline
from annotation.projects import PublishedMeanwhile, publish_guideline


def publish(client, **data: object):
    return client.post(reverse("guideline_publish", args=["kitchen"]), data)


def test_publish_makes_the_next_version(client, project, manager):
    client.force_login(manager.user)
    publish(client, text="Be kind.\r\n\r\nAlways.", after="0")
    publish(client, text="Be **kinder**.", after="1", change_note="Kinder than kind.")

    project.refresh_from_db()
    assert (project.guideline.version, project.guideline.change_note) == (2, "Kinder than kind.")
    assert project.guideline.published_by == manager.user
    assert Guideline.objects.get(version=1).text == "Be kind.\n\nAlways."
    page = client.get(reverse("guideline", args=["kitchen"])).content.decode()
    assert "Publish version 3" in page and "Kinder than kind." in page and "<strong>kinder</strong>" in page


def test_a_new_version_says_what_changed(client, project, manager):
    publish_guideline(project, "Be kind.", by=manager.user, after=0)
    client.force_login(manager.user)
    answer = publish(client, text="Be kinder.", after="1")
    assert answer.status_code == 422 and "This field is required" in answer.content.decode()
    assert "Be kinder." in answer.content.decode()  # what was written is not lost
    assert Guideline.objects.count() == 1


def test_the_first_version_starts_from_the_template(client, manager):
    client.force_login(manager.user)
    page = client.get(reverse("guideline", args=["kitchen"])).content.decode()
    assert "When to tie" in page and "What changed?" not in page


def test_an_empty_guideline_is_not_published(client, manager):
    client.force_login(manager.user)
    assert publish(client, text="  \n", after="0").status_code == 422
    assert not Guideline.objects.exists()


def test_two_managers_do_not_overwrite_each_other(client, project, manager):
    client.force_login(manager.user)
    publish_guideline(project, "Of mia.", by=manager.user, after=0)
    publish_guideline(project, "Of max.", by=manager.user, after=1, change_note="x")

    answer = publish(client, text="Of mia, later.", after="1", change_note="mine")

    assert answer.status_code == 409
    assert "published another version meanwhile" in answer.content.decode()
    assert "Of mia, later." in answer.content.decode()
    with pytest.raises(PublishedMeanwhile):
        publish_guideline(project, "Again", by=manager.user, after=1)
    project.refresh_from_db()
    assert project.guideline.text == "Of max."


def test_preview_shows_the_text_and_stores_nothing(client, manager):
    client.force_login(manager.user)
    url = reverse("guideline_preview", args=["kitchen"])
    text = {"text": "## Better\n<script>alert(1)</script> **yes**", "after": "0"}

    part = client.post(url, text, headers={"HX-Request": "true"}).content.decode()
    whole = client.post(url, text).content.decode()

    for page in (part, whole):
        assert "<strong>yes</strong>" in page and "<script>alert" not in page
    assert "<html" not in part and "<textarea" in whole and "## Better" in whole
    assert not Guideline.objects.exists()


def test_old_versions_can_be_read(client, project, manager):
    publish_guideline(project, "The *first*.", by=manager.user, after=0)
    publish_guideline(project, "The second.", by=manager.user, after=1, change_note="All.")
    client.force_login(manager.user)
    assert "<em>first</em>" in client.get(reverse("guideline_version", args=["kitchen", 1])).content.decode()
    assert client.get(reverse("guideline_version", args=["kitchen", 9])).status_code == 404


@pytest.mark.parametrize("who", ["annotator", "engineer", "stranger"])
def test_only_managers_write_it(client, who, request, manager):
    person = request.getfixturevalue(who)
    client.force_login(getattr(person, "user", person))
    assert client.get(reverse("guideline", args=["kitchen"])).status_code == 404
    assert publish(client, text="Mine.", after="0").status_code == 404
    assert not Guideline.objects.exists()
