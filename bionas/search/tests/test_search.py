"""Searches: interrupted anywhere they end with the same bits; α and weights are kept apart; evolution really evolves."""

import functools
import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from bionas import catalog, plugins
from bionas.dataset import Augment
from bionas.networks import parts
from bionas.search import common, darts, eg, random, ranking
from bionas.search.common import SearchData, SearchState, WeightSettings
from bionas.space import Genotype, SearchSpace
from bionas.supernet import Supernet, initialise_alphas
from bionas.training.data import Split

WEIGHTS = WeightSettings(epochs=3, batch_size=8, lr=0.1, lr_min=0.0, momentum=0.9, nesterov=True, weight_decay=3e-4, grad_clip=5.0)
EG = {"variant": "repaired", "restarts": 2, "population": 4, "generations": 2, "sigma": 0.5, "zeta": 1.0, "eta": 0.4, "xi": 0.1}
EG |= {"likeness": "allowed"}
EG |= {"warmup": 1, "fitness_images": 8, "genotype_of": "final"}
METHODS = {
    "darts": (darts, darts.Settings(alpha_lr=0.01, alpha_weight_decay=1e-3)),
    "eg": (eg, eg.Settings(**EG)),
    "eg paper": (eg, eg.Settings(**{**EG, "variant": "paper", "genotype_of": "best"})),
    "eg released": (eg, eg.Settings(**{**EG, "variant": "released", "sigma": 1.0, "generations": 1})),
    "random": (random, random.Settings(candidates=3)),
}


def added(searcher):
    """What a plugin adds, by its defaults, cut like ours."""
    module = catalog.load(searcher.module)
    known = EG | {"alpha_lr": 0.01, "alpha_weight_decay": 1e-3, "candidates": 3} | {k: v["default"] for k, v in searcher.schema.items()}
    return module, module.Settings(**{name: known[name] for name in searcher.settings})


EVERY = METHODS | {name: added(each) for name, each in catalog.SEARCHERS.items() if plugins.package("searchers", name)}


def images(n=32):
    rng = np.random.default_rng(0)
    return Split.of(rng.integers(0, 256, (n, 1, 4, 4), dtype=np.uint8), np.arange(n) % 4, torch.device("cpu"))


def start(method, rules=("usf", "brsf"), weights=WEIGHTS):
    module, settings = EVERY[method]
    space = SearchSpace(rules, "repaired", none=module.NONE)
    net = Supernet(space, 1, 4, 2, 3, 1, fused=module.MIXES)
    state = SearchState.start(initialise_alphas(parts.initialise(net, 0), 0), WEIGHTS)
    module.prepare(state, settings)
    data = SearchData.split(images(), Augment(crop=1), WEIGHTS.batch_size, 0)
    return state, data, module.search(state, data, weights, settings)


def finished(method, **kwargs):
    state, _, loop = start(method, **kwargs)
    steps = sum(1 for _ in loop)
    return state, steps


def bits(state):
    tensors = {k: v.numpy().tobytes() for k, v in state.supernet.state_dict().items() if isinstance(v, torch.Tensor)}
    return tensors, repr(state.curves), state.genotype, state.genotypes, repr(state.extra), state.passes


@pytest.mark.parametrize(
    ("method", "rules"), [*((method, ("usf", "brsf")) for method in EVERY), ("darts", ("kp", "fa")), ("random", ("kp",))]
)
def test_interrupted_anywhere_it_ends_with_the_same_bits(method, rules):
    whole, steps = finished(method, rules=rules)
    assert whole.status == "ok" and Genotype.from_json(whole.genotype)
    for stop in (1, 7, steps // 2, steps - 1):  # within an epoch, in the first exploration, at an edge of one, before the last
        state, _, loop = start(method, rules)
        for _ in range(stop):
            next(loop)
        saved = io.BytesIO()
        torch.save(state.state_dict(), saved)
        saved.seek(0)
        resumed, data, _ = start(method, rules)
        torch.rand(3), np.random.rand(3)  # a stranger draws in between
        resumed.load_state_dict(torch.load(saved, weights_only=True))
        module, settings = EVERY[method]
        for _ in module.search(resumed, data, WEIGHTS, settings):
            pass
        assert bits(resumed) == bits(whole), stop


@pytest.mark.parametrize("method", ["darts", "eg", "random"])
def test_bfloat16_searches_too_and_is_not_the_same(method):
    exact, _ = finished(method)
    near, _ = finished(method, weights=replace(WEIGHTS, precision="bfloat16"))
    assert near.status == "ok" and Genotype.from_json(near.genotype)
    first, again = near.curves["train_loss"][0], exact.curves["train_loss"][0]
    assert first != again and first == pytest.approx(again, rel=0.05)


@pytest.mark.parametrize("method", EVERY)
def test_global_streams_are_left_alone(method):
    _, _, loop = start(method)
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    for _ in loop:
        pass
    assert torch.equal(state[0], torch.get_rng_state()) and np.array_equal(state[1], np.random.get_state()[1])


@pytest.mark.parametrize("method", METHODS)
def test_what_is_recorded(method):
    state, _ = finished(method)
    assert all(len(column) == 3 for column in state.curves.values())
    assert len(state.trace) == len(state.genotypes) == 3
    assert state.passes["trained"] == {"darts": 2}.get(method, 1) * 3 * 16
    # α starts at 10⁻³·N(0, 1), and random search leaves it there.
    assert (state.curves["alpha_span"][-1] < 2e-3) == (method in ("random", "eg released"))


def test_an_alpha_step_moves_alpha_alone_and_a_weight_step_weights_alone():
    state, data, _ = start("darts")
    (x, y), net = next(data.weights.cycle()), state.supernet

    def snapshot():
        return [p.detach().clone() for p in net.weights()], [p.detach().clone() for p in net.alphas.parameters()]

    before = snapshot()
    darts.alpha_step(state, x, y)
    after = snapshot()
    assert all(map(torch.equal, before[0], after[0])) and not any(map(torch.equal, before[1], after[1]))
    assert all(p.grad is None and p.requires_grad for p in net.weights())
    common.weight_step(state, x, y, WEIGHTS)
    last = snapshot()
    assert all(map(torch.equal, after[1], last[1])) and not all(map(torch.equal, after[0], last[0]))


def test_alpha_gradients_take_no_share_of_the_clipping():
    state, data, _ = start("darts")
    (x, y), net = next(data.weights.cycle()), state.supernet
    for p in net.alphas.parameters():
        p.grad = torch.full_like(p, 1e6)  # as DARTS's leaves them
    settings = WeightSettings(**{**vars(WEIGHTS), "grad_clip": 1e9})
    common.weight_step(state, x, y, settings)
    assert all(torch.equal(p.grad, torch.full_like(p, 1e6)) for p in net.alphas.parameters())


def test_halves_are_disjoint_stratified_and_whole():
    data = SearchData.split(images(), Augment(), 8, 0)
    rows = [{image.numpy().tobytes() for image in part.images} for part in (data.weights.split, data.held_out)]
    assert not rows[0] & rows[1] and len(rows[0] | rows[1]) == 32
    assert torch.bincount(data.held_out.labels).tolist() == [4, 4, 4, 4]


def test_a_class_with_one_image_cannot_be_halved():
    few = Split(images().images[:5], torch.tensor([0, 0, 1, 1, 2]))
    with pytest.raises(ValueError, match="class 2 has 1 training images"):
        SearchData.split(few, Augment(), 8, 0)


class TestEvolution:
    @staticmethod
    @functools.cache
    def log(method):
        state, _ = finished(method)
        return state.extra["log"], state

    def test_restarts_of_the_repaired_search_draw_different_populations(self):
        log, _ = self.log("eg")
        assert log["distinct"] == [8, 8] and log["alpha_step"][0] > 0 and log["sigma"][1] != log["sigma"][0]

    def test_restarts_of_the_public_code_are_copies_and_alpha_moves_evenly(self):
        log, state = self.log("eg released")
        assert log["distinct"] == [4, 4]  # of eight individuals
        # softmax(softmax(z)) lies between 1/(1 + (n − 1)e) and e/(e + n − 1): twice ξ of that spreads n = 13 candidates by 0.02 in α
        assert state.curves["alpha_span"][-1] < 0.02 / 13 * 2

    def test_a_new_epoch_of_the_paper_starts_anew_and_the_repaired_one_goes_on(self):
        assert self.log("eg")[1].extra["told"][0] != [] and len(self.log("eg")[1].extra["told"][0]) == 4
        assert self.log("eg paper")[1].extra["told"] == [[], []]

    def test_likeness_counts_against_who_is_better_than_alpha_and_for_who_is_worse(self):
        """A.4.2: ζL₁ − ηL₂ if Acc(α) > Acc(z), else ζL₁ + ηL₂, minimised."""
        state, data, _ = start("eg")
        settings = METHODS["eg"][1]
        batch = eg._fitness_batch(data, settings, 0)
        alphas = torch.linspace(-1, 1, eg.flat(state.supernet.alphas).numel())
        z = alphas.numpy().astype(float)  # likeness 1
        loss, accuracy = eg._outcome(state.supernet, state.supernet.mixture(eg.unflat(alphas, state.supernet)), batch)
        better = eg._fitness(z, alphas, accuracy, state.supernet, batch, settings)
        worse = eg._fitness(z, alphas, accuracy + 1, state.supernet, batch, settings)
        assert better == pytest.approx(loss + 0.4, rel=1e-5) and worse == pytest.approx(loss - 0.4, rel=1e-5)
        assert better - worse == pytest.approx(0.8, rel=1e-5)  # 2η, to the disadvantage of the better one

    def test_likeness_is_over_what_is_allowed_alone(self):
        bio = SearchSpace(("fa", "usf", "brsf", "frsf"), none=False)
        net = Supernet(bio, 1, 4, 2, 3, 4)
        barred = torch.cat([getattr(net, f"barred_{kind}").flatten() for kind in common.KINDS])
        # Of 28 edges: 8 of stride 2 bar the plain skip, 20 of stride 1 three skips with rules.
        assert barred.sum() == 8 * 1 + 20 * 3 == 68
        generator = torch.Generator().manual_seed(0)
        alphas, z = torch.randn(2, len(barred), generator=generator).unbind()
        settings = METHODS["eg"][1]
        _, likeness = eg._decode(z.numpy(), alphas, net, settings)
        a, b = alphas[~barred].double().numpy(), z[~barred].double().numpy()
        assert likeness == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), rel=1e-5)
        _, other = eg._decode(torch.where(barred, 100.0, z).numpy(), alphas, net, settings)
        assert other == likeness

    @pytest.mark.parametrize(("space", "likeness"), [("paper", "allowed"), ("repaired", "raw")])
    def test_likeness_over_all_coordinates_where_all_are_allowed_or_it_is_asked_for(self, space, likeness):
        net = Supernet(SearchSpace(("fa", "usf", "brsf", "frsf"), space, none=False), 1, 4, 2, 3, 1)
        alphas, z = torch.randn(2, eg.flat(net.alphas).numel(), generator=torch.Generator().manual_seed(0)).unbind()
        _, found = eg._decode(z.numpy(), alphas, net, replace(METHODS["eg"][1], likeness=likeness))
        assert found == pytest.approx(torch.nn.functional.cosine_similarity(z, alphas, dim=0).item(), rel=1e-6)

    def test_likeness_of_softmaxed_coordinates_is_that_of_the_mixtures(self):
        net = Supernet(SearchSpace(("fa", "usf"), none=False), 1, 4, 2, 3, 1)
        with torch.no_grad():
            for parameter in net.alphas.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
        z = torch.randn(eg.flat(net.alphas).numel(), generator=torch.Generator().manual_seed(1))
        _, found = eg._decode(z.numpy(), eg.flat(net.alphas), net, replace(METHODS["eg"][1], likeness="softmaxed"))

        def mixture(vector):  # by hand: exponentials of what is allowed, as shares of their row
            barred = np.concatenate([getattr(net, f"barred_{kind}").flatten().numpy() for kind in common.KINDS])
            rows = np.where(barred, 0.0, np.exp(vector.double().numpy())).reshape(-1, len(net.space))
            return (rows / rows.sum(1, keepdims=True)).ravel()

        a, b = mixture(eg.flat(net.alphas)), mixture(z)
        assert found == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), rel=1e-5)


def test_keeping_a_run_over_epochs_is_what_lets_it_adapt_in_588_dimensions():
    scale = 10 ** np.linspace(0, 2, 588)

    def descend(variant, kept):
        settings = eg.Settings(**{**EG, "variant": variant, "population": 50})
        mean, run = np.zeros(588), None
        for epoch in range(35):
            if run is None or not kept:
                run = eg.Evolution(mean, epoch, settings, [])
            for _ in range(3):
                run.tell([float((scale * (z - 1) ** 2).sum()) for z in run.ask()])
            mean = run.strategy.mean
        return run.strategy.sigma, (scale * (mean - 1) ** 2).sum() / scale.sum()

    (fresh_sigma, fresh), (_, full), (kept_sigma, diagonal) = (descend("paper", False), descend("paper", True), descend("repaired", True))
    assert fresh_sigma > 0.4 and kept_sigma < 0.2
    assert diagonal < full < 0.6 * fresh


def test_random_search_returns_the_best_of_its_ranking():
    state, _ = finished("random")
    ranked, accuracies = state.extra["ranked"], state.extra["accuracies"]
    assert len(ranked) == 3 and state.genotype == ranked[accuracies.index(max(accuracies))]
    assert state.curves["val_accuracy"][-1] == max(accuracies)


def test_ranking_leaves_running_statistics_alone():
    state, data, _ = start("random")
    before = {k: v.clone() for k, v in state.supernet.state_dict().items() if isinstance(v, torch.Tensor)}
    ranking.accuracy(state, data, random.random_genotype(state.supernet.space, 1, 0))
    after = state.supernet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
