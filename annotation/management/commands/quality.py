"""`manage.py quality SLUG`"""

from typing import Any

from django.core.management import CommandParser

from annotation.management.project_command import ProjectCommand, project_named
from annotation.quality import project_quality


class Command(ProjectCommand):
    help = "Say in one sentence how far people agree, and show for each annotator how much and how well."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--pseudonyms", action="store_true", help="name people as exports do")

    def perform(self, *, slug: str, pseudonyms: bool, **options: Any) -> tuple[dict[str, Any], str]:
        found = project_quality(project_named(slug), pseudonyms=pseudonyms)
        result = {
            "level": found.summary.level,
            "sentence": found.summary.sentence,
            "agreement": found.report,
            "annotators": [person.as_dict() for person in found.annotators],
        }
        rows = [("annotator", "rankings", "agreement", "median time", "all bad")]
        for person in found.annotators:
            share = "-" if person.agreement is None else f"{person.agreement:.0%}"
            time = "-" if person.median_seconds is None else f"{person.median_seconds:.0f} s"
            rows.append((person.name, str(person.rankings), share, time, str(person.all_bad)))
        width = max(len(row[0]) for row in rows)
        table = [f"{name:{width}}  " + "".join(f"{cell:>13}" for cell in cells) for name, *cells in rows]
        return result, "\n".join([found.summary.sentence, "", *table])
