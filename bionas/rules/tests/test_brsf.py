"""brSF redraws once an update: not once a forward, and never in evaluation."""

import pytest
import torch
from torch import nn

from bionas.rules import RuleLinear, advance, seed_feedback
from bionas.rules.tests.helpers import conv
from bionas.seeds import derive


class TestBrSF:
    """Redraws once an update: not once a forward, and never in evaluation."""

    def model(self):
        return seed_feedback(nn.Sequential(conv("brsf"), conv("brsf"), conv("frsf"), RuleLinear(4, 4, rule="brsf")), 3)

    def feedbacks(self, model):
        return [layer.feedback().clone() for layer in model]

    def test_keeps_B_between_updates_whatever_runs(self):
        model, before = self.model(), None
        before = self.feedbacks(model)
        state = torch.get_rng_state()
        for training in (True, False):
            model[:3].train(training)(torch.randn(1, 8, 9, 9, generator=torch.Generator().manual_seed(0))).sum().backward()
        assert all(map(torch.equal, before, self.feedbacks(model)))
        assert torch.equal(state, torch.get_rng_state())

    def test_redraws_after_an_update_and_only_brsf_does(self):
        model = self.model()
        before = self.feedbacks(model)
        advance(model)
        assert [torch.equal(a, b) for a, b in zip(before, self.feedbacks(model), strict=True)] == [False, False, True, False]

    def test_layers_of_one_shape_draw_apart(self):
        first, second = self.feedbacks(self.model())[:2]
        assert not torch.equal(first.abs(), second.abs())

    def test_each_magnitude_is_a_hash_of_its_layer_its_place_and_the_update(self):
        """By splitmix64 in Python's own whole numbers."""

        def scrambled(z):
            z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
            z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
            return z ^ z >> 31

        golden, model = 0x9E3779B97F4A7C15, self.model()
        for update in range(3):
            for name in (1, 3):
                R, key = model[name].R.flatten(), derive(3, "feedback", str(name), 0)
                fan = sum(torch.nn.init._calculate_fan_in_and_fan_out(model[name].weight))
                for place in (1, 2, len(R)):
                    drawn = scrambled((place * golden + key + scrambled(update * golden % 2**64)) % 2**64) >> 40
                    assert R[place - 1].item() == pytest.approx(drawn / 2**24 * (6 / fan) ** 0.5, rel=1e-6)
            advance(model)

    def test_a_restored_model_goes_on_with_the_same_draws(self):
        model, restored = self.model(), self.model()
        for _ in range(3):
            advance(model)
        restored.load_state_dict(model.state_dict())
        for _ in range(2):
            advance(model), advance(restored)
        assert all(map(torch.equal, self.feedbacks(model), self.feedbacks(restored)))

    def test_on_request_it_redraws_at_every_forward_as_biotorch_in_evaluation_too(self):
        layer = conv("brsf", brsf_redraw="forward").eval()
        x = torch.randn(1, 8, 9, 9)
        first, _, third = layer.feedback().clone(), layer(x), layer.feedback().clone()
        advance(layer)
        assert not torch.equal(first, third) and torch.equal(third, layer.feedback())

    def test_activation_checkpointing_changes_nothing(self):
        from torch.utils.checkpoint import checkpoint

        model = self.model()[:3]
        x = torch.randn(2, 8, 9, 9, requires_grad=True)
        (plain,) = torch.autograd.grad(model(x).square().sum(), x)
        (again,) = torch.autograd.grad(checkpoint(model, x, use_reentrant=False, preserve_rng_state=False).square().sum(), x)
        torch.testing.assert_close(again, plain, rtol=0, atol=0)
