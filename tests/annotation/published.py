"""Public data of real people, for tests; skipped with the reason where it is absent."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

DATA = Path(os.environ.get("PREFERENDUM_DATA") or Path(__file__).parents[3] / "shared" / "data")
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"the public data are not in {DATA}; PREFERENDUM_DATA names their folder"
)


def read(path: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"{path}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def expected(dataset: str) -> dict[tuple[str, str], Any]:
    """Stated figures of a dataset's share, by statistic and variant, as values that compare within their tolerance."""
    return {
        (row["statistic"], row["variant"]): pytest.approx(row["value"], abs=row["tolerance"])
        for row in read("oracles/dev_share_expected")
        if row["dataset"] == dataset
    }


def pandalm_rankings() -> list[dict[str, Any]]:
    tiers = {"1": [[0], [1]], "2": [[1], [0]], "tie": [[0, 1]]}
    return [
        {
            "task": f"pandalm-{row['item']}",
            "prompt": "\n\n".join(filter(None, [row["instruction"], row["input"]])),
            "candidates": [
                {"text": row["response1"], "model": row["model1"]},
                {"text": row["response2"], "model": row["model2"]},
            ],
            "annotator": f"a{n}",
            "tiers": tiers[row[f"annotator{n}"]],
        }
        for row in read("preferences/pandalm/pandalm_dev")
        for n in (1, 2, 3)
    ]


def llmfao_rankings() -> list[dict[str, Any]]:
    tiers = {"left": [[0], [1]], "right": [[1], [0]], "tie": [[0, 1]]}
    pairs = {row["pair"]: row for row in read("preferences/llmfao/pairs_dev")}
    return [
        {
            "task": f"llmfao-{vote['pair']}",
            "prompt": pairs[vote["pair"]]["prompt"],
            "candidates": [
                {"text": pairs[vote["pair"]]["response_x"], "model": vote["left"]},
                {"text": pairs[vote["pair"]]["response_y"], "model": vote["right"]},
            ],
            "annotator": vote["annotator"],
            "tiers": tiers[vote["winner"]],
        }
        for vote in read("preferences/llmfao/comparisons_dev")
        if vote["human"]
    ]


def rankme_rankings(setup: str, criterion: str) -> list[dict[str, Any]]:
    return [
        {
            "task": f"rankme-{row['item']}",
            "prompt": row["prompt"],
            "candidates": [
                {"text": text, "model": model} for text, model in zip(row["candidates"], row["systems"], strict=True)
            ],
            "annotator": row["annotator"],
            "tiers": [
                [n for n, score in enumerate(row["scores"]) if score == tier]
                for tier in sorted(set(row["scores"]), reverse=True)
            ],
        }
        for row in read("rankings/rankme/rankme_dev")
        if (row["setup"], row["criterion"]) == (setup, criterion)
    ]
