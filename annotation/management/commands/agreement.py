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
        return report, "\n".join([summarise(report).sentence, "", *_lines(report, report["undefined"])])


def _lines(figures: dict[str, Any], undefined: dict[str, str], prefix: str = "") -> list[str]:
    """One figure a line, by its path, with its interval or the reason why it has no value."""
    lines = []
    for name, value in figures.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict):
            lines += [] if name == "undefined" else _lines(value, undefined, f"{path}.")
        elif name != "ci" and not name.endswith("_ci"):
            interval = figures.get(f"{name}_ci") or (figures.get("ci") if name == "mean" else None)
            beside = f"  [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
            none = f"-  {undefined.get(path, '')}".rstrip()
            shown = none if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
            lines.append(f"{path:40} {shown}{beside}")
    return lines
