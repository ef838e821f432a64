"""Who prices the variants: processes of this machine, or of a cluster."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import joblib

from chipfit.errors import ChipfitError, nearest


def backends() -> list[str]:
    """Names that `workers` knows: joblib's backends, and the clusters."""
    return sorted({*joblib.parallel.BACKENDS, "dask", "ray"})


@contextmanager
def workers(backend: str = "loky", jobs: int | None = None) -> Generator[None]:
    """Workers of joblib for the calls inside: processes of this machine, or those of a cluster.

    'dask' connects to the scheduler that Dask's own settings name (DASK_SCHEDULER_ADDRESS) and
    'ray' to the cluster of RAY_ADDRESS; without these, each starts workers on this machine.

    Args:
        backend: a name in `backends()`.
        jobs: workers; left out: all cores, or all of the cluster.

    Raises:
        ChipfitError: an unknown backend, or one whose package is not installed.
    """
    if backend not in backends():
        raise ChipfitError(f"unknown backend '{backend}'{nearest(backend, backends())}")
    everyone = -1 if jobs is None else jobs
    if backend == "dask":
        with _dask_client(jobs), joblib.parallel_config(backend="dask", n_jobs=everyone):
            yield
        return
    if backend == "ray":
        _cluster_package("ray.util.joblib", backend).register_ray()
    with joblib.parallel_config(backend=backend, n_jobs=everyone):
        yield


def _dask_client(jobs: int | None) -> Any:
    distributed = _cluster_package("distributed", "dask")
    if _cluster_package("dask", "dask").config.get("scheduler-address", None):
        return distributed.Client()
    return distributed.Client(
        n_workers=jobs or joblib.cpu_count(), threads_per_worker=1, dashboard_address=None
    )


def _cluster_package(name: str, backend: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = {"ray": "ray"}.get(backend, "chipfit[cluster]")
        raise ChipfitError(
            f"the backend '{backend}' needs '{error.name}', which is not installed: pip install '{package}'"
        ) from None
