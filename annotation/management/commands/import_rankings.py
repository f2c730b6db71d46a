"""`manage.py import_rankings SLUG FILE`"""

from annotation.imports import import_rankings
from annotation.management.project_command import ImportCommand


class Command(ImportCommand):
    help = (
        'Import finished judgements, one row each: {"task", "prompt", "candidates", "annotator", '
        '"tiers": [[2], [0, 1]], "unranked", "all_bad", "strength", "ratings", "comment", "seconds", '
        '"created_at", "made_by"}.'
    )
    store = staticmethod(import_rankings)
