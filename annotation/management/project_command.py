"""What the commands of annotation share: one sentence for a mistake, one object for `--json`, a bar on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.core.management import BaseCommand, CommandError, CommandParser

from annotation.imports import BadFile, ImportRefused, ImportReport
from annotation.models import Project

SHOWN = 20  # bad or doubled rows that are listed for people; --json has all


class ProjectCommand(BaseCommand):
    """A command on one project. Its `perform` gives the result for programs, and in words for people."""

    perform: Callable[..., tuple[dict[str, Any], str]]

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        if getattr(self, "_called_from_command_line", False):

            def refuse(message: str) -> None:
                parser.exit(1, f"{message}. Try: {prog_name} {subcommand} --help\n")

            setattr(parser, "error", refuse)  # noqa: B010  one sentence and exit 1, as for every other mistake
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", metavar="SLUG", help="the project")
        parser.add_argument(
            "--json", action="store_true", dest="as_json", help="print one JSON object and nothing else"
        )

    def handle(self, *, as_json: bool, **options: Any) -> None:
        self.as_json = as_json
        result, words = self.perform(**options)
        self.stdout.write(json.dumps(result, ensure_ascii=False, default=str) if as_json else words)

    def bar(self, label: str) -> Callable[[int], None]:
        """Shows a growing number, on a terminal only."""

        def show(done: int) -> None:
            if sys.stderr.isatty():
                sys.stderr.write(f"\r\x1b[K{label}: {done:,}\r")  # the next line written takes its place
                sys.stderr.flush()

        return show


class ImportCommand(ProjectCommand):
    """Reads a file into a project by one of the verbs of `imports`."""

    store: Callable[..., ImportReport]

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", metavar="FILE", help="jsonl, json, csv or parquet, gzip'd or not; told by content")
        parser.add_argument("--skip-bad", action="store_true", help="store the good rows and list each bad one")

    def perform(self, *, slug: str, file: str, skip_bad: bool, **options: Any) -> tuple[dict[str, Any], str]:
        try:
            report = type(self).store(project_named(slug), file, skip_bad=skip_bad, progress=self.bar("rows read"))
        except ImportRefused as refusal:
            listed = [str(problem) for problem in refusal.problems[1:SHOWN]]
            raise CommandError("\n".join([str(refusal), *listed])) from refusal
        except BadFile as mistake:
            raise CommandError(f"{mistake} Nothing was stored.") from mistake
        return report.as_dict(), describe(report)


def describe(report: ImportReport) -> str:
    counts = [
        f"{name} {number:,}"
        for name, number in vars(report).items()
        if isinstance(number, int) and number and name != "amended"
    ]
    lines = [f"Stored: {', '.join(counts) or 'nothing'}."]
    if report.amended:
        lines.append(f"{report.amended:,} of the rankings amend earlier ones.")
    for name, problems in (("duplicates, not stored again", report.duplicates), ("bad rows, not stored", report.bad)):
        if problems:
            lines += [f"{len(problems):,} {name}:", *(f"  {problem}" for problem in problems[:SHOWN])]
            lines += [f"  ... and {len(problems) - SHOWN:,} more"] if len(problems) > SHOWN else []
    return "\n".join(lines)


def project_named(slug: str) -> Project:
    project = Project.objects.filter(slug=slug).first()
    if project is None:
        known = ", ".join(Project.objects.order_by("slug").values_list("slug", flat=True)[:20])
        raise CommandError(f"There is no project {slug!r}. Known are: {known or 'none yet'}.")
    return project


def user_named(name: str) -> User:
    user = User.objects.filter(username=name).first()
    if user is None:
        raise CommandError(f"There is no user {name!r}.")
    return user
