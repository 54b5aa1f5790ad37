import pytest
import torch
from torch.nn import functional

from mlpipe.models.blocks import Block, GatedMLP, RowDropout
from mlpipe.models.config import TransformerConfig


@pytest.mark.parametrize(
    ("gate", "activation"), [("swiglu", functional.silu), ("geglu", functional.gelu), ("reglu", functional.relu)]
)
def test_gated_mlp(gate: str, activation: type) -> None:
    torch.manual_seed(0)
    mlp = GatedMLP(width=8, hidden_width=16, gate=gate)
    x = torch.randn(3, 2, 8)
    gate_weight, up_weight = mlp.up.weight.chunk(2)
    expected = (activation(x @ gate_weight.T) * (x @ up_weight.T)) @ mlp.down.weight.T
    torch.testing.assert_close(mlp(x), expected)


def test_dropout_draws_one_mask_for_all_tokens_of_a_row() -> None:
    torch.manual_seed(0)
    dropped = RowDropout(0.25)(torch.ones(5, 200, 50))
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert not torch.equal(dropped[0, 0], dropped[0, 1])  # rows differ
    share = float((dropped[0] == 0).float().mean())
    assert share == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 10_000) ** 0.5)


def test_dropout_is_for_training_only() -> None:
    x = torch.ones(2, 3, 4)
    assert RowDropout(0.5).eval()(x) is x
    assert RowDropout(0.0)(x) is x


def test_a_block_is_the_identity_where_its_last_matrices_are_zero() -> None:
    block = Block(TransformerConfig(width=16, num_heads=2))
    torch.nn.init.zeros_(block.attention.out.weight)
    torch.nn.init.zeros_(block.mlp.down.weight)
    queries, memory = torch.randn(2, 3, 16), torch.randn(4, 3, 16)
    assert torch.equal(block(queries, memory), queries)
    assert torch.equal(block(queries), queries)


def test_without_the_attention_norm_the_scale_of_the_memory_counts() -> None:
    torch.manual_seed(0)
    config = TransformerConfig(width=16, num_heads=2, dropout=0.0)
    queries, memory = torch.randn(2, 3, 16), torch.randn(4, 3, 16)
    normed, plain = Block(config), Block(config, attention_norm=False)
    torch.testing.assert_close(normed(queries, memory), normed(queries, memory * 10), atol=1e-4, rtol=0)
    assert (plain(queries, memory) - plain(queries, memory * 10)).abs().max() > 0.1
