"""The counter of a device that is not there, against counts by hand."""

import pytest
import torch
import torch.nn.functional as F

from bionas.training.counting import Kernel, count


def there(*shape, **options):
    return torch.empty(*shape, device="meta", **options)


def test_a_kernel_moves_its_distinct_inputs_and_outputs_an_expanded_dimension_once():
    x, y = there(6, 5), there(1, 5)
    counted = count(lambda: (x + y.expand(6, 5), x * x, x.view(5, 6), x.t(), torch.empty_like(x)), (x, y))
    assert counted.kernels == [Kernel("add", 4 * (30 + 5 + 30), 0), Kernel("mul", 4 * (30 + 30), 0)]
    assert counted.bytes == 500 and counted.seconds == 500 / 1.5e12


def test_products_and_convs_are_counted_twice_a_multiply_add():
    x, weight = there(2, 4, 8, 8, requires_grad=True), there(6, 2, 3, 3, requires_grad=True)
    counted = count(lambda: F.conv2d(x, weight, groups=2, padding=1).sum().backward(), (x, weight))
    forward = 2 * (2 * 6 * 64) * (2 * 9)
    assert {k.name: k.flop for k in counted.kernels if k.flop} == {"convolution": forward, "convolution_backward": 2 * forward}
    assert count(lambda: there(3, 4, 5) @ there(3, 5, 7)).kernels[0].flop == 2 * 3 * 4 * 5 * 7


SYNCS = {
    "item": lambda x: x.sum().item(),
    "a branch": lambda x: 1 if x.sum() > 0 else 0,
    "nonzero": lambda x: x.nonzero(),
    "a mask": lambda x: x[x > 0],
    "a list of the host's": lambda x: torch.tensor([1.0, 2.0], device="meta"),
    "to the host": lambda x: x.cpu(),
    "from the host": lambda x: torch.ones(3).to("meta"),
    "sizes unknown": lambda x: torch.repeat_interleave(torch.ones(3, dtype=torch.int64, device="meta")),
}


@pytest.mark.parametrize("planted", SYNCS)
def test_what_makes_the_host_wait_is_seen(planted):
    assert sum(count(lambda: SYNCS[planted](there(3))).syncs.values()) == 1


def test_work_of_the_device_alone_makes_nobody_wait():
    x = there(3, requires_grad=True)
    assert not count(lambda: (x * 2).relu().sum().backward(), (x,)).syncs


def test_what_is_kept_for_the_backward_pass_and_the_most_at_once():
    x, weight = there(100), there(100, requires_grad=True)

    def run():
        y = (x * weight).exp()  # keeps its own result, x is there before
        del y

    counted = count(run, (x, weight))
    assert counted.saved == 400
    assert counted.peak == 400 * 4  # x, the weight, the product and its exponential
