"""What the machine is: versions, the card, copy bandwidth and one large product, as JSON on the last line."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import torch

PACKAGES = ("torch", "torchvision", "timm", "triton", "numpy", "pandas", "pytest", "hypothesis", "scikit-learn")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _best(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of five, after one to warm up."""
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def main() -> None:
    """Print the facts, the slowest last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--toy", action="store_true")
    args = parser.parse_args()
    device = torch.device(args.device)
    facts: dict[str, object] = {"python": platform.python_version(), "machine": platform.platform()}
    facts |= {name: _version(name) for name in PACKAGES} | {name: shutil.which(name) for name in ("git", "cc")}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {"card": properties.name, "memory_gb": properties.total_memory / 1e9, "cuda": torch.version.cuda}
        query = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"]
        if shutil.which(query[0]):
            facts["driver, clock, power"] = subprocess.run(query, capture_output=True, text=True).stdout.strip()
    print(json.dumps(facts), flush=True)
    size = 1 << (22 if args.toy or device.type == "cpu" else 30)
    host = torch.empty(size, dtype=torch.uint8)
    here, there = host.to(device), torch.empty_like(host, device=device)
    facts["copy_gb_per_s"] = 2 * size / _best(lambda: there.copy_(here), device) / 1e9
    facts["from_host_gb_per_s"] = size / _best(lambda: here.copy_(host), device) / 1e9
    if device.type == "cuda":
        pinned = host.pin_memory()
        facts["from_pinned_host_gb_per_s"] = size / _best(lambda: here.copy_(pinned, non_blocking=True), device) / 1e9
    side = 256 if args.toy else 1024 if device.type == "cpu" else 8192
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.randn(2, side, side, device=device).to(dtype)
        name = str(dtype).removeprefix("torch.")
        facts[f"{name}_tflops"] = 2 * side**3 / _best(lambda a=a, b=b: a @ b, device) / 1e12
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
