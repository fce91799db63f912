"""A layer, its gradients, and how far one tensor is from another."""

import torch
from torch import nn

from bionas.rules import RuleConv2d


def conv(rule, in_channels=8, out_channels=8, kernel_size=3, **kwargs):
    layer = RuleConv2d(in_channels, out_channels, kernel_size, rule=rule, **kwargs)
    nn.init.xavier_uniform_(layer.weight)
    layer.reseed(0, "")
    return layer


def gradients(layer, x, upstream=None):
    x = x.detach().clone().requires_grad_()
    out = layer(x)
    out.backward(torch.ones_like(out) if upstream is None else upstream)
    grads = [x.grad, layer.weight.grad.clone(), None if layer.bias is None else layer.bias.grad.clone()]
    layer.zero_grad()
    return grads


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()
