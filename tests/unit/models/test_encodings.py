import torch

from mlpipe.models.encodings import PeriodicEncoding, PiecewiseLinearEncoding


def test_piecewise_linear_encoding_by_hand() -> None:
    encoding = PiecewiseLinearEncoding([(0.0, 1.0, 3.0), (10.0, 20.0), ()])
    values = torch.tensor([[-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 5.0], [5.0, 10.0, 15.0, 20.0, 25.0, 10.0, 10.0], [3.0] * 7])
    many, one, none = encoding(values)
    assert many.tolist() == [[-1, 0], [0, 0], [0.5, 0], [1, 0], [1, 0.5], [1, 1], [1, 2]]
    assert one.tolist() == [[-0.5, 0], [0, 0], [0.5, 0], [1, 0], [1.5, 0], [0, 0], [0, 0]]
    assert none.tolist() == [[0, 0]] * 7


def test_edges_that_float32_cannot_tell_apart_are_merged() -> None:
    encoding = PiecewiseLinearEncoding([(0.0, 1.0, 1.0 + 1e-12, 2.0), (5.0, 5.0 + 1e-12)])
    assert encoding.size == 2
    out = encoding(torch.tensor([[1.5], [5.0]]))
    assert out.tolist() == [[[1, 0.5]], [[0, 0]]]


def test_without_bins_there_is_nothing_to_encode() -> None:
    assert PiecewiseLinearEncoding([(), ()]).size == 0


def test_periodic_encoding_by_hand() -> None:
    plain, shifted = PeriodicEncoding(1, 2), PeriodicEncoding(1, 2, phases=True)
    assert shifted.phases is not None
    with torch.no_grad():
        for encoding in (plain, shifted):
            encoding.frequencies.copy_(torch.tensor([[[0.25, 0.5]]]))
        shifted.phases.copy_(torch.tensor([[[0.0, torch.pi]]]))
    x = torch.tensor([[1.0]])
    torch.testing.assert_close(plain(x), torch.tensor([[[0.0, -1.0, 1.0, 0.0]]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(shifted(x), torch.tensor([[[0.0, 1.0]]]), atol=1e-6, rtol=0)
