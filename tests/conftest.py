"""How the suite runs: the same examples every time, one thread per worker."""

import torch
from hypothesis import settings

settings.register_profile("retconv", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("retconv")
torch.set_num_threads(1)
