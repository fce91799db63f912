"""A supernet's opinion of genotypes: each alone, by batch statistics, whichever form the supernet has."""

import json

import numpy as np
import torch

from bionas.dataset import Augment
from bionas.networks import parts
from bionas.search import darts, ranking
from bionas.search.common import SearchData, SearchState, WeightSettings
from bionas.space import Genotype, SearchSpace, random_genotype
from bionas.supernet import Supernet, initialise_alphas, steady
from bionas.training.data import Split

WEIGHTS = WeightSettings(epochs=1, batch_size=16, lr=0.1, lr_min=0.0, momentum=0.9, nesterov=True, weight_decay=3e-4, grad_clip=5.0)
SPACE = SearchSpace(("fa", "usf", "brsf", "frsf"))


def start(nodes=2):
    rng = np.random.default_rng(0)
    images = Split.of(rng.integers(0, 256, (96, 1, 8, 8), dtype=np.uint8), np.arange(96) % 4, torch.device("cpu"))
    net = initialise_alphas(parts.initialise(Supernet(SPACE, 1, 4, 4, 3, nodes), 0), 0)
    return SearchState.start(net, WEIGHTS), SearchData.split(images, Augment(), 16, 0)


def test_the_fused_supernet_judges_a_genotype_by_its_path_through_the_plain_one():
    state, data = start()
    plain = Supernet(SPACE, 1, 4, 4, 3, 2, fused=False)
    plain.load_state_dict(state.supernet.plain_state(), strict=False)
    plain.train()
    found = set()
    for seed in range(8):
        genotype = random_genotype(SPACE, 2, seed)
        with torch.no_grad(), steady(plain):
            parts_ = [(plain(x, SPACE.paths(genotype)).argmax(1) == y).sum() for x, y in data.held_out.chunks(16)]
        expected = 100 * int(sum(parts_)) / len(data.held_out)
        assert ranking.accuracy(state, data, genotype) == expected
        found.add(expected)
    assert len(found) > 1  # they are told apart


def test_nothing_of_the_search_is_moved():
    state, data = start()
    before = {k: v.clone() for k, v in state.supernet.state_dict().items() if isinstance(v, torch.Tensor)}
    stream = torch.get_rng_state()
    ranking.accuracy(state, data, random_genotype(SPACE, 2, 0))
    after = state.supernet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert torch.equal(stream, torch.get_rng_state()) and state.passes == {"trained": 0, "judged": 0}


def test_what_was_found_stands_first_and_every_genotype_once_and_in_the_space():
    normal, reduce = [["sep_conv_3x3:usf", 0], ["sep_conv_3x3:fa", 1]], [["skip_connect:usf", 0], ["max_pool_3x3", 1]]
    found = Genotype.from_json(json.dumps({"normal": normal, "reduce": reduce}))
    alphas = {kind: torch.rand(2, len(SPACE)).tolist() for kind in ("normal", "reduce")}
    texts = ranking.ranked(found, alphas, SPACE, 1, seed=3)
    assert texts[0] == found.to_json() and len(set(texts)) == len(texts)
    assert found.assigned("usf").to_json() in texts and random_genotype(SearchSpace(SPACE.rules), 1, "trial 3").to_json() in texts
    assert all(op in SPACE.candidates for text in texts for _, cell in Genotype.from_json(text).cells() for op, _ in cell)


def test_a_search_that_moves_no_mixture_and_one_of_one_rule_have_fewer():
    found = random_genotype(SearchSpace(("bp",), none=False), 1, 0)
    assert len(ranking.ranked(found, None, SearchSpace(("bp",), none=False), 1, seed=0)) == 2


def test_darts_none_is_no_candidate_of_the_random_genotype():
    assert darts.NONE
    texts = ranking.ranked(random_genotype(SPACE, 2, 0), None, SPACE, 2, seed=0)
    assert not any('"none"' in text for text in texts)
