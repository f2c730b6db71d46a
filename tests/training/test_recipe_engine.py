"""Answers come out as the model means them, whatever is beside them in the batch."""

import pytest

pytestmark = pytest.mark.recipe

GREEDY = 1e-9  # a nucleus of one token


@pytest.fixture(scope="module")
def policy(tiny):
    from training.recipes.checkpoints import load_policy

    return load_policy(tiny).eval()


@pytest.fixture
def requests(tokenizer):
    from training.recipes.engine import Request, prompt_tokens

    questions = ["Hi", "What is the capital of the country where cheese comes from?", "Why?"]
    return [
        Request(prompt_tokens(tokenizer, [{"role": "user", "content": question}]), 1.0, key=(42, number))
        for number, question in enumerate(questions)
    ]


def test_greedy_answers_are_those_of_transformers(policy, tokenizer, requests):
    import torch

    from training.recipes.engine import sample

    answers = sample(policy, tokenizer, requests, top_p=GREEDY, max_new_tokens=12)

    for request, answer in zip(requests, answers, strict=True):
        prompt = torch.tensor([request.prompt])
        whole = policy.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=12)[
            0, prompt.shape[1] :
        ]
        assert answer.text == tokenizer.decode(whole, skip_special_tokens=True).strip()


def test_an_answer_does_not_depend_on_its_neighbours(policy, tokenizer, requests):
    from training.recipes.engine import sample

    together = sample(policy, tokenizer, requests, top_p=0.9, max_new_tokens=12)
    alone = [sample(policy, tokenizer, [request], top_p=0.9, max_new_tokens=12)[0] for request in requests]

    assert together == alone


def test_a_longer_limit_continues_the_same_answer(policy, tokenizer, requests):
    from training.recipes.engine import sample

    short, long = (sample(policy, tokenizer, requests, top_p=0.9, max_new_tokens=limit) for limit in (8, 16))

    for before, after in zip(short, long, strict=True):
        assert before.cut and before.tokens == 8
        assert after.text.startswith(before.text.rstrip("\ufffd"))


def test_an_ended_answer_leaves_the_batch_and_the_others_go_on(policy, tokenizer, requests, monkeypatch):
    from training.recipes.engine import sample

    full = [sample(policy, tokenizer, [request], top_p=GREEDY, max_new_tokens=12)[0].text for request in requests]
    ids = tokenizer(full[0], add_special_tokens=False)["input_ids"]
    monkeypatch.setattr(policy.generation_config, "eos_token_id", ids[3])  # the first answer ends at this token

    answers = sample(policy, tokenizer, requests, top_p=GREEDY, max_new_tokens=12)

    assert not answers[0].cut
    assert answers[0].tokens <= 3
    assert full[0].startswith(answers[0].text)
    for text, answer in zip(full[1:], answers[1:], strict=True):
        assert text.startswith(answer.text)
        assert answer.cut == (answer.tokens == 12)


def test_cancelling_stops_at_the_next_token(policy, tokenizer, requests):
    from training.recipes.engine import sample
    from training.rundir import Cancelled

    steps = []

    def stop():
        steps.append(1)
        if len(steps) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        sample(policy, tokenizer, requests, top_p=0.9, max_new_tokens=100, between_tokens=stop)
    assert len(steps) == 3


def test_draws_follow_the_distribution():
    import torch

    from training.recipes.algorithms.sampling import draw

    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().repeat(10_000, 1)
    uniform = (torch.arange(10_000) + 0.5) / 10_000

    whole = draw(logits, torch.ones(10_000), 1.0, uniform).bincount(minlength=4) / 10_000
    assert whole.tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=1e-3)

    nucleus = draw(logits, torch.ones(10_000), 0.8, uniform).bincount(minlength=4) / 10_000
    assert nucleus.tolist() == pytest.approx([0.625, 0.375, 0, 0], abs=1e-3)

    colder = draw(logits, torch.full((10_000,), 0.5), 1.0, uniform).bincount(minlength=4) / 10_000
    assert colder[0] > 0.65
