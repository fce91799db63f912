"""The one-pixel attack (Su, Vargas & Sakurai 2019), all images of a batch at once.

torchattacks lets one image evolve after another. Here a forward judges candidates of every image that still
stands; an image leaves as soon as any candidate breaks it (torchattacks looks at the best alone, and at none before the first
generation), and one that is broken already never enters. Candidates are ranked by the label's log-odds: the order of its
probabilities, without their rounding to one.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bionas.attacks.evolution import evolve
from bionas.networks.parts import evaluating

AT_ONCE = {"cpu": 256, "cuda": 2048}  # images a forward, by the kind of device


class OnePixel:
    """Change up to `pixels` pixels of each image, in `steps` generations of about `popsize` candidates at most.

    Called with images (N, C, H, W) in [0, 1] and their right labels (N,). `targeted` says towards which other label: none in particular,
    a `random` one, or the `least_likely`. An image that nothing broke comes back as the best candidate has it. All draws follow from two
    keys an image, of torch's global CPU stream: they depend on an image's place, but on no other image, nor on the device.
    """

    def __init__(self, model: nn.Module, pixels: int = 1, steps: int = 10, popsize: int = 10, targeted: str | None = None) -> None:
        self.model, self.pixels, self.steps, self.popsize, self.targeted = model, pixels, steps, popsize, targeted

    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        keys = torch.randint(2**63 - 1, (len(images), 2)).to(images.device)
        coordinates = self.pixels * (2 + images.shape[1])
        candidates = max(5, coordinates, self.popsize // coordinates * coordinates)  # torchattacks' number
        with evaluating(self.model):
            logits = torch.cat([self.model(part) for (part,) in _parts(images)])
            towards = self._towards(logits, labels, keys[:, 1])
            entered = self._energies(logits, towards).isneginf().logical_not_().nonzero().squeeze(1)
            clean, aim = images[entered], towards[entered]

            def judge(standing: Tensor, trials: Tensor) -> Tensor:
                rows = _parts(standing.repeat_interleave(candidates), trials.flatten(0, 1))
                judged = [self._energies(self.model(_laid_out(changed(clean[of], trial))), aim[of]) for of, trial in rows]
                return torch.cat(judged).view(-1, candidates)

            attacked = images.clone()
            if len(entered):
                attacked[entered] = changed(clean, evolve(judge, keys[entered, 0], candidates, coordinates, self.steps))
        return attacked

    def _towards(self, logits: Tensor, labels: Tensor, keys: Tensor) -> Tensor:
        """Return the labels that the attack is about: those to be left, or, if targeted, those to be reached."""
        if self.targeted == "random":
            other = keys % (logits.shape[1] - 1)
            return other + (other >= labels)
        if self.targeted == "least_likely":
            return logits.masked_fill(_at(labels, logits), torch.inf).argmin(1)
        return labels

    def _energies(self, logits: Tensor, towards: Tensor) -> Tensor:
        """Return the log-odds of the labels, negative if targeted; −inf where the attack has its way."""
        logits = logits.float()
        odds = logits.gather(1, towards[:, None]).squeeze(1) - logits.masked_fill(_at(towards, logits), -torch.inf).logsumexp(1)
        reached = logits.argmax(1) == towards
        return (-odds).masked_fill(reached, -torch.inf) if self.targeted else odds.masked_fill(~reached, -torch.inf)


def changed(images: Tensor, coordinates: Tensor) -> Tensor:
    """Return images with pixels set: (row, column, colour) in [0, 1] a pixel. Of two in one place the later stays."""
    channels, height, width = images.shape[1:]
    pixels = coordinates.view(len(images), -1, 2 + channels)
    row, column = ((pixels[..., i] * side).long().clamp_(max=side - 1) for i, side in enumerate((height, width)))
    flat, of = images.flatten(2).clone(), torch.arange(len(images), device=images.device)
    for pixel, at in zip(pixels.unbind(1), (row * width + column).unbind(1), strict=True):
        flat[of, :, at] = pixel[:, 2:].to(flat.dtype)
    return flat.view_as(images)


def _at(labels: Tensor, logits: Tensor) -> Tensor:
    return labels[:, None] == torch.arange(logits.shape[1], device=logits.device)


def _laid_out(images: Tensor) -> Tensor:
    """Lay images out by pixels where that speeds up forwards: on a CPU, where a network of cells takes a third of the time."""
    return images.clone(memory_format=torch.channels_last) if images.device.type == "cpu" else images


def _parts(*rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield equal parts, none of more images than a forward takes."""
    parts = max(1, -(-len(rows[0]) // AT_ONCE[rows[0].device.type]))
    return zip(*(tensor.tensor_split(parts) for tensor in rows), strict=True)
