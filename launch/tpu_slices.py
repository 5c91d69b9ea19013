"""What is asked of Google Cloud: TPU slices by name, and which API has them.

Sources: Cloud TPU's pages on versions, runtimes and managed instance groups (2026), and
XPK's table of topologies. A size after the dash counts TensorCores where a chip has two
(v4, v5p, tpu7x) and chips where it has one (v5e, v6e).
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from command_line import fail, nearest


class Generation(NamedTuple):
    """A version of TPU. None where an API does not have it."""

    cores: int  # TensorCores a chip: what the size counts
    runtime: str | None  # the TPU API's image
    machine: str | None  # Compute Engine's machine type, of `{chips}` chips
    image: str | None = None  # and its image family


V5_V6 = "ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e"
GENERATIONS = {
    "v4": Generation(2, "tpu-ubuntu2204-base", None),
    "v5litepod": Generation(1, "v2-alpha-tpuv5-lite", None),
    "v5p": Generation(2, "v2-alpha-tpuv5", "ct5p-hightpu-{chips}t", V5_V6),
    "v6e": Generation(1, "v2-alpha-tpuv6e", "ct6e-standard-{chips}t", V5_V6),
    "tpu7x": Generation(
        2, None, "tpu7x-standard-{chips}t", "ubuntu-accel-2404-amd64-tpu-tpu7x"
    ),
}
ALIASES = {"v5e": "v5litepod", "v7x": "tpu7x"}
# The usual topology of so many chips; others by --topology.
FLAT = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8"}
FLAT |= {128: "8x16", 256: "16x16"}
CUBIC = {4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4"}
CUBIC |= {128: "4x4x8", 256: "4x8x8", 512: "8x8x8"}


class Request(NamedTuple):
    """What one command line asks for. `slices` are joined into one job."""

    name: str
    project: str
    zone: str
    generation: str  # a name in GENERATIONS
    size: int
    api: str  # queued, compute
    topology: str = ""  # of Compute Engine; "" for the usual one
    slices: int = 1
    spot: bool = False
    reserved: bool = False  # queued: from the project's reserved capacity
    reservation: str = ""  # compute: from this reservation
    valid_until: str = ""  # queued: give up waiting after so long, as "6h"

    @property
    def chips(self) -> int:
        return self.size // GENERATIONS[self.generation].cores

    @property
    def hosts(self) -> int:
        """Machines of one slice, of Compute Engine: 4 chips each; one v6e has 8."""
        alone = 8 if self.generation == "v6e" else 4
        return 1 if self.chips <= alone else self.chips // 4

    @property
    def names(self) -> list[str]:
        """The slices' names: the request's own, or with -0, -1, ... after it."""
        if self.slices == 1:
            return [self.name]
        return [f"{self.name}-{i}" for i in range(self.slices)]


def parse_accelerator(text: str) -> tuple[str, int]:
    """("v5litepod", 8) from "v5e-8"; ends the command with a line on anything else."""
    match = re.fullmatch(r"([a-z0-9]+)-([1-9]\d{0,4})", text)
    if not match:
        fail(f"--accelerator: expected a TPU and its size, as v5e-8, found {text!r}")
    name, size = ALIASES.get(match[1], match[1]), int(match[2])
    if name not in GENERATIONS:
        known = GENERATIONS.keys() | ALIASES.keys()
        fail(f"--accelerator: unknown TPU {match[1]!r}{nearest(match[1], known)}")
    if size % GENERATIONS[name].cores:
        fail(f"--accelerator: {text}: a {match[1]} chip has 2 cores; size must be even")
    return name, size


def choose_api(generation: str, asked: str | None) -> str:
    """The API asked for, or the one to use for this TPU: compute where it is there."""
    has = GENERATIONS[generation]
    known = {"queued": has.runtime is not None, "compute": has.machine is not None}
    api = asked or ("compute" if known["compute"] else "queued")
    if not known[api]:
        other = next(name for name, there in known.items() if there)
        fail(f"--api: {generation} is not to be had by {api!r}, only by {other!r}")
    return api


def topology(request: Request) -> str:
    """The slice's topology in chips, as "4x4": the one asked for, or the usual one."""
    flat = request.generation == "v6e"
    usual = FLAT if flat else CUBIC
    if not request.topology:
        if request.chips not in usual:
            sizes = ", ".join(map(str, usual))
            fail(
                f"--accelerator: {request.chips} chips have no usual topology (chips: "
                f"{sizes}); give one by --topology"
            )
        return usual[request.chips]
    if not re.fullmatch(r"\d+x\d+" if flat else r"\d+x\d+x\d+", request.topology):
        example = "4x4" if flat else "2x2x4"
        fail(f"--topology: expected one as {example}, found {request.topology!r}")
    product = math.prod(int(side) for side in request.topology.split("x"))
    if product != request.chips:
        fail(
            f"--topology: {request.topology} has {product} chips, and --accelerator "
            f"{request.chips}"
        )
    return request.topology


def machine_type(request: Request) -> str:
    """Compute Engine's machine type for one host of the slice."""
    machine = GENERATIONS[request.generation].machine
    assert machine is not None  # choose_api has seen to it
    return machine.format(chips=4 if request.hosts > 1 else request.chips)


def check(request: Request) -> None:
    """Ends the command with a line if these fields do not go together."""
    if request.spot and (request.reserved or request.reservation):
        fail("--spot: not together with --reserved or --reservation")
    if request.api == "queued":
        if request.reservation:
            fail("--reservation: of --api=compute; --api=queued has --reserved")
        if request.topology:
            fail("--topology: of --api=compute; --api=queued has the usual ones")
        return
    if request.reserved:
        fail("--reserved: of --api=queued; --api=compute has --reservation=NAME")
    if request.valid_until:
        fail("--valid_until: of --api=queued")
    topology(request)
    if request.slices > 1 and request.hosts == 1:
        fail("--slices: of --api=compute, slices of one host are not joined")
