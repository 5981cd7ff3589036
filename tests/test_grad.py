"""`dl.grad`: right gradients, inputs put back, and every wrong call told instead of answered wrongly."""

import pytest
import torch

from dl.grad import compute_numeric_gradient, rel_error

X = torch.linspace(-1, 2, 12, dtype=torch.float64).reshape(3, 4)


def cube(x):
    return x**3


def test_gradient_of_a_function_and_of_its_upstream():
    upstream = torch.linspace(1, 3, 12, dtype=torch.float64).reshape(3, 4)
    assert rel_error(compute_numeric_gradient(cube, X), 3 * X**2) < 1e-8
    assert rel_error(compute_numeric_gradient(cube, X, upstream), 3 * X**2 * upstream) < 1e-8
    assert rel_error(compute_numeric_gradient(lambda x: x.sum(), X), torch.ones_like(X)) < 1e-8


def test_a_wrong_gradient_is_told_apart():
    assert rel_error(compute_numeric_gradient(cube, X), 3 * X**2 + 1e-5) > 1e-7


def test_function_may_use_the_outer_tensor():
    x = X.clone()
    assert rel_error(compute_numeric_gradient(lambda _: cube(x), x), 3 * X**2) < 1e-8


@pytest.mark.parametrize("view", [lambda x: x.t(), lambda x: x[:, ::2], lambda x: x.requires_grad_()])
def test_views_and_tracked_tensors_are_measured_and_put_back(view):
    x = view(X.clone())
    before = x.detach().clone()
    gradient = compute_numeric_gradient(cube, x)
    assert rel_error(gradient, 3 * before**2) < 1e-8
    assert torch.equal(x.detach(), before) and not gradient.requires_grad


def test_an_interrupted_measurement_leaves_its_input_as_it_was():
    x = torch.arange(4.0, dtype=torch.float64)
    calls = iter(range(9))

    def interrupted(v):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return v**2

    with pytest.raises(KeyboardInterrupt):
        compute_numeric_gradient(interrupted, x, h=0.1)
    assert x.tolist() == [0, 1, 2, 3]


def test_float32_needs_a_wide_step():
    x = X.float()
    with pytest.raises(TypeError, match="x is float32 and h is 1e-07.*x.double"):
        compute_numeric_gradient(cube, x)
    assert rel_error(compute_numeric_gradient(cube, x, h=1e-2), 3 * x**2) < 1e-2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: compute_numeric_gradient(cube, [1.0]), TypeError, "must be a float64 tensor, got list"),
        (lambda: compute_numeric_gradient(cube, X.long()), TypeError, "got torch.int64"),
        (lambda: compute_numeric_gradient(cube, X, h=0), ValueError, "step h must be > 0"),
        (lambda: compute_numeric_gradient(cube, X[:1].expand(3, 4)), ValueError, "share memory.*x.clone"),
        (lambda: compute_numeric_gradient(cube, X, torch.ones(2, 2)), ValueError, r"\(3, 4\) but dLdf \(2, 2\)"),
        (lambda: rel_error(X, X[0]), ValueError, r"shapes differ, got \(3, 4\) and \(4,\)"),
        (lambda: rel_error(X > 0, X > 0), TypeError, "torch.bool.*int"),
    ],
)
def test_wrong_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_rel_error_is_one_number_for_the_whole_tensor():
    x, y = torch.tensor([1.0, 100.0]), torch.tensor([2.0, 100.0])
    assert rel_error(x, y) == pytest.approx(1 / 200)
    assert rel_error(torch.zeros(3), torch.zeros(3)) == 0 and rel_error(torch.zeros(0), torch.zeros(0)) == 0
    assert rel_error(torch.tensor([1, 2]), torch.tensor([1, 4])) == pytest.approx(2 / 6)
    assert rel_error(torch.tensor(1.0), 1.0) == 0
    assert rel_error(torch.tensor([float("nan")]), torch.tensor([1.0])) != rel_error(x, x)
