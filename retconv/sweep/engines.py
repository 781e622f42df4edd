"""Engines by name: each maps a function over units of work, and yields what it returned, in any order.

joblib speaks to loky, dask and ray through backends of their own; submitit to Slurm. The serial engine needs none of
them. A dying worker ends an engine's round with an exception, or the engine itself starts the unit again; either way
the units that are done are done.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from retconv.extras import extra
from retconv.train.config import option

#: Maps a function over units of work and yields what it returned, in any order.
Mapper = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]

ENGINES = ("serial", "loky", "dask", "ray", "slurm")


@dataclass(frozen=True)
class Plan:
    """Where runs are trained, and how many at a time; what is computed does not depend on it."""

    engine: str = option("loky", "what shares the runs out", choices=ENGINES)
    workers: int = option(2, "runs (or stacks of replicas) at a time; 1 is serial, Slurm apart", low=1)
    threads: int = option(1, "CPU threads of each", low=1)
    gpus: float = option(0.0, "GPUs of each, fractions allowed; 0: where the engine counts GPUs, none", low=0)
    address: str = option("", "of a running dask or ray cluster; without, one is started on this machine")
    slurm: Mapping[str, Any] = field(
        default_factory=dict, metadata={"help": "parameters of submitit's executor, such as slurm_partition"}
    )

    @property
    def serial(self) -> bool:
        """Whether this process does the work itself."""
        # joblib runs a single worker's tasks in the calling process, whatever its backend: say so by doing so.
        return self.engine == "serial" or (self.engine != "slurm" and self.workers == 1 and not self.address)


@contextmanager
def started(plan: Plan, folder: Path) -> Iterator[Mapper]:
    """Start an engine for the time of a ``with`` block.

    Args:
        plan: Engine, workers, threads and GPUs.
        folder: For an engine's own files.

    Yields:
        A function that maps a function, which can be pickled, over units; it may be called again after a worker died.
    """
    with ExitStack() as stack:
        if plan.serial:
            yield map
        elif plan.engine == "slurm":
            yield partial(_slurm, plan, folder)
        else:
            joblib = extra("joblib", f"engine {plan.engine}")
            options = {"loky": _loky, "dask": _dask, "ray": _ray}[plan.engine](plan, stack)
            yield partial(_joblib, joblib, plan, options)


def _joblib(
    joblib: Any, plan: Plan, options: dict[str, Any], work: Callable[[Any], Any], units: Sequence[Any]
) -> Iterator[Any]:
    with joblib.parallel_config(**options):
        parallel = joblib.Parallel(return_as=_order(plan.engine), pre_dispatch="all", batch_size=1)
        yield from parallel(joblib.delayed(work)(unit) for unit in units)


def _order(engine: str) -> str:
    """The pool of ray hands its results over in order only."""
    return "list" if engine == "ray" else "generator_unordered"


def _loky(plan: Plan, stack: ExitStack) -> dict[str, Any]:
    # The pool goes when the round ends: a worker that is kept would hold its GPU memory.
    executor = extra("joblib.externals.loky", "engine loky").get_reusable_executor
    stack.callback(lambda: executor().shutdown(wait=False))
    return {"backend": "loky", "n_jobs": plan.workers, "inner_max_num_threads": plan.threads}


def _dask(plan: Plan, stack: ExitStack) -> dict[str, Any]:
    distributed = extra("distributed", "engine dask")
    resources = {"GPU": plan.gpus} if plan.gpus else {}
    cluster: Any = plan.address
    if not cluster:
        cluster = stack.enter_context(
            distributed.LocalCluster(
                n_workers=plan.workers, threads_per_worker=1, dashboard_address=None, resources=resources
            )
        )
    client = stack.enter_context(distributed.Client(cluster))
    options = {"resources": resources} if plan.gpus else {}
    return {"backend": "dask", "client": client, "n_jobs": -1, **options}


def _ray(plan: Plan, stack: ExitStack) -> dict[str, Any]:
    ray = extra("ray", "engine ray")
    started = {} if plan.address else {"num_cpus": plan.workers, "include_dashboard": False}
    ray.init(address=plan.address or None, log_to_driver=False, configure_logging=False, **started)
    stack.callback(ray.shutdown)
    importlib.import_module("ray.util.joblib").register_ray()
    return {"backend": "ray", "n_jobs": plan.workers, "ray_remote_args": {"num_cpus": 1, "num_gpus": plan.gpus}}


class _Requeued:
    """Work that Slurm may stop at any time: submitit submits it again, and training resumes from its checkpoint."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.work = work

    def __call__(self, unit: Any) -> Any:
        return self.work(unit)

    def checkpoint(self, unit: Any) -> Any:
        """Called by submitit when the job's time is up."""
        return extra("submitit", "engine slurm").helpers.DelayedSubmission(self, unit)


def _slurm(plan: Plan, folder: Path, work: Callable[[Any], Any], units: Sequence[Any]) -> Iterator[Any]:
    submitit = extra("submitit", "engine slurm")
    settings = dict(plan.slurm)
    # "local" runs the same jobs as processes of this machine, to try a study out.
    cluster = settings.pop("cluster", "slurm")
    executor = submitit.AutoExecutor(folder=folder / "slurm" / "%j", cluster=cluster)
    executor.update_parameters(cpus_per_task=plan.threads, **settings)
    if cluster == "slurm":
        executor.update_parameters(slurm_array_parallelism=plan.workers)
    if plan.gpus:
        executor.update_parameters(gpus_per_node=max(1, round(plan.gpus)))
    jobs = executor.map_array(_Requeued(work), units)
    for job in submitit.helpers.as_completed(jobs, poll_frequency=1):
        yield job.result()
