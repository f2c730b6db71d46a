"""Answers from a model: a batch of conversations in, a batch of answers out.

Why not `model.generate`: here each answer has its own temperature and its own random numbers (so that, up to rounding,
it does not depend on what is beside it in the batch, and a resumed run draws the same), rows that have ended leave the
batch at once, and a cancelled run stops at the next token and not at the next batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from training.recipes.algorithms.sampling import draw, uniforms

Message = dict[str, str]


@dataclass(frozen=True)
class Request:
    """One answer that is wanted."""

    prompt: list[int]  # tokens, up to where the answer begins
    temperature: float
    key: tuple[int, ...]  # what its random numbers depend on


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: int  # without the one that ends the turn
    cut: bool  # it had not ended when it reached the limit


def prompt_tokens(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """The conversation as the model reads it, up to where its answer begins.

    Only the template writes special tokens. A text that holds `<|im_end|>` must neither end its turn nor begin another:
    where one does, the template is filled with a mark for each text, and texts and template are tokenized apart.
    """
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    if not any(token in message["content"] for token in special for message in messages):
        return tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=True)["input_ids"]

    texts = {chr(0xE000 + n): message["content"] for n, message in enumerate(messages)}  # private-use characters
    marked = [{**message, "content": mark} for mark, message in zip(texts, messages, strict=True)]
    filled = tokenizer.apply_chat_template(marked, add_generation_prompt=True, tokenize=False)
    ids: list[int] = []
    for part in re.split(f"([{''.join(texts)}])", filled):
        ids += tokenizer.encode(texts.get(part, part), add_special_tokens=False, split_special_tokens=part in texts)
    return ids


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that end an answer."""
    configured = model.generation_config.eos_token_id
    ends = set(configured if isinstance(configured, list) else [configured])
    return (ends | {tokenizer.eos_token_id, tokenizer.pad_token_id}) - {None}


@torch.inference_mode()
def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[Request],
    *,
    top_p: float,
    max_new_tokens: int,
    between_tokens: Callable[[], None] = lambda: None,
) -> list[Answer]:
    """Answer all requests side by side, each with at most `max_new_tokens` tokens."""
    device, ends = model.device, end_tokens(model, tokenizer)
    width = max(len(request.prompt) for request in requests)
    tokens = torch.full((len(requests), width), tokenizer.pad_token_id)  # (b, t), padded on the left
    mask = torch.zeros_like(tokens)
    for row, request in enumerate(requests):
        tokens[row, width - len(request.prompt) :] = torch.tensor(request.prompt)
        mask[row, width - len(request.prompt) :] = 1
    tokens, mask = tokens.to(device), mask.to(device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    temperatures = torch.tensor([request.temperature for request in requests], device=device)
    random = torch.stack([uniforms(request.key, max_new_tokens) for request in requests]).to(device)

    cache = DynamicCache(config=model.config)
    written: list[list[int]] = [[] for _ in requests]
    ended = [False] * len(requests)
    rows = list(range(len(requests)))  # the requests that are still in the batch
    for step in range(max_new_tokens):
        between_tokens()
        logits = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        drawn = draw(logits, temperatures, top_p, random[:, step])

        for row, token in zip(rows, drawn.tolist(), strict=True):
            if token in ends:
                ended[row] = True
            else:
                written[row].append(token)

        staying = [place for place, row in enumerate(rows) if not ended[row]]
        if not staying:
            break
        if len(staying) < len(rows):
            keep = torch.tensor(staying, device=device)
            cache.batch_select_indices(keep)
            rows = [rows[place] for place in staying]
            drawn, mask, positions = drawn[keep], mask[keep], positions[keep]
            temperatures, random = temperatures[keep], random[keep]
        tokens = drawn[:, None]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        positions = positions[:, -1:] + 1

    return [
        Answer(tokenizer.decode(ids, skip_special_tokens=True).strip(), tokens=len(ids), cut=not done)
        for ids, done in zip(written, ended, strict=True)
    ]
