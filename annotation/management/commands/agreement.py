"""`manage.py agreement SLUG`"""

from typing import Any

from django.core.management import CommandParser

from annotation.management.project_command import ProjectCommand, project_named
from annotation.quality import project_agreement, summarise


class Command(ProjectCommand):
    help = "Say how far people agree, each figure with its interval or with the reason why there is none."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--pseudonyms", action="store_true", help="name people as exports do")

    def perform(self, *, slug: str, pseudonyms: bool, **options: Any) -> tuple[dict[str, Any], str]:
        report = project_agreement(project_named(slug), pseudonyms=pseudonyms)
        return report, "\n".join([summarise(report).sentence, "", *_lines(report)])


def _lines(report: dict[str, Any], prefix: str = "") -> list[str]:
    """One figure a line, by its path; intervals beside their figure."""
    lines = []
    for name, value in report.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict):
            lines += _lines(value, f"{path}.")
        elif not name.endswith(("_ci", ".ci")) and name != "ci":
            interval = report.get(f"{name}_ci") or (report.get("ci") if name == "mean" else None)
            beside = f"  [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
            shown = "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
            lines.append(f"{path:40} {shown}{beside}")
    return lines
