"""The search network: counted as the references count, and mixed as equation 7 says."""

import pytest
import torch
from torch import nn

from bionas.networks import Network, parts
from bionas.space import SearchSpace, random_genotype
from bionas.supernet import Supernet, initialise_alphas

BIO = ("fa", "usf", "brsf", "frsf")


class TestSupernet:
    def supernet(self, rules=BIO, nodes=2, **changes):
        net = Supernet(SearchSpace(rules, **changes), 1, 10, 4, 3, nodes, fused=False)
        return initialise_alphas(parts.initialise(net, 0), 0)

    @pytest.mark.parametrize("fused", [True, False])
    def test_parameters_of_dartss_search_network(self, fused):
        # quark0/darts at f276dd3, model_search.Network(16, 10, 8), counted by running it.
        net = Supernet(SearchSpace(["bp"]), 3, 10, 16, 8, 4, fused=fused)
        assert sum(p.numel() for p in net.weights()) == 1_930_618

    def test_layers_of_the_public_bionas_supernet(self):
        net = Supernet(SearchSpace(BIO, "released"), 3, 10, 16, 8, 4, fused=False)
        layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        assert len(layers) == 5_492 and sum(getattr(m, "rule", "bp") != "bp" for m in layers) == 5_376

    def test_mixture_is_a_softmax_over_what_is_allowed(self):
        net = self.supernet()
        for kind, rows in net.mixture().items():
            torch.testing.assert_close(rows.sum(1), torch.ones(5))
            assert torch.equal(rows == 0, getattr(net, f"barred_{kind}"))

    def test_a_one_hot_mixture_is_its_path(self):
        net = self.supernet().eval()
        genotype = random_genotype(net.space, 2, 7)
        paths = net.space.paths(genotype)
        one_hot = {kind: torch.zeros(5, len(net.space)) for kind in paths}
        for kind, path in paths.items():
            for edge, choice in enumerate(path):
                if choice is not None:
                    one_hot[kind][edge, choice] = 1
        x = torch.rand(2, 1, 8, 8)
        torch.testing.assert_close(net(x, paths), net(x, one_hot))

    def test_the_path_is_the_derived_networks_cell(self):
        """With `none` out and affine off, a path of the supernet computes what the network of its genotype computes."""
        net = self.supernet(none=False).eval()
        genotype = random_genotype(net.space, 2, 1)
        derived = Network(genotype, 1, 10, 4, 3, 8).eval()
        paths = net.space.paths(genotype)
        derived.stem.load_state_dict(net.stem.state_dict(), strict=False)
        for mine, theirs in zip(derived.cells, net.cells, strict=True):
            mine.preprocess0.load_state_dict(theirs.preprocess0.state_dict(), strict=False)
            mine.preprocess1.load_state_dict(theirs.preprocess1.state_dict(), strict=False)
            chosen = zip(theirs.edges, paths[theirs.kind], strict=True)
            taken = [mixed[mixed.ids.index(choice)] for mixed, choice in chosen if choice is not None]
            for op, candidate in zip(mine.ops, taken, strict=True):
                if not isinstance(candidate, nn.Sequential) or not isinstance(candidate[0], nn.MaxPool2d | nn.AvgPool2d):
                    op.load_state_dict(candidate.state_dict(), strict=False)
        derived.classifier.load_state_dict(net.classifier.state_dict(), strict=False)
        x = torch.rand(2, 1, 8, 8)
        # Pools carry a BatchNorm in the supernet, whose running statistics are still 0 and 1.
        torch.testing.assert_close(derived(x), net(x, paths), rtol=1e-3, atol=1e-4)

    def test_rules_with_equal_weights_get_equal_alpha_gradients(self):
        """A rule has no instantaneous signal: ∂L/∂α sees what a candidate computes, not how it learns."""
        net = self.supernet(protocol="released").double()
        rows = net.space.candidates
        for cell in net.cells:
            for mixed in cell.edges:
                first = {}
                for i, op in zip(mixed.ids, mixed, strict=True):
                    twin = first.setdefault(rows[i].operation, op)
                    for own, other in zip(op.parameters(), twin.parameters(), strict=True):
                        own.data.copy_(other.data)
        net.alphas["normal"].data.zero_(), net.alphas["reduce"].data.zero_()
        net(torch.rand(4, 1, 8, 8, dtype=torch.float64)).square().sum().backward()
        for kind in ("normal", "reduce"):
            grad = net.alphas[kind].grad
            assert grad.abs().max() > 0
            for operation in ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5", "skip_connect"):
                columns = [i for i, c in enumerate(rows) if c.operation == operation]
                spread = grad[:, columns].max(1).values - grad[:, columns].min(1).values
                assert (spread <= 1e-10 * grad.abs().max()).all()

    def test_alphas_are_no_weights(self):
        net = self.supernet()
        assert len(net.weights()) + 2 == len(list(net.parameters()))
