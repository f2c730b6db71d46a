"""`manage.py import_prompts SLUG FILE`"""

from annotation.imports import import_prompts
from annotation.management.project_command import ImportCommand


class Command(ImportCommand):
    help = (
        'Import prompts, one row each: {"prompt": text or messages, "language", "tags", "batch", "metadata", '
        '"candidates"}; only the prompt is needed.'
    )
    store = staticmethod(import_prompts)
