"""RealMLP-TD and TabM-D through pytabkit, FT-Transformer through rtdl_revisiting_models.

pytabkit's estimators bring a recipe of their own; rtdl brings the network and its optimiser, and the rest of the recipe
here is that of its paper (Gorishniy et al. 2021): quantile-transformed numbers, a standardised target, batches by the
number of rows, a patience of 16 epochs. Neither takes missing numbers: they are filled in, and flagged.
"""

from __future__ import annotations

import math
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from mlpipe.data.config import default_batch_size
from mlpipe.research.baselines.prepared import Fitted, Floats, Inputs, Problem, Rows
from mlpipe.training.quiet import quiet_lightning

#: Epochs of the FT-Transformer without a better validation loss before the fit ends, and most epochs.
PATIENCE, MOST_EPOCHS = 16, 300
#: Rows that go through the FT-Transformer at once when nothing is learnt.
EVAL_ROWS = 1_024


def fit_realmlp(problem: Problem, seed: int) -> Fitted:
    """RealMLP-TD (Holzmüller et al. 2024): pytabkit's tuned defaults, 256 epochs of which the best is kept."""
    import pytabkit

    return _fit_pytabkit(
        pytabkit.RealMLP_TD_Classifier if problem.num_classes else pytabkit.RealMLP_TD_Regressor, problem, seed
    )


def fit_tabm(problem: Problem, seed: int) -> Fitted:
    """TabM-D (Gorishniy et al. 2024): pytabkit's defaults, stopped after 16 epochs that are no better."""
    import pytabkit

    return _fit_pytabkit(
        pytabkit.TabM_D_Classifier if problem.num_classes else pytabkit.TabM_D_Regressor, problem, seed
    )


def fit_ft_transformer(problem: Problem, seed: int) -> Fitted:
    """FT-Transformer (Gorishniy et al. 2021): its default of 3 blocks of width 192, with its default optimiser."""
    from rtdl_revisiting_models import FTTransformer

    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fill = _Fill(problem.train.inputs)
    net = FTTransformer(
        n_cont_features=fill.width,
        cat_cardinalities=[feature.cardinality for feature in problem.spec.categorical],
        d_out=max(problem.num_classes, 1),
        **FTTransformer.get_default_kwargs(),
    ).to(device)
    mean, scale = 0.0, 1.0
    if not problem.num_classes:
        mean, scale = float(problem.train.target.mean()), float(problem.train.target.std()) or 1.0

    def forward(x: Tensor, c: Tensor) -> Tensor:
        output: Tensor = net(x if x.shape[1] else None, c if c.shape[1] else None)
        return output

    def tensors(rows: Rows) -> tuple[Tensor, ...]:
        target = rows.target if problem.num_classes else ((rows.target - mean) / scale).astype(np.float32)
        weight = np.ones(len(rows), np.float32) if rows.weight is None else rows.weight / rows.weight.mean()
        return tuple(t.to(device) for t in (*_features(fill(rows.inputs)), *map(torch.from_numpy, (target, weight))))

    def loss(x: Tensor, c: Tensor, y: Tensor, w: Tensor) -> Tensor:
        output = forward(x, c)
        losses = functional.cross_entropy if problem.num_classes else functional.mse_loss
        return (losses(output if problem.num_classes else output[:, 0], y, reduction="none") * w).mean()

    epochs = _descend(net, net.make_default_optimizer(), loss, tensors(problem.train), tensors(problem.validation))

    @torch.inference_mode()
    def predict(inputs: Inputs) -> Floats:
        parts = zip(*(torch.split(t.to(device), EVAL_ROWS) for t in _features(fill(inputs))), strict=True)
        output = torch.cat([forward(x, c).float() for x, c in parts]).cpu()
        answer: Floats = (output.softmax(dim=1) if problem.num_classes else output[:, 0] * scale + mean).numpy()
        return answer

    return Fitted(predict, epochs)


def _descend(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[..., Tensor],
    train: tuple[Tensor, ...],
    validation: tuple[Tensor, ...],
) -> int:
    """Epochs until the validation loss gets no better; leaves the best weights in `net` and returns their epoch."""
    batch = default_batch_size(len(train[0]))
    lowest, best, kept = math.inf, 0, net.state_dict()
    for epoch in range(1, MOST_EPOCHS + 1):
        net.train()
        for rows in torch.split(torch.randperm(len(train[0]), device=train[0].device), batch):
            optimizer.zero_grad(set_to_none=True)
            loss(*(tensor[rows] for tensor in train)).backward()  # type: ignore[no-untyped-call]  # torch's
            optimizer.step()
        net.eval()
        with torch.inference_mode():
            parts = zip(*(torch.split(tensor, EVAL_ROWS) for tensor in validation), strict=True)
            value = sum(float(loss(*part)) * len(part[0]) for part in parts) / len(validation[0])
        if value < lowest:
            lowest, best, kept = value, epoch, {name: value.clone() for name, value in net.state_dict().items()}
        elif epoch - best >= PATIENCE:
            break
    net.load_state_dict(kept)
    return best


def _features(inputs: Inputs) -> tuple[Tensor, Tensor]:
    """float32 (T, F) and int64 (T, C)."""
    return torch.from_numpy(inputs.numeric.astype(np.float32)), torch.from_numpy(inputs.categorical.astype(np.int64))


def _fit_pytabkit(kind: Callable[..., Any], problem: Problem, seed: int) -> Fitted:
    fill = _Fill(problem.train.inputs)
    train, validation = problem.train, problem.validation
    model = kind(random_state=seed, n_threads=torch.get_num_threads())
    with _tame_lightning():
        model.fit(
            fill(train.inputs).frame(),
            train.target,
            fill(validation.inputs).frame(),
            validation.target,
            cat_indicator=[False] * fill.width + [True] * len(problem.spec.categorical),
        )
    answer = model.predict_proba if problem.num_classes else model.predict

    def predict(inputs: Inputs) -> Floats:
        with _tame_lightning():
            return np.asarray(answer(fill(inputs).frame()))

    return Fitted(predict)


class _Fill:
    """Missing numbers as the median of the training rows, and a flag for each column that lacks some there.

    Args:
        train: Inputs of the training rows.
    """

    def __init__(self, train: Inputs) -> None:
        self._flagged: npt.NDArray[np.bool_] = np.asarray(np.isnan(train.numeric).any(axis=0))
        self._median = np.nanmedian(train.numeric, axis=0)
        #: Numbers that come out.
        self.width = int(len(self._flagged) + self._flagged.sum())

    def __call__(self, inputs: Inputs) -> Inputs:
        missing = np.isnan(inputs.numeric)
        filled = np.where(missing, self._median, inputs.numeric)
        return Inputs(np.hstack([filled, missing[:, self._flagged]]), inputs.categorical)


@contextmanager
def _tame_lightning() -> Iterator[None]:
    """What pytabkit trains under reports on the hardware, and turns Ctrl-C into an exit."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        with quiet_lightning(), warnings.catch_warnings():
            # Of frames' columns, which pandas 3 hands out read-only; nothing writes to them.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            yield
    except SystemExit as stop:
        signal.signal(signal.SIGINT, handler)  # Lightning has let it be ignored
        raise KeyboardInterrupt from stop
