"""Decode the data sets of studies into the cache, from files that are there. One line each, JSON on the last one."""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from typing import Any

from retconv.data import load
from retconv.data.cache import user_folder
from retconv.sweep import load_study


def main() -> None:
    """Decode each once; exit code 1 if one failed, after the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", nargs="+", help="by name or YAML file")
    names: dict[str, None] = {}  # each once, in the studies' order
    decoded, faults = {}, {}
    for study in parser.parse_args().study:
        try:
            names |= dict.fromkeys(config.data.name for config in load_study(study).configs)
        except Exception as error:
            faults[study] = str(error)
    for name in names:
        start = time.perf_counter()
        try:
            # What the cache cannot keep, every run would decode anew: that is told in the summary.
            with warnings.catch_warnings(record=True) as records:
                warnings.simplefilter("always")
                source = load(name, download=False).source
            facts: dict[str, Any] = {"source": source, "seconds": round(time.perf_counter() - start, 2)}
            decoded[name] = facts | {"warnings": [str(warning.message) for warning in records]} if records else facts
        except Exception as error:
            faults[name] = f"{type(error).__name__}: {error}"
        print(f"{time.perf_counter() - start:7.2f} s  {name}: {faults.get(name, 'ok')}", flush=True)
    print(json.dumps({"cache": str(user_folder() / "decoded"), "decoded": decoded, "faults": faults}))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
