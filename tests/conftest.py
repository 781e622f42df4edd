"""How the suite runs: the same examples every time, one thread per worker, and on a GPU where there is one."""

import gc
import os
from pathlib import Path

import pytest
import torch

try:
    from hypothesis import settings
except ImportError:  # the tests marked cuda need none
    pass
else:
    settings.register_profile("retconv", derandomize=True, deadline=None, max_examples=40)
    settings.load_profile("retconv")
#: The files that take longest are begun first: the last one would else run beside an idle core.
LONGEST = (
    "project/test_notebooks.py",
    "train/test_step.py",
    "sweep/test_engines.py",
    "public/test_cuda_pretended.py",
    "public/test_transforms.py",
    "measure/test_runs.py",
    "train/test_budget.py",
    "project/test_gpu_slot.py",
    "attention/test_flex.py",
    "attention/test_triton_calls.py",
    "studies/test_files.py",
    "figures/test_data.py",
    "models/test_small.py",
)
# Imports and collecting make a million objects that stay: looking through them for garbage takes a fifth of that time.
gc.disable()
torch.set_num_threads(1)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """The CPU, then a GPU: what holds on the one holds on the other."""
    # The default for convolutions is TF32, whose ten bits are none of float32's tolerances.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return torch.device(request.param)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a GPU where there is none, and Triton's interpreter where it is off; the longest first."""
    there = {"cuda": torch.cuda.is_available(), "interpreted": os.environ.get("TRITON_INTERPRET") == "1"}
    lacking = [name for name, is_there in there.items() if not is_there]
    left_out = [item for item in items if any(item.get_closest_marker(name) for name in lacking)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
    places = {str(Path(__file__).parent / name): place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(str(item.path), len(places)))


def pytest_runtest_setup() -> None:
    """Of as many threads as a command has set in an earlier test, sums would differ from those of a new thread."""
    torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """Look for garbage from here on, and among what the tests make alone."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Let the interpreter clear up behind itself."""
    gc.unfreeze()
