"""Tests run one process a core, so that torch has one thread in each."""

import torch

torch.set_num_threads(1)
