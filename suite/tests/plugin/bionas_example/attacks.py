"""An attack in torchattacks' form: parameters by name after the model, `forward(images, labels)` → adversarial images."""

import torch
import torch.nn.functional as F
from torchattacks.attack import Attack


class Starts(Attack):
    """A step to a random corner of a small ball, then one along the gradient's signs; again for what is right still."""

    def __init__(self, model, eps=8 / 255, alpha=4 / 255, starts=4):
        super().__init__("Starts", model)
        self.eps, self.alpha, self.starts = eps, alpha, starts
        self.supported_mode = ["default"]

    def forward(self, images, labels):
        found = images.clone()
        for _ in range(self.starts):
            right = self.get_logits(found).argmax(1) == labels
            tried = self._step(images, labels)
            found = torch.where(right[:, None, None, None], tried, found)
        return found.detach()

    def _step(self, images, labels):
        x = (images + self.alpha * torch.randn_like(images).sign()).clamp(0, 1).detach().requires_grad_()
        gradient = torch.autograd.grad(F.cross_entropy(self.get_logits(x), labels), x)[0]
        moved = x + (self.eps - self.alpha) * gradient.sign()
        return moved.clamp(0, 1).detach()
