"""`manage.py export SLUG --type TYPE --out FILE`"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import IO, Any

from django.core.management import CommandError, CommandParser

from annotation.exports import TYPES, export_rows
from annotation.management.project_command import ProjectCommand, project_named


class Command(ProjectCommand):
    help = "Write a project's rows as JSON lines (gzip'd where FILE ends in .gz), with pseudonyms for people."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--type", required=True, choices=list(TYPES), dest="kind")
        parser.add_argument("--out", required=True, metavar="FILE", help="is replaced when it exists, once complete")
        parser.add_argument("--ties", action="store_true", help='preference: tied pairs too, with "target": 0.5')
        parser.add_argument("--votes", action="store_true", help="preference: a line per vote instead of their sum")

    def perform(
        self, *, slug: str, kind: str, out: str, ties: bool, votes: bool, **options: Any
    ) -> tuple[dict[str, Any], str]:
        if (ties or votes) and kind != "preference":
            raise CommandError("--ties and --votes belong to --type preference.")
        rows = export_rows(project_named(slug), kind, ties=ties, votes=votes)
        path, show, count = Path(out), self.bar("rows written"), 0
        unfinished = path.with_name(f".{path.name}.unfinished")
        try:
            with _open(unfinished, packed=path.suffix == ".gz") as file:
                for count, row in enumerate(rows, 1):
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    if count % 1000 == 0:
                        show(count)
            unfinished.replace(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise CommandError(f"{path} cannot be written: {error.strerror}.") from error
        return {"type": kind, "rows": count, "file": str(path)}, f"{count:,} rows written to {path}."


def _open(path: Path, *, packed: bool) -> IO[str]:
    if packed:
        return gzip.open(path, "wt", encoding="utf-8")
    return path.open("w", encoding="utf-8")
