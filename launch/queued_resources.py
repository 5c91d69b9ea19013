"""Argument lists for the Cloud TPU API: queued resources (v4, v5e; also v5p, v6e).

Google calls this API "no longer under active development" (fixes only). Flags: gcloud's
reference of `compute tpus queued-resources` and `compute tpus tpu-vm`, general release.
"""

from __future__ import annotations

from tpu_slices import GENERATIONS, Request

QUEUED = ("gcloud", "compute", "tpus", "queued-resources")
TPU_VM = ("gcloud", "compute", "tpus", "tpu-vm")
# What a request's state means for who waits for it.
STATES = {
    "CREATING": "not yet queued",
    "ACCEPTED": "queued",
    "WAITING_FOR_RESOURCES": "queued: no machine is free yet",
    "PROVISIONING": "machines are being made",
    "ACTIVE": "ready: setup, then run",
    "FAILED": "it will never be given: create --replace",
    "SUSPENDING": "being preempted, or its reservation ends",
    "SUSPENDED": "preempted: it still takes quota; create --replace, setup, run",
    "DELETING": "being deleted",
}


def _place(request: Request) -> list[str]:
    return [f"--project={request.project}", f"--zone={request.zone}"]


def create(request: Request) -> list[list[str]]:
    """One queued resource: a node, or one for each slice, named NAME-0, NAME-1, ..."""
    nodes = [f"--node-id={request.name}"]
    if request.slices > 1:
        nodes = [f"--node-prefix={request.name}", f"--node-count={request.slices}"]
    words = [*QUEUED, "create", request.name, *nodes, *_place(request)]
    words += [f"--accelerator-type={request.generation}-{request.size}"]
    words += [f"--runtime-version={GENERATIONS[request.generation].runtime}"]
    words += ["--spot"] * request.spot + ["--reserved"] * request.reserved
    if request.valid_until:
        words += [f"--valid-until-duration={request.valid_until}"]
    return [words]


def status(request: Request) -> list[list[str]]:
    """Prints one of `STATES`."""
    words = [*QUEUED, "describe", request.name, *_place(request)]
    return [[*words, "--format=value(state.state)"]]


def delete(request: Request, *, wait: bool) -> list[list[str]]:
    """The request and its machines. wait: until they are gone."""
    words = [*QUEUED, "delete", request.name, *_place(request), "--force", "--quiet"]
    return [words + ["--async"] * (not wait)]


def copy(request: Request, file: str) -> list[list[str]]:
    """A file to the home folder of every worker."""
    return [
        [*TPU_VM, "scp", file, f"{name}:", *_place(request), "--worker=all"]
        for name in request.names
    ]


def ssh(request: Request, command: str, *, only_first: bool = False) -> list[list[str]]:
    """A command on every worker of every slice, or on the first worker of all.

    Slices know of each other: the API writes MEGASCALE_* into the machines' `tpu-env`
    metadata, where jax looks for them.
    """
    names = request.names[:1] if only_first else request.names
    what = [f"--worker={'0' if only_first else 'all'}", f"--command={command}"]
    return [[*TPU_VM, "ssh", name, *_place(request), *what] for name in names]
