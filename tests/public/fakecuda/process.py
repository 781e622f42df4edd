"""The survey, in a process in which CUDA is pretended.

``python -m tests.public.fakecuda.process --places`` prints it, with the launches of a step by operation and line.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent


def missing() -> str | None:
    """What CUDA cannot be pretended without, if it is not there."""
    if torch.version.cuda is None:
        return "a torch that is built for CUDA"
    return None if shutil.which("cc") else "a C compiler"


def survey(*options: str) -> Any:
    """What ``survey.py`` prints, read."""
    with tempfile.TemporaryDirectory() as folder:
        # Under this name it also answers for the driver library, which torch opens by name.
        library = Path(folder) / "libcuda.so.1"
        command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{library.name}", str(HERE / "runtime.c"), "-o", str(library)]
        subprocess.run(command, check=True)
        path = os.pathsep.join([str(HERE.parents[2]), os.environ.get("PYTHONPATH", "")])
        env = os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, str(HERE / "survey.py"), *options], env=env, capture_output=True, text=True
        )
    if done.returncode:
        raise RuntimeError(f"the survey failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(json.dumps(survey(*sys.argv[1:]), indent=1))
