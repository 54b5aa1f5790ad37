"""The Transformer of `mlpipe.bundle.folding` in torch, for the CPU of a server: the same logits, fewer operations.

Notable:

- The first block has no norm before it by default: its queries, keys and values are linear in the tokens and are looked
  up with them (`mlpipe.bundle.lookup`).
- A softmax is a power of 2, with the logarithm in the queries, and a division behind the product with the values. What
  torch does to find a row's largest score first takes twice as long as all of it; scores that need it are rare, and
  get it.
- Tokens are filled up to a multiple of 8 in the scores of the other blocks. Products whose sides are odd take twice as
  long; the scores of what was filled in are left out.

Legend of the shapes: B rows, T column tokens, S tokens filled up, D width, H heads, E head width, N = B H, R readout
tokens, M hidden width, K members, O outputs, W numbers that a token's matrix gives.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mlpipe.arrays import Arrays
from mlpipe.bundle.folding import blocks_of, queries_keys_values, scores_values, transformers
from mlpipe.bundle.lookup import Lookup, can_look_up
from mlpipe.models import TableModel, Transformer
from mlpipe.models.blocks import GATES, Block
from mlpipe.models.heads import LinearHead
from mlpipe.models.norm import EPSILON, rms_norm

#: Rows that go through at once: more would not stay in the processor's caches.
MOST_ROWS = 128
#: Tokens are filled up to a multiple of this.
_MULTIPLE = 8
#: Exponents up to which a softmax is taken without a look at the largest: float32 has room for their sums and products.
_SAFE_EXPONENT = 64.0
_LOG2_E = math.log2(math.e)


class FoldedNetwork:
    """A `Network` of a model that `mlpipe.bundle.folding.can_fold`; weights are prepared once.

    Args:
        model: On the CPU, in evaluation mode.
    """

    def __init__(self, model: TableModel) -> None:
        self._logits = (model.config.num_members, model.spec.num_outputs)
        with torch.inference_mode():
            self._networks = [_Folded(network) for network in transformers(model)]

    def __call__(self, arrays: Arrays) -> Tensor:
        """See `mlpipe.bundle.network.Network`."""
        if not len(arrays):
            return torch.empty(0, *self._logits)
        most = MOST_ROWS * torch.get_num_threads()
        parts = [torch.from_numpy(part) for part in (arrays.numeric, arrays.missing, arrays.categorical)]
        batches = zip(*(torch.split(part, most) for part in parts), strict=True)
        with torch.inference_mode():
            found = [torch.cat([network(*batch) for network in self._networks], dim=1) for batch in batches]
            return found[0] if len(found) == 1 else torch.cat(found)


class _Folded:
    """One `Transformer`.

    Shape:
        numeric (B, F), missing (B, F), categorical (B, C), B > 0 -> logits (B, K, O).
    """

    def __init__(self, model: Transformer) -> None:
        config = model.config
        self._model = model
        self._heads, self._head_width = config.num_heads, config.head_width
        self._tokens, self._readouts = model.tokenizer.num_tokens, model.num_readouts
        trunk, last = blocks_of(model)
        # In the last block what was filled in would be of no use.
        self._sizes = [_MULTIPLE * math.ceil(self._tokens / _MULTIPLE)] * len(trunk) + [self._tokens]
        exact = []
        for block in trunk:
            query, key, value = queries_keys_values(model, block)
            exact.append(_side_by_side(query * _LOG2_E, key, value))
        scores, value = scores_values(model, last)
        exact.append(_side_by_side(scores * _LOG2_E, value))
        self._matrices_TDW = [matrix.float() for matrix in exact]
        self._rest = [_Rest(block) for block in (*trunk, last)]
        self._first_norm, self._additive = config.first_norm, model.additive
        self._lookup: Lookup | None = None
        if can_look_up(model.tokenizer) and not config.first_norm:
            same = torch.eye(config.width, dtype=torch.float64).expand(self._tokens, -1, -1)
            maps = [exact[0], same] if trunk else [exact[0]]  # the last block does not go on from the tokens
            if model.additive is not None:
                maps.append(model.additive.weight.double())
            self._lookup = Lookup(model.tokenizer, maps, self._sizes[0])

    def __call__(self, numeric_BF: Tensor, missing_BF: Tensor, categorical_BC: Tensor) -> Tensor:
        rows = len(numeric_BF)
        if self._lookup is not None:
            made_SBW, *tokens = self._lookup(numeric_BF, missing_BF, categorical_BC)
            alone_BO = None if self._additive is None else tokens.pop().sum(0)
        else:
            tokens = [self._model.tokenizer(numeric_BF, missing_BF, categorical_BC).contiguous()]
            made_SBW = self._make(0, rms_norm(tokens[0]) if self._first_norm else tokens[0])
            alone_BO = None if self._additive is None else self._additive(tokens[0])
        *trunk, last = self._rest
        if trunk:
            x_TBD = tokens[0]
            for index, rest in enumerate(trunk):
                x_TBD = rest(x_TBD, self._attend(made_SBW))
                made_SBW = self._make(index + 1, x_TBD * _inverse_rms(x_TBD))
        x_RBD = last(self._model.readout.weight.repeat(1, rows, 1), self._read(made_SBW))
        head = self._model.head
        if isinstance(head, LinearHead):
            logits_KBO = torch.bmm(x_RBD, head.weight).mul_(_inverse_rms(x_RBD))
            logits_BKO = logits_KBO.transpose(0, 1) + head.bias
        else:
            logits_BKO = head(rms_norm(x_RBD).transpose(0, 1))
        return logits_BKO if alone_BO is None else logits_BKO.add_(alone_BO.unsqueeze(1))

    def _make(self, index: int, memory_TBD: Tensor) -> Tensor:
        """What the attention of a block needs, (S, B, W)."""
        matrix_TDW, size = self._matrices_TDW[index], self._sizes[index]
        made_SBW = memory_TBD.new_empty(size, memory_TBD.shape[1], matrix_TDW.shape[2])
        made_SBW[self._tokens :] = 0
        torch.bmm(memory_TBD, matrix_TDW, out=made_SBW[: self._tokens])
        return made_SBW

    def _attend(self, made_SBW: Tensor) -> Tensor:
        """Attention among the columns, (T, B, D) before the output's matrix."""
        tokens, size = self._tokens, self._head_width
        made_NSW = made_SBW.view(len(made_SBW), -1, 3 * size).transpose(0, 1)
        query_NSE, key_NSE, value_NSE = torch.split(made_NSW, size, dim=2)
        scores_NSS = torch.bmm(query_NSE, key_NSE.transpose(1, 2))
        _tame(scores_NSS, scores_NSS[..., :tokens], dim=2)
        weights_NTT = scores_NSS[:, :tokens].exp2_()[..., :tokens]
        out_NTE = torch.bmm(weights_NTT, value_NSE[:, :tokens])
        return self._divide(out_NTE, weights_NTT.sum(2, keepdim=True))

    def _read(self, made_TBW: Tensor) -> Tensor:
        """Attention from the readout tokens over the columns, (R, B, D) before the output's matrix."""
        size = self._head_width
        made_TNW = made_TBW.view(self._tokens, -1, self._readouts + size)
        scores_TNR, value_TNE = torch.split(made_TNW, [self._readouts, size], dim=2)
        _tame(scores_TNR, scores_TNR, dim=0)
        weights_TNR = scores_TNR.exp2()
        out_NRE = torch.bmm(weights_TNR.permute(1, 2, 0), value_TNE.transpose(0, 1))
        return self._divide(out_NRE, weights_TNR.sum(0).unsqueeze(2))

    def _divide(self, out_NTE: Tensor, sums_NT1: Tensor) -> Tensor:
        """Divide by the weights' sums; (T, B, D)."""
        rows, tokens, size = out_NTE.shape
        divided_TNE = out_NTE.new_empty(tokens, rows, size)
        torch.div(out_NTE, sums_NT1, out=divided_TNE.transpose(0, 1))
        return divided_TNE.view(tokens, rows // self._heads, self._heads * size)


class _Rest:
    """What a block does behind its attention.

    Shape:
        x (T, B, D), which is changed, and attended (T, B, D) -> (T, B, D).
    """

    def __init__(self, block: Block) -> None:
        self._out_DD = block.attention.out.weight.t().contiguous()
        self._activation = block.mlp.activation
        up = block.mlp.up.weight.double().clone()
        if self._activation is GATES["swiglu"]:
            # silu(g) u = g u / (1 + exp(-g)) = z v / (1 + 2^z) with z = -g log2(e), v = -u / log2(e)
            gate_MD, up_MD = up.chunk(2)
            gate_MD *= -_LOG2_E
            up_MD /= -_LOG2_E
        self._up_D2M = up.float().t().contiguous()
        self._down_MD = block.mlp.down.weight.t().contiguous()

    def __call__(self, x_TBD: Tensor, attended_TBD: Tensor) -> Tensor:
        x = x_TBD.view(-1, x_TBD.shape[2])
        x.addmm_(attended_TBD.view(x.shape), self._out_DD)
        gate, up = torch.mm(x * _inverse_rms(x), self._up_D2M).chunk(2, dim=1)
        if self._activation is GATES["swiglu"]:
            hidden = (gate * up).div_(gate.exp2().add_(1))
        else:
            hidden = self._activation(gate) * up
        return x.addmm_(hidden, self._down_MD).view(x_TBD.shape)


def _inverse_rms(x: Tensor) -> Tensor:
    """What `rms_norm` multiplies by, (..., 1)."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return torch.addcmul(length.new_tensor(EPSILON), length, length, value=1 / x.shape[-1]).rsqrt_()


def _tame(scores: Tensor, real: Tensor, dim: int) -> None:
    """Subtract the largest score if powers of 2 of them could leave float32; of `scores` those that are `real`."""
    low, high = torch.aminmax(scores)
    if low.item() < -_SAFE_EXPONENT or high.item() > _SAFE_EXPONENT:
        real -= real.amax(dim, keepdim=True)


def _side_by_side(*maps_THWD: Tensor) -> Tensor:
    """Matrices of the same tokens as one that gives for each head what all of them give: (T, D, H W)."""
    return torch.cat(maps_THWD, dim=2).flatten(1, 2).transpose(1, 2)
