"""Argument lists for Compute Engine: v5p, v6e, TPU7x.

A slice of one host is an instance. One of several is a managed instance group NAME with
a workload policy NAME-wp (the topology) and an instance template NAME-it (the machine).
Flags: gcloud's reference; docs.cloud.google.com/tpu/docs/tpus-and-migs, spot-compute.
"""

from __future__ import annotations

from tpu_slices import GENERATIONS, Request, machine_type, topology

IMAGES = "ubuntu-os-accelerator-images"
# What the state of a machine means for who waits for it.
STATES = {
    "PENDING": "waiting for capacity",
    "PROVISIONING": "machines are being made",
    "STAGING": "machines are being made",
    "RUNNING": "booted, perhaps not yet ready for ssh: setup, then run",
    "STOPPING": "being preempted or stopped",
    "SUSPENDED": "suspended",
    "TERMINATED": "preempted or stopped: create --replace, setup, run",
}
Machines = list[list[str]]  # the machines' names, a list for each slice


def _place(request: Request) -> list[str]:
    return [f"--project={request.project}", f"--zone={request.zone}"]


def _managed(request: Request, verb: str, group: str) -> list[str]:
    words = ["gcloud", "compute", "instance-groups", "managed", verb, group]
    return [*words, *_place(request)]


def _region(request: Request) -> str:
    return request.zone.rpartition("-")[0]


def _provisioning(request: Request) -> list[str]:
    if request.spot:
        return ["--provisioning-model=SPOT", "--instance-termination-action=STOP"]
    if request.reservation:
        # DELETE is what a group's reservation asks for, as reported; not tried.
        return [
            "--provisioning-model=RESERVATION_BOUND",
            "--instance-termination-action=DELETE",
            "--reservation-affinity=specific",
            f"--reservation={request.reservation}",
        ]
    return []


def _image(request: Request) -> list[str]:
    family = GENERATIONS[request.generation].image
    return [f"--image-family={family}", f"--image-project={IMAGES}"]


# By default a boot disk has 10 GB, which one installation of jax and data fills.
DISK = "--boot-disk-size=200GB"
SCOPES = "--scopes=cloud-platform"  # gs:// folders, by the machine's own account


def create(request: Request) -> list[list[str]]:
    """An instance, or a policy, a template and a group for each slice."""
    machine = f"--machine-type={machine_type(request)}"
    maintenance = "--maintenance-policy=TERMINATE"
    if request.hosts == 1:
        words = ["gcloud", "compute", "instances", "create", request.name]
        words += [*_place(request), machine, *_image(request), *_provisioning(request)]
        return [[*words, maintenance, DISK, SCOPES]]
    name, region = request.name, _region(request)
    project = f"--project={request.project}"
    policy = ["gcloud", "compute", "resource-policies", "create", "workload-policy"]
    policy += [f"{name}-wp", project, f"--region={region}"]
    policy += ["--type=HIGH_THROUGHPUT", f"--accelerator-topology={topology(request)}"]
    template = ["gcloud", "compute", "instance-templates", "create", f"{name}-it"]
    template += [project, machine, maintenance, *_provisioning(request)]
    template += [*_image(request), DISK, SCOPES]
    which = f"projects/{request.project}/regions/{region}/resourcePolicies/{name}-wp"
    size = [f"--template={name}-it", f"--size={request.hosts}"]
    rules = ["--target-size-policy-mode=bulk"]  # all machines or none
    rules += ["--default-action-on-vm-failure=do-nothing"]
    rules += [f"--workload-policy={which}"]
    groups = [
        [*_managed(request, "create", group), *size, *rules] for group in request.names
    ]
    return [policy, template, *groups]


def status(request: Request) -> list[list[str]]:
    """Prints one of `STATES`, or a machine and its state a line."""
    if request.hosts == 1:
        words = ["gcloud", "compute", "instances", "describe", request.name]
        return [[*words, *_place(request), "--format=value(status)"]]
    return [
        [*_managed(request, "list-instances", group), "--format=value(name,status)"]
        for group in request.names
    ]


def delete(request: Request, *, wait: bool) -> list[list[str]]:
    """The groups first (a machine deleted alone comes back), then what they were of."""
    del wait  # gcloud waits here in any case
    if request.hosts == 1:
        words = ["gcloud", "compute", "instances", "delete", request.name]
        return [[*words, *_place(request), "--quiet"]]
    groups = [
        [*_managed(request, "delete", group), "--quiet"] for group in request.names
    ]
    project = f"--project={request.project}"
    template = ["gcloud", "compute", "instance-templates", "delete"]
    template += [f"{request.name}-it", project, "--quiet"]
    policy = ["gcloud", "compute", "resource-policies", "delete"]
    policy += [f"{request.name}-wp", project, f"--region={_region(request)}", "--quiet"]
    return [*groups, template, policy]


def copy(request: Request, file: str, machines: Machines) -> list[list[str]]:
    """A file to the home folder of every machine."""
    return [
        ["gcloud", "compute", "scp", file, f"{machine}:", *_place(request)]
        for names in machines
        for machine in names
    ]


def ssh(
    request: Request, command: str, machines: Machines, *, only_first: bool = False
) -> list[list[str]]:
    """A command on every machine, one after the other, or on the first alone.

    There is no --worker=all. Several slices are told of each other by MEGASCALE_*, the
    first machine listed as their coordinator (inferred from jax's source; not tried).
    """
    lists = []
    for index, names in enumerate(machines):
        told = ""
        if request.slices > 1:
            told = (
                f"MEGASCALE_COORDINATOR_ADDRESS={machines[0][0]} "
                f"MEGASCALE_NUM_SLICES={request.slices} MEGASCALE_SLICE_ID={index} "
            )
        for machine in names:
            words = ["gcloud", "compute", "ssh", machine, *_place(request)]
            lists.append([*words, f"--command={told}{command}"])
    return lists[:1] if only_first else lists
