"""What a reward model thinks of answers, read at the token that ends the turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.recipes.algorithms.intervals import share
from training.recipes.algorithms.winrates import verdict, win
from training.recipes.data import Message, Pair, answer_tokens
from training.recipes.engine import prompt_tokens


@torch.inference_mode()
def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    answers: Sequence[tuple[list[Message], str]],
    *,
    max_length: int,
    batch_size: int,
    between_batches: Callable[[], None] = lambda: None,
) -> list[float]:
    """A score for each (prompt, answer). Of texts longer than `max_length` the beginning is left out.

    The score head computes in fp32 whatever the model computes in: bf16 scores are so coarse that they tie.
    """
    sequences = [(prompt_tokens(tokenizer, p) + answer_tokens(tokenizer, a))[-max_length:] for p, a in answers]
    order = sorted(range(len(sequences)), key=lambda n: len(sequences[n]))  # like lengths together: less padding
    head = model.score.weight.float()  # (1, d)
    scores = [0.0] * len(sequences)
    for start in range(0, len(order), batch_size):
        between_batches()
        batch = order[start : start + batch_size]
        lengths = torch.tensor([len(sequences[n]) for n in batch])
        tokens = torch.full((len(batch), int(lengths.max())), tokenizer.pad_token_id)  # (b, t), padded on the right
        for row, n in enumerate(batch):
            tokens[row, : lengths[row]] = torch.tensor(sequences[n])
        mask = torch.arange(tokens.shape[1])[None] < lengths[:, None]
        hidden = model.base_model(
            input_ids=tokens.to(model.device), attention_mask=mask.long().to(model.device), use_cache=False
        ).last_hidden_state  # (b, t, d)
        ends = hidden[torch.arange(len(batch)), lengths - 1].float()  # (b, d)
        for n, value in zip(batch, (ends @ head.T).squeeze(-1).tolist(), strict=True):
            scores[n] = value
    return scores


def accuracy(pairs: Sequence[Pair], scores: Sequence[tuple[float, float]], *, seed: int) -> dict[str, Any]:
    """In how many pairs the chosen answer has the higher score, beside what the texts' lengths alone would say.

    `scores` are those of (chosen, rejected). Length alone is given its better side, "prefer the shorter" or "prefer the
    longer", whichever is right more often in these very pairs: a baseline that is a little too strong, not too weak.
    """
    prompts = [pair.prompt_hash for pair in pairs]
    right = [win(chosen, rejected) for chosen, rejected in scores]
    shorter = [win(len(pair.rejected), len(pair.chosen)) for pair in pairs]
    longer = [1 - value for value in shorter]
    by_length = max(shorter, longer, key=sum)
    mean, low, high = share(right, prompts, seed=seed)
    _, difference_low, difference_high = share(
        [win(a, b) for a, b in zip(right, by_length, strict=True)], prompts, seed=seed
    )
    return {
        "pairs": len(pairs),
        "prompts": len(set(prompts)),
        "accuracy": mean,
        "accuracy_ci": [low, high],
        "length_accuracy": share(by_length, prompts, seed=seed)[0],
        "length_rule": "prefer the shorter" if by_length is shorter else "prefer the longer",
        "against_length": verdict(difference_low, difference_high),
        "mean_margin": round(sum(chosen - rejected for chosen, rejected in scores) / len(scores), 4),
    }


def score_pairs(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], **how: Any):
    """The scores of (chosen, rejected) of each pair; an answer that is in several pairs is scored once."""
    answers = {(pair.prompt_hash, text): pair.prompt for pair in pairs for text in (pair.chosen, pair.rejected)}
    values = score(model, tokenizer, [(prompt, text) for (_, text), prompt in answers.items()], **how)
    of = dict(zip(answers, values, strict=True))
    return [(of[pair.prompt_hash, pair.chosen], of[pair.prompt_hash, pair.rejected]) for pair in pairs]
