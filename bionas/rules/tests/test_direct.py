"""Direct feedback: every layer learns by the output's error, in training and in evaluation, pass by pass."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bionas.networks import parts, resnet20
from bionas.rules import RuleConv2d, convert, true_gradient


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


class TestDirectFeedback:
    """DFA (Nøkland 2016): the hidden layer's error is B e, e = ∂L/∂logits."""

    def net(self, rule="dfa"):
        return parts.initialise(resnet20(rule, 5, 1), 0).double().eval()

    def test_a_layers_weight_gradient_is_that_of_its_output_under_the_projected_error(self):
        net, x = self.net(), torch.rand(3, 1, 8, 8, dtype=torch.float64)
        seen = {}
        block = net.blocks[-1]
        block.conv2.register_forward_pre_hook(lambda _, args: seen.update(hidden=args[0]))  # after ReLU(BN(conv1))
        logits = net(x)
        probabilities = logits.detach().softmax(1)
        probabilities[range(3), [0, 1, 2]] -= 1
        error = probabilities / 3  # the gradient of a mean cross-entropy, by hand
        F.cross_entropy(logits, torch.tensor([0, 1, 2])).backward(retain_graph=True)
        B = block.conv2.direct_feedback(5, seen["hidden"])
        assert B.shape == (5, 64, 2, 2) and B.abs().max() <= 256**-0.5
        projected = torch.einsum("nc,cdhw->ndhw", error, B)
        (theirs,) = torch.autograd.grad((seen["hidden"] * projected).sum(), block.conv1.weight, retain_graph=True)
        assert relative(block.conv1.weight.grad, theirs) < 1e-10
        assert relative(net.linear.bias.grad, error.sum(0)) < 1e-10  # the last layer learns by its own error

    @pytest.mark.parametrize("training", [True, False])
    def test_in_training_and_in_evaluation_the_input_gets_the_first_layers_projection(self, training):
        net = self.net().train(training)
        x = torch.rand(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
        for labels in ([0, 1], [2, 3]):  # the second pass is no echo of the first
            logits = net(x)
            (grad,) = torch.autograd.grad(F.cross_entropy(logits, torch.tensor(labels)), x)
            error = logits.detach().softmax(1)
            error[range(2), labels] -= 1
            B = net.conv.direct_feedback(5, x)
            std = net.normalize.std
            assert relative(grad, torch.einsum("nc,cdhw->ndhw", error / 2, B) / std) < 1e-10

    def test_two_passes_in_one_graph_keep_their_errors_apart(self):
        net, (x, y) = self.net(), torch.rand(2, 1, 1, 8, 8, dtype=torch.float64)
        x.requires_grad_(), y.requires_grad_()
        both = torch.autograd.grad(net(x).square().sum() + 3 * net(y).square().sum(), (x, y))
        assert relative(both[0], torch.autograd.grad(net(x).square().sum(), x)[0]) < 1e-12
        assert relative(both[1], torch.autograd.grad(3 * net(y).square().sum(), y)[0]) < 1e-12

    def test_the_true_gradient_is_backpropagations(self):
        net, bp = self.net(), self.net("bp")
        x = torch.rand(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
        with true_gradient(net):
            ours = torch.autograd.grad(net(x).square().sum(), x)[0]
        assert relative(ours, torch.autograd.grad(bp(x).square().sum(), x)[0]) < 1e-12

    def test_what_cannot_carry_it_says_so(self):
        with pytest.raises(ValueError, match="needs a network"):
            RuleConv2d(1, 1, 3, rule="dfa")(torch.rand(1, 1, 5, 5, requires_grad=True))
        with pytest.raises(ValueError, match="dfa"):
            convert(nn.Linear(2, 2), "dfa")
