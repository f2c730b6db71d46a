"""How the next token is drawn."""

from __future__ import annotations

import numpy as np
import torch

CANDIDATES = (
    1000  # drawn from the likeliest so many tokens: sorting all 49,152 for every token costs more than the model
)


def draw(logits: torch.Tensor, temperatures: torch.Tensor, top_p: float, uniform: torch.Tensor) -> torch.Tensor:
    """One token per row, by inverting the cumulative distribution of the nucleus at `uniform`.

    logits (b, v), temperatures (b,), uniform (b,) in [0, 1) -> tokens (b,)

    A row's token depends on its own number only, never on the rows beside it.

    >>> logits = torch.tensor([[0.6, 0.3, 0.1]]).log().repeat(3, 1)
    >>> draw(logits, torch.ones(3), 1.0, torch.tensor([0.0, 0.7, 0.95])).tolist()
    [0, 1, 2]
    >>> draw(logits, torch.ones(3), 0.7, torch.tensor([0.0, 0.7, 0.95])).tolist()  # the third lies outside the nucleus
    [0, 1, 1]
    """
    scaled = logits.float() / temperatures[:, None]
    top, tokens = scaled.topk(min(CANDIDATES, scaled.shape[-1]))  # (b, k), likeliest first
    probabilities = (top - scaled.logsumexp(-1, keepdim=True)).exp()
    before = probabilities.cumsum(-1) - probabilities  # the probability of all that is likelier
    nucleus = probabilities * (before < top_p)  # the first is always in it
    cumulative = nucleus.cumsum(-1)
    position = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(-1, keepdim=True)
    last = (nucleus > 0).sum(-1, keepdim=True) - 1  # rounding may point behind the nucleus
    return tokens.gather(-1, torch.minimum(position, last)).squeeze(-1)


def uniforms(key: tuple[int, ...], count: int) -> torch.Tensor:
    """The random numbers of one answer: they depend on its key only, so a resumed run draws the same answers.

    >>> bool((uniforms((42, 7, 0), 4) == uniforms((42, 7, 0), 8)[:4]).all())
    True
    """
    return torch.from_numpy(np.random.default_rng(key).random(count, dtype=np.float32))
