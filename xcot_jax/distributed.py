"""Several processes as one run: how they find each other, agree, and end together."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

import jax

from xcot_jax.errors import InputError

ADDRESS, COUNT, NUMBER = "XCOT_COORDINATOR", "XCOT_PROCESS_COUNT", "XCOT_PROCESS_ID"
"""Environment variables that name the processes of a run where no cluster does."""

HEARTBEAT_SECONDS = 30
"""A process that has not been heard of for so long is taken for dead."""

START_SECONDS = 300
"""How long processes wait for each other at the start."""

WAIT_SECONDS = 1800
"""How long they wait for each other later on, where none is dead."""

_FAILED = "xcot/failed/"
_Text = TypeVar("_Text", str, bytes)


class _Run:
    """What this process knows of the run: the coordination service's client, and its watcher."""

    def __init__(self) -> None:
        self.client: Any = None
        self.calls = 0
        self.leaving = threading.Event()
        self.lock = threading.Lock()


_run = _Run()


def launched_by(environment: Mapping[str, str] = os.environ) -> str:
    """What says that there are several processes: "xcot", "slurm", "ompi", "tpu", or ""."""
    if any(environment.get(name) for name in (ADDRESS, COUNT, NUMBER)):
        return "xcot"
    if (environment.get("JAX_PLATFORMS") or "tpu").startswith("tpu") and _on_tpu():
        return "tpu"
    tasks = {
        "slurm": ("SLURM_NTASKS", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID"),
        "ompi": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    }
    for name, variables in tasks.items():
        if all(v in environment for v in variables) and int(environment[variables[0]]) > 1:
            return name
    return ""


def _on_tpu() -> bool:
    from jax._src.cloud_tpu_init import running_in_cloud_tpu_vm  # There is no public word for it.

    return running_in_cloud_tpu_vm


def initialize() -> None:
    """Joins the processes of a run, where there are several; call it before any use of a device.

    On TPU machines, under Slurm and under Open MPI, JAX finds the processes. Elsewhere
    `XCOT_COORDINATOR` (host:port of process 0), `XCOT_PROCESS_COUNT` and `XCOT_PROCESS_ID` name
    them.

    Raises:
      InputError: if they do not, or the others do not come.
    """
    how = launched_by()
    if not how or _run.client is not None:
        return
    given: dict[str, Any] = {}
    if how == "xcot":
        given = _named(os.environ)
        if given["num_processes"] == 1:
            return
    elif how == "slurm" and os.environ.get("SLURM_STEP_NUM_NODES") == os.environ["SLURM_NTASKS"]:
        given = {"local_device_ids": []}  # One process a host: all its devices, not the first.
    # Its handler would swallow a SIGTERM that comes before the first step.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    where = given.get("coordinator_address", "the first host")
    alone = (
        f"the processes of this run ({how}) have not all found each other; start the same command "
        f"on every host within {START_SECONDS} seconds, and see that all can reach {where}"
    )
    # JAX would end the process with a core dump.
    late = threading.Timer(START_SECONDS, _give_up, [alone])
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(
            **given,
            initialization_timeout=START_SECONDS + 60,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        if how == "tpu" and "should be defined" in str(error):
            return  # A TPU machine of no pod.
        raise InputError(f"{alone} ({error})") from error
    finally:
        late.cancel()
    if jax.process_count() > 1:
        from jax._src import distributed  # The key-value store has no public face.

        _run.client = distributed.global_state.client
        atexit.register(_run.leaving.set)  # Runs before JAX's own, which ends the service.
        threading.Thread(target=_watch, name="watch other processes", daemon=True).start()


def _named(environment: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of `jax.distributed.initialize` that the environment names."""
    values = {name: environment.get(name, "") for name in (ADDRESS, COUNT, NUMBER)}
    told = ", ".join(f"{name}={value}" for name, value in values.items())
    if missing := [name for name, value in values.items() if not value]:
        raise InputError(
            f"{told}: {' and '.join(missing)} not set; set all three on every host, or none for a "
            "run of one process"
        )
    host, _, port = values[ADDRESS].rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"{told}: {ADDRESS} is not HOST:PORT, such as 10.0.0.1:8476")
    if not values[COUNT].isdigit() or not values[NUMBER].isdigit():
        raise InputError(f"{told}: {COUNT} and {NUMBER} are whole numbers")
    count, number = int(values[COUNT]), int(values[NUMBER])
    if number >= count:
        raise InputError(f"{told}: {NUMBER} counts from 0 to {COUNT} - 1")
    return {
        "coordinator_address": values[ADDRESS],
        "num_processes": count,
        "process_id": number,
        "cluster_detection_method": "deactivate",
    }


def several() -> bool:
    """Whether there are other processes."""
    return _run.client is not None


def is_main() -> bool:
    """Whether this is process 0, which alone writes what all share."""
    return jax.process_index() == 0


def gather(value: str) -> list[str]:
    """What every process gives, by process number; each waits until all have called.

    It goes by way of process 0 and not through the devices, whose queue of steps is left alone:
    about a millisecond, so that a loop whose next step is queued already may call it at every step.
    """
    if _run.client is None:
        return [value]
    _run.calls += 1  # The same in all processes, as all make the same calls.
    key = f"xcot/gather/{_run.calls}/"
    _run.client.key_value_set(f"{key}{jax.process_index()}", value)
    barrier("gather")
    entries = _run.client.key_value_dir_get(key)
    if is_main():  # All have read the values of the call before, as they are in this one.
        _run.client.key_value_delete(f"xcot/gather/{_run.calls - 1}/")
    return [text for _, text in sorted(entries, key=lambda entry: _number(entry[0]))]


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process: the same answer in all, which wait for each other."""
    return "1" in gather("1" if flag else "0")


def broadcast(value: _Text) -> _Text:
    """What process 0 gives, in all processes."""
    text = value if isinstance(value, str) else value.hex()
    first = gather(text if is_main() else "")[0]
    return first if isinstance(value, str) else bytes.fromhex(first)


def barrier(name: str) -> None:
    """Waits until all processes are at the barrier of this name, which can be met again.

    Raises:
      InputError: if they do not come within `WAIT_SECONDS`.
    """
    if _run.client is None:
        return
    try:
        _run.client.wait_at_barrier(f"xcot/{name}", WAIT_SECONDS * 1000)
    except RuntimeError as error:
        raise InputError(
            f"the processes of this run did not meet at {name!r}: {_line(error)}; look for the "
            "first error in the logs of all hosts, and start the run again: it continues from its "
            "newest checkpoint"
        ) from error


def fail(error: BaseException, status: int = 1) -> None:
    """Ends all processes of the run because this one cannot go on; alone, it does nothing.

    Without it the others would wait for this one. Each says which process failed, where, and why.
    """
    if _run.client is None:
        return
    if not isinstance(error, InputError | OSError | KeyboardInterrupt):
        traceback.print_exception(error)
    if isinstance(error, jax.errors.JaxRuntimeError):
        print(
            "xcot: error: this process cannot go on. If it lost a connection, another process of "
            "the run died before: see its log. The same command on all hosts continues the run",
            file=sys.stderr,
        )
    with _run.lock:  # Not while the watcher is ending this process.
        _run.leaving.set()
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        what = {"host": socket.gethostname(), "message": f"{kind}{error}", "status": status}
        number = jax.process_index()
        with contextlib.suppress(RuntimeError):  # The others may be gone.
            _run.client.key_value_set(f"{_FAILED}{number}", json.dumps(what))
            _run.client.wait_at_barrier("xcot/end", 5_000)
        _end(status)


def _watch() -> None:
    """Ends this process soon after another has failed."""
    while not _run.leaving.wait(1.0):
        try:
            failed = _run.client.key_value_dir_get(_FAILED)
        except RuntimeError as error:
            if not _run.leaving.wait(5.0):  # Else the run is over, and the service with it.
                _say(f"the run's process 0 cannot be reached ({_line(error)})")
                _end(1)
            return
        if failed and _run.lock.acquire(blocking=False):
            key, value = failed[0]
            what = json.loads(value)
            _say(f"process {_number(key)} on {what['host']} failed: {what['message']}")
            with contextlib.suppress(RuntimeError):
                _run.client.wait_at_barrier("xcot/end", 5_000)
            _end(what["status"])


def _number(key: str) -> int:
    return int(key.rpartition("/")[2])


def _line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def _give_up(message: str) -> None:
    print(f"xcot: error: {message}", file=sys.stderr)
    _end(2)


def _say(message: str) -> None:
    print(f"xcot: error: {message}; this process ends too", file=sys.stderr)


def _end(status: int) -> NoReturn:
    """Without JAX's own shutdown, which waits for all processes."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
