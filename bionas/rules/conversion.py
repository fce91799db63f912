"""Any model under a rule: its convs and linears replaced, by ours or by biotorch's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bionas import catalog
from bionas.rules.layers import RuleConv2d, RuleLinear
from bionas.rules.models import seed_feedback
from bionas.seeds import derive

RULES = ", ".join(catalog.RULES)
BACKENDS = ("native", "biotorch")


def convert(
    model: nn.Module, rule: str, backend: str = "native", scale: str = "init_std", init: str = "xavier", seed: int = 0
) -> tuple[nn.Module, tuple[str, ...]]:
    """Give every conv and linear of `model` the rule; return the model and the names of what stayed BP.

    Weights and biases are kept (the same Parameter objects), and a module that is used twice stays one module. What stays BP is
    every other module that owns a parameter of two or more dimensions: transposed and 1-d convs, recurrent layers, embeddings, and
    subclasses of conv and linear whose own `forward` a replacement would lose. Under `bp` that is every layer. The model is changed
    in place, except that a bare layer is replaced. Raises ValueError for what biotorch's layers cannot do.
    """
    if rule in catalog.NETWORK_RULES:
        raise ValueError(f"rule: {rule} needs a network that listens at its own output, by connect_output; allowed for convert: {RULES}")
    catalog.choose("rule", rule, catalog.RULES)
    catalog.choose("backend", backend, BACKENDS)
    if backend == "biotorch" and rule not in catalog.BIOTORCH:
        raise ValueError(f"backend: biotorch has no rule {rule!r}; allowed for it: native")
    if backend == "biotorch" and (scale, init) != ("init_std", "xavier"):
        raise ValueError("backend: biotorch's layers know scale 'init_std' and init 'xavier' alone; allowed for others: native")
    replaced: dict[nn.Module, nn.Module] = {}

    def visit(module: nn.Module, name: str) -> nn.Module:
        if isinstance(module, nn.Conv2d | nn.Linear) and type(module) in (nn.Conv2d, nn.Linear, RuleConv2d, RuleLinear):
            if module not in replaced:
                with torch.random.fork_rng(devices=[]):  # constructors draw from the global stream
                    torch.manual_seed(derive(seed, "biotorch", name))
                    replaced[module] = replacement(module, rule, backend, scale, init)
            return replaced[module]
        for child_name, child in module._modules.items():  # named_children would skip a tied module's second name
            module._modules[child_name] = child and visit(child, f"{name}.{child_name}")
        return module

    model = visit(model, "")
    seed_feedback(model, seed)
    follow = set() if rule == "bp" else set(replaced.values())
    owners = ((name, m) for name, m in model.named_modules() if any(p.dim() >= 2 for p in m.parameters(recurse=False)))
    return model, tuple(name for name, m in owners if m not in follow)


def replacement(
    layer: nn.Conv2d | nn.Linear, rule: str, backend: str = "native", scale: str = "init_std", init: str = "xavier"
) -> nn.Module:
    """Return a conv or linear under the rule, with the weight and bias of `layer`."""
    if isinstance(layer, nn.Conv2d):
        names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
        geometry: dict[str, Any] = {name: getattr(layer, name) for name in names}
    else:
        geometry = {"in_features": layer.in_features, "out_features": layer.out_features}
    geometry["bias"] = layer.bias is not None
    new: Any
    if backend == "biotorch":
        new = _biotorch_layer(layer, geometry, rule).to(device=layer.weight.device, dtype=layer.weight.dtype)
    else:
        kind = RuleConv2d if isinstance(layer, nn.Conv2d) else RuleLinear
        new = kind(**geometry, device=layer.weight.device, dtype=layer.weight.dtype, rule=rule, scale=scale, init=init)
    new.weight, new.bias = layer.weight, layer.bias
    return new.train(layer.training)


def _biotorch_layer(layer: nn.Conv2d | nn.Linear, geometry: dict[str, Any], rule: str) -> nn.Module:
    from biotorch.layers import backpropagation, fa_constructor  # two seconds of import that nothing else pays

    if isinstance(layer, nn.Conv2d) and (geometry["padding_mode"] != "zeros" or isinstance(geometry["padding"], str)):
        raise ValueError("backend: biotorch ignores padding modes and crashes on padding='same'; allowed: native")
    package = backpropagation if rule == "bp" else fa_constructor
    kind = package.Conv2d if isinstance(layer, nn.Conv2d) else package.Linear
    return kind(**geometry, layer_config={"type": "backpropagation" if rule == "bp" else rule})
