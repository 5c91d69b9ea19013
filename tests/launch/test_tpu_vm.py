"""tpu_vm.py: every argument list, as Google's pages have it."""

import ast
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tpu_vm

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = [sys.executable, "-S", str(ROOT / "launch" / "tpu_vm.py")]
PLACE = "--project=p --zone=us-east5-a"
TPUS = "gcloud compute tpus"
IMAGE = "--image-family=ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e"
IMAGE += " --image-project=ubuntu-os-accelerator-images"
SPOT = "--provisioning-model=SPOT --instance-termination-action=STOP"
DISK = "--boot-disk-size=200GB --scopes=cloud-platform"
MIG = "gcloud compute instance-groups managed"
POLICY = "projects/p/regions/us-east5/resourcePolicies"
SETUP = "git init --quiet kdjax && cd kdjax && git fetch --quiet ~/kdjax.bundle HEAD"
SETUP += " && git checkout --quiet --force --detach FETCH_HEAD"
SETUP += " && bash launch/setup_tpu.sh"
WORKER = "bash kdjax/launch/worker.sh"
RUN = ".venv/bin/python -m kdjax --workdir=gs://b/r"


def made(words):
    """The argument lists of a command line; of `run`, for the command `RUN`."""
    words = f"{words} {PLACE}" + f" -- {RUN}" * words.startswith("run ")
    options, after = tpu_vm.parse(shlex.split(words))
    request = tpu_vm.request_of(options)
    machines = tpu_vm.machines_of(request, options)
    return tpu_vm.commands(options, request, after, machines)


# Each command line, and what it makes.
GOLDEN = {
    # The TPU API
    "create n --accelerator=v5e-8 --spot": [
        f"{TPUS} queued-resources create n --node-id=n {PLACE}"
        " --accelerator-type=v5litepod-8 --runtime-version=v2-alpha-tpuv5-lite --spot"
    ],
    "create n --accelerator=v4-32 --slices=2 --reserved --valid_until=6h": [
        f"{TPUS} queued-resources create n --node-prefix=n --node-count=2 {PLACE}"
        " --accelerator-type=v4-32 --runtime-version=tpu-ubuntu2204-base --reserved"
        " --valid-until-duration=6h"
    ],
    "create n --accelerator=v6e-16 --api=queued": [
        f"{TPUS} queued-resources create n --node-id=n {PLACE}"
        " --accelerator-type=v6e-16 --runtime-version=v2-alpha-tpuv6e"
    ],
    "create n --accelerator=v5p-8 --api=queued": [
        f"{TPUS} queued-resources create n --node-id=n {PLACE}"
        " --accelerator-type=v5p-8 --runtime-version=v2-alpha-tpuv5"
    ],
    "create n --accelerator=v4-8 --spot --replace": [
        # not --async: the name must be free before it is asked for anew
        f"{TPUS} queued-resources delete n {PLACE} --force --quiet",
        f"{TPUS} queued-resources create n --node-id=n {PLACE}"
        " --accelerator-type=v4-8 --runtime-version=tpu-ubuntu2204-base --spot",
    ],
    "status n --accelerator=v5e-8": [
        f"{TPUS} queued-resources describe n {PLACE} --format=value(state.state)"
    ],
    "setup n --accelerator=v5e-8": [
        "git bundle create /tmp/kdjax.bundle HEAD",
        f"{TPUS} tpu-vm scp /tmp/kdjax.bundle n: {PLACE} --worker=all",
        f"{TPUS} tpu-vm ssh n {PLACE} --worker=all --command='{SETUP}'",
    ],
    "setup n --accelerator=v4-32 --slices=2 --free_chips": [
        "git bundle create /tmp/kdjax.bundle HEAD",
        f"{TPUS} tpu-vm scp /tmp/kdjax.bundle n-0: {PLACE} --worker=all",
        f"{TPUS} tpu-vm scp /tmp/kdjax.bundle n-1: {PLACE} --worker=all",
        f"{TPUS} tpu-vm ssh n-0 {PLACE} --worker=all --command='{SETUP} --free_chips'",
        f"{TPUS} tpu-vm ssh n-1 {PLACE} --worker=all --command='{SETUP} --free_chips'",
    ],
    "run n --accelerator=v5e-16": [
        f"{TPUS} tpu-vm ssh n {PLACE} --worker=all --command='{WORKER} start {RUN}'"
    ],
    "run n --accelerator=v5e-16 --slices=2": [
        f"{TPUS} tpu-vm ssh n-{i} {PLACE} --worker=all --command='{WORKER} start {RUN}'"
        for i in (0, 1)
    ],
    "stop n --accelerator=v5e-8": [
        f"{TPUS} tpu-vm ssh n {PLACE} --worker=all --command='{WORKER} stop'"
    ],
    "logs n --accelerator=v5e-8": [
        f"{TPUS} tpu-vm ssh n {PLACE} --worker=all --command='{WORKER} logs 50'"
    ],
    "logs n --accelerator=v4-32 --slices=2 --follow --lines=9": [
        f"{TPUS} tpu-vm ssh n-0 {PLACE} --worker=0 --command='{WORKER} logs 9 -f'"
    ],
    "delete n --accelerator=v5e-8": [
        f"{TPUS} queued-resources delete n {PLACE} --force --quiet --async"
    ],
    # Compute Engine, one host
    "create n --accelerator=v6e-8 --spot": [
        f"gcloud compute instances create n {PLACE} --machine-type=ct6e-standard-8t"
        f" {IMAGE} {SPOT} --maintenance-policy=TERMINATE {DISK}"
    ],
    "create n --accelerator=v5p-8": [
        f"gcloud compute instances create n {PLACE} --machine-type=ct5p-hightpu-4t"
        f" {IMAGE} --maintenance-policy=TERMINATE {DISK}"
    ],
    "create n --accelerator=v6e-1 --reservation=mine": [
        f"gcloud compute instances create n {PLACE} --machine-type=ct6e-standard-1t"
        f" {IMAGE} --provisioning-model=RESERVATION_BOUND"
        " --instance-termination-action=DELETE --reservation-affinity=specific"
        f" --reservation=mine --maintenance-policy=TERMINATE {DISK}"
    ],
    "status n --accelerator=v6e-8": [
        f"gcloud compute instances describe n {PLACE} --format=value(status)"
    ],
    "setup n --accelerator=v6e-8": [
        "git bundle create /tmp/kdjax.bundle HEAD",
        f"gcloud compute scp /tmp/kdjax.bundle n: {PLACE}",
        f"gcloud compute ssh n {PLACE} --command='{SETUP}'",
    ],
    "run n --accelerator=v6e-8": [
        f"gcloud compute ssh n {PLACE} --command='{WORKER} start {RUN}'"
    ],
    "delete n --accelerator=v6e-8": [
        f"gcloud compute instances delete n {PLACE} --quiet"
    ],
    "create n --accelerator=v6e-8 --spot --replace": [
        f"gcloud compute instances delete n {PLACE} --quiet",
        f"gcloud compute instances create n {PLACE} --machine-type=ct6e-standard-8t"
        f" {IMAGE} {SPOT} --maintenance-policy=TERMINATE {DISK}",
    ],
    # Compute Engine, several hosts
    "create n --accelerator=v6e-16 --spot": [
        "gcloud compute resource-policies create workload-policy n-wp --project=p"
        " --region=us-east5 --type=HIGH_THROUGHPUT --accelerator-topology=4x4",
        "gcloud compute instance-templates create n-it --project=p"
        " --machine-type=ct6e-standard-4t --maintenance-policy=TERMINATE"
        f" {SPOT} {IMAGE} {DISK}",
        f"{MIG} create n {PLACE} --template=n-it --size=4"
        " --target-size-policy-mode=bulk --default-action-on-vm-failure=do-nothing"
        f" --workload-policy={POLICY}/n-wp",
    ],
    "create n --accelerator=tpu7x-64 --topology=2x4x4 --slices=2": [
        "gcloud compute resource-policies create workload-policy n-wp --project=p"
        " --region=us-east5 --type=HIGH_THROUGHPUT --accelerator-topology=2x4x4",
        "gcloud compute instance-templates create n-it --project=p"
        " --machine-type=tpu7x-standard-4t --maintenance-policy=TERMINATE"
        " --image-family=ubuntu-accel-2404-amd64-tpu-tpu7x"
        f" --image-project=ubuntu-os-accelerator-images {DISK}",
    ]
    + [
        f"{MIG} create {name} {PLACE} --template=n-it --size=8"
        " --target-size-policy-mode=bulk --default-action-on-vm-failure=do-nothing"
        f" --workload-policy={POLICY}/n-wp"
        for name in ("n-0", "n-1")
    ],
    "status n --accelerator=v5p-16": [
        f"{MIG} list-instances n {PLACE} --format=value(name,status)"
    ],
    "setup n --accelerator=v5p-16 --machines=n-a,n-b": [
        "git bundle create /tmp/kdjax.bundle HEAD",
        f"gcloud compute scp /tmp/kdjax.bundle n-a: {PLACE}",
        f"gcloud compute scp /tmp/kdjax.bundle n-b: {PLACE}",
        f"gcloud compute ssh n-a {PLACE} --command='{SETUP}'",
        f"gcloud compute ssh n-b {PLACE} --command='{SETUP}'",
    ],
    "run n --accelerator=v5p-16 --machines=a,b,c,d --slices=2": [
        f"gcloud compute ssh {name} {PLACE} --command='MEGASCALE_COORDINATOR_ADDRESS=a"
        f" MEGASCALE_NUM_SLICES=2 MEGASCALE_SLICE_ID={index} {WORKER} start {RUN}'"
        for name, index in (("a", 0), ("b", 0), ("c", 1), ("d", 1))
    ],
    "logs n --accelerator=v5p-16 --machines=a,b --follow": [
        f"gcloud compute ssh a {PLACE} --command='{WORKER} logs 50 -f'"
    ],
    "delete n --accelerator=v6e-16": [
        f"{MIG} delete n {PLACE} --quiet",
        "gcloud compute instance-templates delete n-it --project=p --quiet",
        "gcloud compute resource-policies delete n-wp --project=p --region=us-east5"
        " --quiet",
    ],
}


@pytest.mark.parametrize("words", GOLDEN)
def test_a_command_line_makes_these_argument_lists(words):
    assert made(words) == [shlex.split(line) for line in GOLDEN[words]]


@pytest.mark.parametrize("words", GOLDEN)
def test_what_is_printed_is_what_a_shell_would_run(words):
    lists = [shlex.split(line) for line in GOLDEN[words]]
    for argument_list in lists:
        shown = tpu_vm.shown(argument_list)
        assert shlex.split(shown.replace("\\\n", "")) == argument_list
        assert "  " not in shown.splitlines()[0]


def test_a_command_with_spaces_and_quotes_arrives_as_it_was_given():
    given = ["python", "-c", "print('it is')", "--workdir=gs://b/two words"]
    options, after = tpu_vm.parse(
        ["run", "n", *PLACE.split(), "--accelerator=v5e-8", "--", *given]
    )
    (words,) = tpu_vm.commands(options, tpu_vm.request_of(options), after, [])
    (text,) = (w.partition("=")[2] for w in words if w.startswith("--command="))
    assert shlex.split(text) == [*WORKER.split(), "start", *given]


def test_the_default_api_is_the_one_that_is_developed_where_the_tpu_has_it():
    for tpu, tool in (("v4-8", "tpus"), ("v5e-8", "tpus"), ("v5litepod-8", "tpus")):
        assert made(f"status n --accelerator={tpu}")[0][2] == tool
    for tpu in ("v5p-8", "v6e-8", "tpu7x-8", "v7x-8"):
        assert made(f"status n --accelerator={tpu}")[0][2] == "instances"


def test_each_size_has_as_many_hosts_and_chips_as_its_topology():
    sizes = {"v6e": (1, 4, 8, 16, 32, 64, 128, 256), "v5p": (8, 16, 32, 64, 128, 256)}
    for tpu, numbers in sizes.items():
        for size in numbers:
            lists = made(f"create n --accelerator={tpu}-{size}")
            chips = size // (2 if tpu == "v5p" else 1)
            words = {word.partition("=")[0]: word for line in lists for word in line}
            per_host = int(words["--machine-type"][-2])
            hosts = int(words.get("--size", "=1").partition("=")[2])
            assert hosts * per_host == chips
            if hosts > 1:
                sides = words["--accelerator-topology"].partition("=")[2].split("x")
                assert math.prod(map(int, sides)) == chips


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("creat n --accelerator=v5e-8", "unknown 'creat' (did you mean 'create'?)"),
        ("create n --acelerator=v5e-8", "'--acelerator' (did you mean '--accelerator'"),
        ("create n", "required: --accelerator"),
        ("create n --accelerator=v5-8", "unknown TPU 'v5' (did you mean 'v5p'?)"),
        ("create n --accelerator=v5e", "expected a TPU and its size, as v5e-8, found"),
        ("create n --accelerator=v4-7", "a v4 chip has 2 cores; size must be even"),
        ("create n --accelerator=v5e-8 --api=quued", "(did you mean 'queued'?)"),
        ("create n --accelerator=v5e-8 --api=compute", "not to be had by 'compute'"),
        ("create n --accelerator=tpu7x-8 --api=queued", "only by 'compute'"),
        ("create n --accelerator=v6e-12", "12 chips have no usual topology"),
        ("create n --accelerator=v6e-16 --topology=4x8", "has 32 chips, and --accel"),
        ("create n --accelerator=v6e-16 --topology=2x2x4", "expected one as 4x4"),
        ("create n --accelerator=v4-8 --topology=2x2x1", "of --api=compute"),
        (
            "create n --accelerator=v6e-8 --slices=2",
            "slices of one host are not joined",
        ),
        ("create n --accelerator=v6e-8 --slices=0", "1 or more, found '0'"),
        ("create n --accelerator=v6e-8 --spot --reservation=r", "not together with"),
        ("create n --accelerator=v6e-8 --reserved", "--api=compute has --reservation"),
        ("create n --accelerator=v6e-8 --valid_until=6h", "of --api=queued"),
        ("create n --accelerator=v5e-8 --reservation=r", "--api=queued has --reserved"),
        ("create N --accelerator=v5e-8", "NAME: expected a name as har-1, found 'N'"),
        ("create n m --accelerator=v5e-8", "unexpected 'm'; a command comes after --"),
        ("run n --accelerator=v5e-8", "no command: tpu_vm.py run NAME [flags] -- COMM"),
        ("stop n --accelerator=v5e-8 -- x", "takes no COMMAND, found 'x'"),
        ("stop n --accelerator=v6e-16 --machines=a,b", "expected 4 names (4 a slice)"),
    ],
)
def test_wrong_input_is_one_line(words, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        tpu_vm.main([*PLACE.split(), *words.split()])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kdjax: error: ")
    assert said in line


@pytest.mark.parametrize("zone", ["us-east5", "us_east5_a", ""])
def test_a_region_is_no_zone(zone, capsys):
    with pytest.raises(SystemExit):
        tpu_vm.main(f"create n --accelerator=v6e-8 --project=p --zone={zone}".split())
    assert "--zone: expected a name as us-central1-a" in capsys.readouterr().err


@pytest.fixture
def gcloud(tmp_path):
    """Runs tpu_vm.py with a `gcloud` that notes its words and does as it is told."""
    tool = tmp_path / "bin" / "gcloud"
    tool.parent.mkdir()
    noted = tmp_path / "noted"

    def run(words, *, prints="", fails_at=""):
        noted.write_text("")
        tool.write_text(
            "#!/bin/sh\n"
            f'echo "$@" >>{noted}\n'
            f"case \"$*\" in *list-instances*|*describe*) printf '{prints}';; esac\n"
            f"case \"$*\" in *'{fails_at or 'no such words'}'*) exit 7;; esac\n"
        )
        tool.chmod(0o755)
        environ = os.environ | {"PATH": f"{tool.parent}:/usr/bin:/bin"}
        done = subprocess.run(
            [*SCRIPT, *words.split(), *PLACE.split(), "--execute"],
            capture_output=True,
            text=True,
            env=environ,
            cwd=tmp_path,
        )
        return done, noted.read_text().splitlines()

    return run


def test_execute_runs_in_order_and_prints_each(gcloud):
    done, noted = gcloud("create n --accelerator=v6e-16")
    assert done.returncode == 0, done.stderr
    assert noted == [" ".join(w[1:]) for w in made("create n --accelerator=v6e-16")]
    assert done.stdout.count("gcloud compute") == 3


def test_execute_stops_at_the_first_failure_with_its_code(gcloud):
    done, noted = gcloud("create n --accelerator=v6e-16", fails_at="templates create")
    assert done.returncode == 7
    assert len(noted) == 2
    assert "managed create" not in done.stdout


def test_execute_asks_for_the_machines_names(gcloud):
    listed = "n-x\\tRUNNING\\nn-y\\tRUNNING\\n"
    done, noted = gcloud("stop n --accelerator=v5p-16", prints=listed)
    assert done.returncode == 0, done.stderr
    assert [line.split()[:3] for line in noted[1:]] == [
        ["compute", "ssh", "n-x"],
        ["compute", "ssh", "n-y"],
    ]
    done, noted = gcloud("stop n --accelerator=v5p-32", prints=listed)
    assert done.returncode == 3
    assert "error: n has 2 machines, not yet its 4; see status" in done.stderr


def test_status_says_what_a_state_means(gcloud):
    done, _ = gcloud("status n --accelerator=v5e-8", prints="SUSPENDED\\n")
    last = done.stdout.splitlines()[-1]
    assert last.startswith("SUSPENDED: preempted: it still takes quota; create --repl")
    listed = "n-x\\tRUNNING\\nn-y\\tTERMINATED\\n"
    done, _ = gcloud("status n --accelerator=v5p-16", prints=listed)
    first, second = done.stdout.splitlines()[-2:]
    assert (
        first == "n-x\tRUNNING: booted, perhaps not yet ready for ssh: setup, then run"
    )
    assert "create --replace" in second


def test_without_gcloud_it_says_so(tmp_path):
    words = f"status n --accelerator=v5e-8 {PLACE} --execute".split()
    environ = os.environ | {"PATH": str(tmp_path)}
    done = subprocess.run(
        [*SCRIPT, *words], capture_output=True, text=True, env=environ
    )
    assert done.returncode == 3
    assert "cannot run 'gcloud': No such file or directory" in done.stderr


def test_gcloud_itself_takes_what_creates(tmp_path):
    """Its own parser, without a network. Older ones have one flag in alpha only."""
    if not shutil.which("gcloud"):
        pytest.skip("needs gcloud")
    lines = {}  # the longest of each kind that creates: gcloud takes its time
    for line in (line for case in GOLDEN.values() for line in case):
        words = shlex.split(line)
        if words[0] == "gcloud" and "create" in words:
            kind = (*words[2 : words.index("create")], "--spot" in words)
            lines[kind] = max(line, lines.get(kind, ""), key=len)
    asked = tmp_path / "commands.json"
    asked.write_text(json.dumps([{"command_string": line} for line in lines.values()]))
    done = subprocess.run(
        ["gcloud", "meta", "lint-gcloud-commands", f"--commands-file={asked}"],
        capture_output=True,
        text=True,
        env=os.environ | {"CLOUDSDK_CONFIG": str(tmp_path / "config")},
    )
    answers = json.loads(done.stdout)
    assert len(answers) == len(lines)
    alpha = "--target-size-policy-mode flag is available in one or more alternate"
    for line, answer in zip(lines.values(), answers, strict=True):
        assert answer["success"] or alpha in answer["error_message"], (line, answer)


def test_the_launchers_are_python_3_10_and_need_nothing_else():
    own = {path.stem for path in (ROOT / "launch").glob("*.py")}
    for path in (ROOT / "launch").glob("*.py"):
        tree = ast.parse(path.read_text(), feature_version=(3, 10))
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.partition(".")[0] in sys.stdlib_module_names | own, path
