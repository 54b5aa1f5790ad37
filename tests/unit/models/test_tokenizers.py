from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mlpipe.models.config import TransformerConfig
from mlpipe.models.init import initialise
from mlpipe.models.tokenizers import CategoricalTokenizer, GroupTokenizer, NumericTokenizer, Tokenizer
from mlpipe.schema import NULL_ID, PAD_ID, UNSEEN_ID, CategoricalFeature, InputSpec, NumericFeature

Inputs = tuple[Tensor, Tensor, Tensor]
CONFIG = TransformerConfig(width=8, num_heads=2)


def test_without_bins_there_is_nothing_to_encode() -> None:
    assert NumericTokenizer(CONFIG, [NumericFeature("x", "x")]).encoding is None


@pytest.mark.parametrize("embedding", ["linear", "ple", "periodic", "plr", "pbld"])
def test_a_missing_number_is_the_number_0_plus_its_feature_s_vector(embedding: str) -> None:
    torch.manual_seed(0)
    config = TransformerConfig(width=8, num_heads=2, numeric_embedding=embedding)
    tokenizer = NumericTokenizer(config, [NumericFeature("x", "x", bins=(-1.0, 0.0, 1.0)), NumericFeature("y", "y")])
    initialise(tokenizer, config)
    numbers = torch.zeros(1, 2)
    present = tokenizer(numbers, torch.zeros(1, 2, dtype=torch.bool))
    absent = tokenizer(numbers, torch.ones(1, 2, dtype=torch.bool))
    assert torch.equal(absent, present)  # at the start
    torch.nn.init.normal_(tokenizer.missing)
    absent = tokenizer(numbers, torch.tensor([[False, True]]))
    torch.testing.assert_close(absent[0], present[0])
    torch.testing.assert_close(absent[1], present[1] + tokenizer.missing[1])


def test_a_group_is_one_token() -> None:
    torch.manual_seed(0)
    tokenizer = GroupTokenizer(num_features=3, width=8)
    for parameter in tokenizer.parameters():
        torch.nn.init.normal_(parameter)
    token = tokenizer(torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[False, False, True]]))
    expected = tokenizer.weight[:, 0] + 2 * tokenizer.weight[:, 1] + tokenizer.missing[:, 2] + tokenizer.bias
    torch.testing.assert_close(token, expected[None, None])


def test_categories_of_different_columns_never_share_a_row() -> None:
    torch.manual_seed(0)
    tokenizer = CategoricalTokenizer((CategoricalFeature("a", "a", 4), CategoricalFeature("b", "b", 6)), width=8)
    initialise(tokenizer, CONFIG)
    ids = torch.tensor([[first, second] for first in range(4) for second in range(6)], dtype=torch.int32)
    tokens = tokenizer(ids)
    table_a, table_b = tokenizer.table.weight[:4], tokenizer.table.weight[4:]
    torch.testing.assert_close(tokens[0], table_a[ids[:, 0].long()] + tokenizer.bias[0])
    torch.testing.assert_close(tokens[1], table_b[ids[:, 1].long()] + tokenizer.bias[1])


@pytest.mark.parametrize("wrong", [-1, -100, 4, 5, 2**31 - 1])
def test_an_id_out_of_range_is_read_as_unseen(wrong: int) -> None:
    torch.manual_seed(0)
    tokenizer = CategoricalTokenizer((CategoricalFeature("a", "a", 4), CategoricalFeature("b", "b", 6)), width=8)
    torch.nn.init.normal_(tokenizer.table.weight)
    torch.nn.init.normal_(tokenizer.bias)
    wrong_ids, unseen_ids = torch.tensor([[wrong, 3]], dtype=torch.int32), torch.tensor([[UNSEEN_ID, 3]])
    assert torch.equal(tokenizer(wrong_ids), tokenizer(unseen_ids))


def test_order_of_tokens(spec: InputSpec, make_inputs: Callable[[int], Inputs]) -> None:
    """Single numbers, then groups, then categories, each in the order of the spec."""
    torch.manual_seed(0)
    tokenizer = Tokenizer(CONFIG, spec)
    initialise(tokenizer, CONFIG)
    numeric, missing, categorical = make_inputs(3)
    tokens = tokenizer(numeric, missing, categorical)
    assert tokens.shape == (tokenizer.num_tokens, 3, 8) == (7, 3, 8)
    assert tokenizer.numeric is not None
    assert tokenizer.categorical is not None
    torch.testing.assert_close(tokens[:3], tokenizer.numeric(numeric[:, [0, 2, 5]], missing[:, [0, 2, 5]]))
    torch.testing.assert_close(tokens[3:4], tokenizer.groups[0](numeric[:, [1, 4]], missing[:, [1, 4]]))
    torch.testing.assert_close(tokens[4:5], tokenizer.groups[1](numeric[:, [3]], missing[:, [3]]))
    torch.testing.assert_close(tokens[5:], tokenizer.categorical(categorical))


def test_initialisation_of_exceptions() -> None:
    """Missing, unseen and padding start at 0, a null category like any other; a number starts linear."""
    torch.manual_seed(0)
    spec = InputSpec(
        (NumericFeature("x", "x", bins=(0.0, 1.0, 2.0)),),
        (CategoricalFeature("a", "a", 4), CategoricalFeature("b", "b", 5)),
        num_outputs=1,
    )
    tokenizer = Tokenizer(CONFIG, spec)
    initialise(tokenizer, CONFIG)
    assert tokenizer.numeric is not None
    assert tokenizer.numeric.weight is not None
    assert tokenizer.numeric.slope is not None
    assert not tokenizer.numeric.missing.any()
    assert not tokenizer.numeric.weight.any()
    assert tokenizer.numeric.slope.abs().min() > 0
    assert tokenizer.numeric.slope.abs().max() <= 8**-0.5
    assert tokenizer.categorical is not None
    weight = tokenizer.categorical.table.weight
    for table in (weight[:4], weight[4:]):
        assert not table[PAD_ID].any()
        assert not table[UNSEEN_ID].any()
        assert table[NULL_ID].abs().min() > 0
        assert table[3:].abs().max() <= 8**-0.5
