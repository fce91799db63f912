"""Our SGD is torch's, to the bit."""

import pytest
import torch

from bionas.training.sgd import SGD


def parameters():
    stream = torch.Generator().manual_seed(0)
    return [torch.randn(3, 4, generator=stream).requires_grad_(), torch.randn(5, generator=stream).requires_grad_()]


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 3e-4])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_torchs_optimiser_takes_the_same_steps(momentum, weight_decay, nesterov):
    if nesterov and not momentum:
        pytest.skip("nesterov's momentum needs one")
    settings = {"lr": 0.1, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
    ours, theirs = parameters(), parameters()
    first, second = SGD(ours, **settings), torch.optim.SGD(theirs, **settings)
    stream = torch.Generator().manual_seed(1)
    for step in range(6):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn(p.shape, generator=stream)
            q.grad = p.grad.clone()
        if step in (0, 3):  # a path that leaves a parameter out
            ours[1].grad = theirs[1].grad = None
        first.lr = second.param_groups[0]["lr"] = 0.1 / (step + 1)
        first.step(), second.step()
        assert all(torch.equal(p, q) for p, q in zip(ours, theirs, strict=True))


def test_a_state_read_back_goes_on_with_the_same_bits():
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True}
    params = parameters()
    optimiser = SGD(params, **settings)
    for p in params:
        p.grad = torch.ones_like(p)
    params[1].grad = None
    optimiser.step()
    copies = [p.detach().clone().requires_grad_() for p in params]
    other = SGD(copies, **settings)
    other.load_state_dict(optimiser.state_dict())
    for p in (*params, *copies):
        p.grad = torch.ones_like(p)
    optimiser.step(), other.step()
    assert all(torch.equal(p, q) for p, q in zip(params, copies, strict=True))
