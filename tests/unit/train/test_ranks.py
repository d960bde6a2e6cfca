import pytest
import torch
from torch import nn

from oodtune.train.ranks import DropoutOfPart, Ranks

CPU = torch.device("cpu")


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
@pytest.mark.parametrize("probability", [0.5, 0.9])
def test_the_masks_of_all_parts_are_the_mask_of_the_whole_batch(num_ranks: int, probability: float) -> None:
    features = torch.randn(8, 16)
    torch.manual_seed(3)
    whole = nn.Dropout(probability)(features)
    following = torch.rand(2)
    for rank in range(num_ranks):
        torch.manual_seed(3)
        part = DropoutOfPart(probability, Ranks(CPU, rank, num_ranks))(features[rank::num_ranks])
        assert torch.equal(part, whole[rank::num_ranks])
        assert torch.equal(torch.rand(2), following)


def test_dropout_of_a_part_is_off_in_evaluation_and_draws_nothing_at_rate_zero() -> None:
    features = torch.randn(4, 16)
    ranks = Ranks(CPU, 1, 2)
    assert DropoutOfPart(0.9, ranks).eval()(features) is features
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert DropoutOfPart(0.0, ranks)(features) is features
    assert torch.equal(torch.get_rng_state(), before)


def test_alone_nothing_is_sent_and_nothing_changes() -> None:
    alone = Ranks(CPU)
    values = torch.randn(3)
    assert alone.is_first
    assert alone.mean(values) is values
    assert alone.highest(15) == 15
    assert alone.gather(values, 3) is values
    assert alone.share(None) is None
