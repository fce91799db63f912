"""Any model under a rule: what is replaced, what is kept, and what is refused."""

import copy

import pytest
import torch
from torch import nn

from bionas import catalog
from bionas.rules import RuleConv2d, RuleLinear, convert, true_gradient


class TestConvert:
    def test_keeps_weights_and_says_what_stayed(self):
        model = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3), "up": nn.ConvTranspose2d(4, 4, 2), "norm": nn.BatchNorm2d(4)})
        model["attention"] = nn.MultiheadAttention(8, 2)  # reads out_proj's weight itself: a replacement would not be asked
        model["lstm"] = nn.LSTM(2, 2)
        weight = model["conv"].weight
        converted, stayed = convert(model, "fa")
        assert isinstance(converted["conv"], RuleConv2d) and converted["conv"].weight is weight
        assert stayed == ("up", "attention", "attention.out_proj", "lstm")  # attention and lstm own weights themselves

    def test_everything_stays_bp_under_bp(self):
        assert convert(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "bp")[1] == ("0",)

    def test_a_tied_module_stays_one(self):
        shared = nn.Linear(4, 4)
        model, _ = convert(nn.Sequential(shared, nn.ReLU(), shared), "frsf")
        assert model[0] is model[2] and isinstance(model[0], RuleLinear)

    def test_a_bare_layer_is_converted(self):
        layer, stayed = convert(nn.Conv2d(3, 3, 1), "usf")
        assert layer.rule == "usf" and stayed == ()

    @pytest.mark.parametrize("rule", catalog.BIOTORCH)
    def test_biotorch_backend_computes_the_same_forward_with_biotorchs_layers(self, rule):
        plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
        x = torch.randn(2, 3, 8, 8)
        expected, state = plain(x), torch.get_rng_state()
        model, _ = convert(copy.deepcopy(plain), rule, backend="biotorch")
        assert torch.equal(state, torch.get_rng_state())
        assert all(type(model[i]).__module__.startswith("biotorch.") for i in (0, 3))
        torch.testing.assert_close(model(x), expected)
        with pytest.raises(ValueError, match="native"), true_gradient(model):
            pass

    def test_biotorchs_layers_draw_apart_and_follow_the_seed(self):
        def feedbacks(seed):
            model, _ = convert(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), "fa", backend="biotorch", seed=seed)
            return [layer.weight_backward for layer in model]

        (first, second), (other, _) = feedbacks(1), feedbacks(2)
        assert not torch.equal(first, second) and not torch.equal(first, other) and torch.equal(first, feedbacks(1)[0])

    def test_conversion_leaves_the_global_stream_alone(self):
        state = torch.get_rng_state()
        convert(nn.Sequential(nn.Linear(4, 4)), "fa")
        reference = torch.get_rng_state()
        torch.set_rng_state(state)
        nn.Sequential(nn.Linear(4, 4))
        assert torch.equal(torch.get_rng_state(), reference)

    def test_biotorch_backend_refuses_what_biotorch_gets_wrong(self):
        with pytest.raises(ValueError, match="padding"):
            convert(nn.Conv2d(3, 3, 3, padding="same"), "fa", backend="biotorch")
        with pytest.raises(ValueError, match="scale"):
            convert(nn.Conv2d(3, 3, 3), "usf", backend="biotorch", scale="none")

    def test_biotorch_backend_refuses_a_rule_that_biotorch_lacks(self, monkeypatch):
        """Its layers take any word for FA."""
        monkeypatch.setitem(catalog.RULES, "sign", catalog.RULES["usf"])
        with pytest.raises(ValueError, match="biotorch has no rule 'sign'"):
            convert(nn.Linear(2, 2), "sign", backend="biotorch")
