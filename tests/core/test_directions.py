"""Edit directions: means and differences of embeddings."""

import pytest
import torch

from ddpm_core import directions
from ddpm_core.attention import attention_maps
from ddpm_core.zero_shot import attend


def embedding(seed: int, tokens: int = 6, width: int = 4, rows: int = 1) -> torch.Tensor:
    return torch.randn((rows, tokens, width), generator=torch.Generator().manual_seed(seed))


def test_the_mean_is_that_of_all_rows():
    sentences = [embedding(1), embedding(2, rows=3), embedding(3)[:0]]
    found = directions.mean(iter(sentences))
    assert found.dtype == torch.float64
    assert torch.allclose(found, torch.cat(sentences).double().mean(dim=0, keepdim=True), rtol=1e-12)
    vectors = [one[:, 0] for one in sentences]
    assert torch.allclose(directions.mean(vectors), torch.cat(vectors).double().mean(dim=0, keepdim=True), rtol=1e-12)


def test_a_mean_of_many_does_not_lose_what_single_precision_would():
    far = 1000 + torch.arange(4000.0).view(-1, 1, 1, 1).expand(-1, 1, 2, 2) * 1e-3
    assert directions.mean(far) == pytest.approx(torch.full((1, 2, 2), 1000 + 3.999 / 2).numpy(), abs=1e-4)


def test_a_mean_holds_one_embedding_at_a_time():
    alive = 0

    class Watched(torch.Tensor):
        def __del__(self):
            nonlocal alive
            alive -= 1

    def sentences():
        nonlocal alive
        for seed in range(5):
            alive += 1
            yield embedding(seed).as_subclass(Watched)
            assert alive <= 2

    directions.mean(sentences())


def test_the_direction_leads_from_one_to_the_other():
    source, target, prompt = embedding(1), embedding(2), embedding(3, rows=2).half()
    direction = directions.moved(directions.mean([target]), directions.mean([source]), -1.0)
    assert torch.allclose(direction, (target - source).double())
    assert torch.allclose(directions.moved(source, direction), target, atol=1e-6)
    moved = directions.moved(prompt, direction, 0.5)
    assert moved.dtype == torch.float16
    assert torch.allclose(moved.float(), prompt.float() + 0.5 * (target - source), atol=2e-3)
    assert torch.equal(directions.moved(prompt, direction, 0.0), prompt)


def test_other_lengths_are_repeated_which_changes_no_attention():
    short, long = embedding(1, tokens=4), embedding(2, tokens=8)
    assert directions.mean([short, long]).shape == (1, 8, 4)
    assert directions.common_length([embedding(1, tokens=4), embedding(2, tokens=6)]) == 12
    moved = directions.moved(short, torch.zeros_like(long))
    q = embedding(3, tokens=5)
    once, twice = (attend(attention_maps(q, one, heads=2), one) for one in (short, moved))
    assert torch.allclose(once, twice, atol=1e-6)


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        ([], "give at least one sentence"),
        ([embedding(1, width=3), embedding(1, width=4)], "are 3 and 4 wide.*one CLIP"),
        ([embedding(1, tokens=11), embedding(1, tokens=12)], "have 11 and 12 tokens, too far apart"),
    ],
)
def test_what_has_no_mean(embeddings, message):
    with pytest.raises(ValueError, match=message):
        directions.mean(embeddings)
