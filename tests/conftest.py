"""How the suite runs: the same examples every time, one thread per worker, and on a GPU where there is one."""

import pytest
import torch

try:
    from hypothesis import settings
except ImportError:  # the tests marked cuda need none
    pass
else:
    settings.register_profile("retconv", derandomize=True, deadline=None, max_examples=40)
    settings.load_profile("retconv")
torch.set_num_threads(1)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """The CPU, then a GPU: what holds on the one holds on the other."""
    # The default for convolutions is TF32, whose ten bits are none of float32's tolerances.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return torch.device(request.param)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a GPU where there is none."""
    if not torch.cuda.is_available():
        left_out = [item for item in items if item.get_closest_marker("cuda")]
        items[:] = [item for item in items if not item.get_closest_marker("cuda")]
        config.hook.pytest_deselected(items=left_out)
