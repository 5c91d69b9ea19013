"""The shell scripts, with stand-ins for what they call; SkyPilot's file; GKE's page."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import tpu_vm
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch"), ROOT / ".ci" / "run"])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_can_read_it(script):
    subprocess.run(["bash", "-n", script], check=True)


def test_shellcheck_finds_nothing():
    beside = Path(sys.executable).with_name("shellcheck")
    tool = str(beside) if beside.exists() else shutil.which("shellcheck")
    if tool is None:
        pytest.skip("needs shellcheck (the extra test has it)")
    done = subprocess.run(
        [tool, "--external-sources", *SCRIPTS],
        capture_output=True,
        text=True,
        cwd=ROOT,  # from where the scripts name what they source
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture
def checkout(tmp_path):
    """A folder with launch/ in it, and a way to run a script there with stand-ins."""
    shutil.copytree(LAUNCH, tmp_path / "launch")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    bash = shutil.which("bash")

    # What a bare machine has; not its Pythons.
    bare = ("bash", "cat", "cksum", "cp", "dirname", "id", "mkdir", "rm", "sort")
    for name in (*bare, "tail", "tr"):
        (bin_ / name).symlink_to(shutil.which(name))

    ours = {k: v for k, v in os.environ.items() if k not in ("PYTHON", "KDJAX_VENV")}

    def run(*words, tools=None, alone=False, **environ):
        for name, text in (tools or {}).items():
            (bin_ / name).unlink(missing_ok=True)
            (bin_ / name).write_text(f"#!/bin/bash\n{text}\n")
            (bin_ / name).chmod(0o755)
        path = str(bin_) if alone else f"{bin_}:{os.environ['PATH']}"
        return subprocess.run(
            [bash, *map(str, words)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=20,
            env=ours | {"PATH": path, "HOME": str(tmp_path)} | environ,
        )

    run.folder = tmp_path
    return run


def worker(checkout, *words):
    return checkout("launch/worker.sh", *words)


def test_a_worker_starts_a_command_detached_and_stops_it(checkout, child, wait_for):
    log = checkout.folder / "runs" / "worker.log"
    seen = checkout.folder / "seen"
    stops = f"""
import signal, sys, time
def stop(*_):
    open({str(seen)!r}, "w").write("saved")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
print("there", sys.argv[1:])
time.sleep(20)
"""
    began = time.monotonic()
    started = worker(checkout, "start", *child(stops), "--workdir=gs://b/two words")
    assert started.returncode == 0, started.stderr
    assert time.monotonic() - began < 10  # it did not wait for the command
    assert f"log in {log}" in started.stdout
    wait_for(log, "there ['--workdir=gs://b/two words']")
    assert "there" in worker(checkout, "logs", 50).stdout
    again = worker(checkout, "start", "true")
    assert again.returncode == 2
    assert "a run is going on" in again.stderr
    stopped = worker(checkout, "stop")
    assert "stopped on" in stopped.stdout
    assert seen.read_text() == "saved"
    assert "nothing runs on" in worker(checkout, "stop").stdout
    assert "restart" not in log.read_text()  # 143, but it was told to stop


def test_a_worker_runs_a_preempted_command_again(checkout, child, wait_for):
    script = checkout.folder / "launch" / "until_done.py"
    script.write_text(script.read_text().replace("(seconds, 10,", "(seconds, 0.01,"))
    ends = "import os, sys\nif os.path.exists('x'): print('done'); sys.exit()\n"
    ends += "open('x', 'w').close()\nos.kill(os.getpid(), 15)\n"
    worker(checkout, "start", *child(ends))
    log = checkout.folder / "runs" / "worker.log"
    wait_for(log, "done")
    assert "exit code 143 (preempted)" in log.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "expected start, stop or logs, found ''"),
        (("begin",), "expected start, stop or logs, found 'begin'"),
        (("start",), "worker.sh start: no command"),
        (("logs", "5"), "no run was started here"),
    ],
)
def test_a_worker_says_in_one_line_what_is_wrong(checkout, words, said):
    done = worker(checkout, *words)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert said in line


def test_the_last_commit_of_a_checkout_arrives_on_a_worker(checkout, tmp_path):
    ours, bundle = tmp_path / "ours", tmp_path / "kdjax.bundle"
    script = ours / "launch" / "setup_tpu.sh"
    script.parent.mkdir(parents=True)

    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=b@c"]
        subprocess.run(["git", *who, *words], cwd=ours, check=True, capture_output=True)

    git("init")
    for text in ("echo first", 'echo second "$@"'):
        script.write_text(text)
        git("add", "launch")
        git("commit", "-m", text)
        script.write_text("echo not committed")
        git("bundle", "create", str(bundle), "HEAD")
        done = checkout("-c", f"{tpu_vm.UNPACK} --free_chips")
        assert done.returncode == 0, done.stderr
        # what somebody changed there is put back by the next setup
        (tmp_path / "kdjax" / "launch" / "setup_tpu.sh").write_text("echo changed")
    assert done.stdout == "second --free_chips\n"


# A Python that makes no environment and installs nothing, but says what it is asked.
PYTHON = """
case "$1 $2" in
  "-c import sys"*) echo VERSION; exit;;
  "-m venv") venv="${@: -1}"
    [ "$3" != --clear ] || rm -rf "$venv"
    mkdir -p "$venv/bin"; cp "$0" "$venv/bin/python" 2>&- ;;
esac
echo "$@" >>asked
"""
OLDER, NEWER = (PYTHON.replace("VERSION", version) for version in ("3.11", "3.12"))


def setup(checkout, **how):
    """What `setup "[test]"` says, and what it asked of the Pythons."""
    asked = checkout.folder / "asked"
    asked.write_text("")
    script = 'set -euo pipefail; source launch/setup.sh; setup "[test]"'
    done = checkout("-c", script, alone=True, **how)
    return done, asked.read_text().splitlines()


@pytest.mark.parametrize(
    ("version", "pins"),
    [
        ("3.11", "constraints"),
        ("3.12", "constraints-newest"),
        ("3.13", "constraints-newest"),
    ],
)
def test_setup_chooses_the_pins_by_the_python(checkout, version, pins):
    tools = {"python3": PYTHON.replace("VERSION", version)}
    done, asked = setup(checkout, tools=tools)
    assert done.returncode == 0, done.stderr
    (install,) = (line for line in asked if "pip install" in line)
    assert install.endswith(f"-c launch/{pins}.txt -e .[test]")
    assert setup(checkout, tools=tools)[1] == []  # nothing changed since
    with (checkout.folder / "launch" / f"{pins}.txt").open("a") as file:
        file.write("spam==1\n")
    assert "pip install" in "".join(setup(checkout, tools=tools)[1])


def test_setup_makes_the_environment_anew_for_another_python(checkout):
    tools = {"python3.11": OLDER, "python3.12": NEWER}
    setup(checkout, tools=tools)
    assert setup(checkout, PYTHON="python3.11")[1] == []
    done, asked = setup(checkout, PYTHON="python3.12")
    assert done.stderr.splitlines() == [
        "kdjax: .venv has Python 3.11, not 3.12: making it anew",
        "kdjax: installing into .venv (once, a minute or two)",
    ]
    assert asked[0] == "-m venv --clear .venv"
    assert asked[1].endswith("-c launch/constraints-newest.txt -e .[test]")
    assert setup(checkout)[1] == []  # nobody asked for another
    _, asked = setup(checkout, PYTHON="python3.11", KDJAX_VENV=".venv-older")
    assert asked[0] == "-m venv --clear .venv-older"
    assert setup(checkout, PYTHON="python3.12")[1] == []


def test_setup_keeps_the_python_for_other_extras(checkout):
    setup(
        checkout, tools={"python3.11": OLDER, "python3.12": NEWER}, PYTHON="python3.12"
    )
    (checkout.folder / ".venv" / "installed[test]").unlink()
    done, asked = setup(checkout)
    assert "anew" not in done.stderr
    assert "--clear" not in " ".join(asked)
    assert asked[-1].endswith("-c launch/constraints-newest.txt -e .[test]")


def test_setup_finds_the_pythons_of_pyenv(checkout):
    python = checkout.folder / ".pyenv" / "versions" / "3.12.9" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/bash{NEWER}")
    python.chmod(0o755)
    tools = {"python3.12": "echo not of this folder >&2; exit 127"}  # pyenv's shim
    done, asked = setup(checkout, tools=tools, PYTHON="python3.12")
    assert done.returncode == 0, done.stderr
    assert "constraints-newest.txt" in asked[-1]
    done, _ = setup(checkout, PYTHON="python3.13")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("kdjax: error: needs Python 3.11 or newer; found none")


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_pins_are_of_all_that_is_installed(version):
    """In the file for a Python: each requirement, at a version that it allows."""
    name = "constraints" if version == "3.11" else "constraints-newest"
    lines = (LAUNCH / f"{name}.txt").read_text().splitlines()
    assert [line for line in lines if not re.match(r"[\w.-]+==[\w.]+$", line)] == []
    pins = dict(re.sub(r"[_-]", "-", line.lower()).split("==") for line in lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = ("test", "tensorboard", "wandb", "mlflow", "fmri")
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    for requirement in map(Requirement, wanted):
        if not requirement.marker or requirement.marker.evaluate(
            {"python_version": version}
        ):
            name = requirement.name.lower().replace("_", "-")
            assert pins.get(name) in requirement.specifier, requirement
    assert ("bdpy" in pins) == (version == "3.11")


@pytest.mark.parametrize("there", [False, True])
def test_ci_tests_the_newest_jax_where_there_is_a_python_for_it(checkout, there):
    folder = checkout.folder
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    (folder / "launch" / "test.sh").write_text("echo tests >>asked")
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv-newest" / "bin").mkdir(parents=True)
    for tool in ("ruff", "mypy", "../../.venv-newest/bin/kdjax"):
        file = folder / ".venv" / "bin" / tool
        file.write_text(f'#!/bin/bash\necho "{file.name} $@" >>asked')
        file.chmod(0o755)
    keeps = NEWER.replace('rm -rf "$venv"', "true")
    (folder / "bin" / "mktemp").symlink_to(shutil.which("mktemp"))
    tools = {"python3.12": keeps} if there else {}
    done = checkout(".ci/run", tools=tools, alone=True)
    assert done.returncode == 0, done.stderr
    asked = (folder / "asked").read_text().splitlines()
    assert asked[:4] == ["tests", "ruff check .", "ruff format --check .", "mypy "]
    if not there:
        assert (
            done.stdout == "kdjax: no Python 3.12 here: the newest jax is not tested\n"
        )
        assert asked[4:] == []
        return
    assert "constraints-newest.txt" in asked[5]
    assert asked[6].startswith("-m pytest ")
    assert asked[6].endswith(" tests/losses tests/models")
    assert asked[7].startswith("kdjax --config=configs/digits_eskd.py:smoke --workdir=")


def test_setup_installs_for_tpus_with_a_python_3_11_from_uv(checkout):
    folder = checkout.folder
    python = folder / "python"
    python.write_text(f"#!/bin/bash{OLDER}")
    python.chmod(0o755)
    uv = f'echo "uv $@" >>asked\n[ "$1 $2" != "python find" ] || echo {python}'
    done = checkout("launch/setup_tpu.sh", tools={"uv": uv}, alone=True)
    assert done.returncode == 0, done.stderr
    asked = (folder / "asked").read_text().splitlines()
    assert "uv python install --quiet 3.11" in asked
    install = next(line for line in asked if "pip install" in line)
    assert install.endswith("-c launch/constraints.txt -e .[tpu]")
    checkout("launch/setup_tpu.sh", alone=True)
    again = (folder / "asked").read_text()
    assert again.count("pip install") == 1  # nothing changed since


def test_setup_brings_uv_by_pip_at_the_pinned_version(checkout):
    pip = 'echo "$PIP_BREAK_SYSTEM_PACKAGES $@" >>asked; [ "$3" != install ] || exit 9'
    done = checkout("launch/setup_tpu.sh", tools={"python3": pip}, alone=True)
    assert done.returncode == 2
    assert done.stderr == "kdjax: error: pip could not install uv\n"
    line = (checkout.folder / "asked").read_text().splitlines()[-1]
    assert line == "1 -m pip install --user --quiet -c launch/constraints.txt uv"
    assert re.search(r"^uv==[\d.]+$", (LAUNCH / "constraints.txt").read_text(), re.M)


def test_setup_frees_the_chips_only_when_asked(checkout):
    with subprocess.Popen(["sleep", "20"]) as holder:
        tools = {"lsof": f"echo {holder.pid}", "rm": "echo rm $@ >>asked"}
        tools |= {"sudo": '"$@"', "python3.11": OLDER}
        assert checkout("launch/setup_tpu.sh", tools=tools).returncode == 0
        assert holder.poll() is None
        done = checkout("launch/setup_tpu.sh", "--free_chips", tools=tools)
        assert holder.wait(timeout=10) == -signal.SIGKILL
    assert f"ending process {holder.pid}, which holds a chip" in done.stderr
    asked = (checkout.folder / "asked").read_text()
    assert "rm -f /tmp/libtpu_lockfile" in asked
    wrong = checkout("launch/setup_tpu.sh", "--free")
    assert wrong.returncode == 2
    assert "expected --free_chips or nothing, found '--free'" in wrong.stderr


@pytest.mark.parametrize("code", [0, 1, 2, 3, 130, 134, 143])
def test_slurm_requeues_a_preempted_job_and_no_other(checkout, code):
    tools = {
        "srun": f'echo "srun $@" >>asked; exit {code}',
        "scontrol": 'echo "scontrol $@" >>asked',
    }
    words = ["launch/slurm.sbatch", "--config=configs/x.py", "--workdir=two words"]
    done = checkout(*words, tools=tools, SLURM_JOB_ID="17")
    assert done.returncode == code
    asked = (checkout.folder / "asked").read_text().splitlines()
    assert asked[0] == (
        "srun --kill-on-bad-exit=1 .venv/bin/python -m kdjax "
        "--config=configs/x.py --workdir=two words"
    )
    assert asked[1:] == ["scontrol requeue 17"] * (code == 143)


def test_slurm_is_asked_for_a_process_a_gpu_and_a_signal_to_the_steps():
    text = (LAUNCH / "slurm.sbatch").read_text()
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, re.M))
    assert asked["ntasks-per-node"] == asked["gpus-per-node"]
    assert asked["signal"] == "TERM@120"
    assert asked["open-mode"] == "append"
    assert "requeue" in asked


def test_skypilots_file_runs_what_is_here():
    task = yaml.safe_load((LAUNCH / "sky.yaml").read_text())
    assert task["resources"]["accelerators"] == "tpu-v5litepod-8"
    runtime = task["resources"]["accelerator_args"]["runtime_version"]
    assert runtime == "v2-alpha-tpuv5-lite"
    assert task["resources"]["use_spot"] is True
    assert "\n" not in task["run"]
    for word in shlex.split(task["setup"]) + shlex.split(task["run"]):
        if word.startswith("launch/"):
            assert (ROOT / word).exists()
    assert (ROOT / task["envs"]["CONFIG"]).exists()


def test_the_command_for_gke_is_xpks():
    text = (LAUNCH / "gke.md").read_text()
    (block,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    words = shlex.split(block.replace("\\\n", " "))
    assert words[:3] == ["xpk", "workload", "create"]
    flags = dict(word[2:].split("=", 1) for word in words[3:])
    assert set(flags) == {
        *("cluster", "workload", "project", "zone", "tpu-type", "num-slices"),
        *("base-docker-image", "script-dir", "max-restarts", "command"),
    }
    assert flags["command"].startswith("bash launch/setup_tpu.sh && exec .venv/bin/")
    (config,) = re.findall(r"--config=(\S+)", flags["command"])
    assert (ROOT / config).exists()


# gcloud storage ls PATH; gcloud storage rsync --recursive --delete-... FROM TO
GCLOUD = """#!/bin/bash
case $2 in
ls) [ -d "$3" ] ;;
rsync) rm -rf "$6" && cp -r "$5" "$6" && echo "$5 $6" >>"$(dirname "$0")/copies" ;;
esac
"""


@pytest.fixture
def mirrored(tmp_path):
    """Starts a command in a folder kept in a "bucket", a folder, too."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "gcloud").write_text(GCLOUD)
    (tools / "gcloud").chmod(0o755)

    def start(folder, bucket, program):
        return subprocess.Popen(
            ["bash", LAUNCH / "mirrored.sh", folder, bucket, "bash", "-c", program],
            env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "MIRROR_S": "1"},
            cwd=tmp_path,
        )

    return start


def test_a_mirrored_folder_is_fetched_and_copied_back(mirrored, tmp_path):
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "before").write_text("there")
    program = "cat runs/before >runs/seen; exit 3"
    process = mirrored("runs", "bucket", program)
    assert process.wait(timeout=30) == 3  # the command's own
    assert (tmp_path / "bucket" / "seen").read_text() == "there"
    copies = (tmp_path / "tools" / "copies").read_text().splitlines()
    assert copies[0] == "bucket runs"
    assert set(copies[1:]) == {"runs bucket"}


def test_it_is_copied_while_the_command_runs_and_sigterm_reaches_it(mirrored, tmp_path):
    program = "trap 'echo saved >runs/end; exit 143' TERM; touch runs/a; "
    program += "while :; do sleep .1; done"
    process = mirrored("runs", "bucket", program)
    for _ in range(300):
        if (tmp_path / "bucket" / "a").exists():
            break
        time.sleep(0.1)
    else:
        pytest.fail("nothing was copied while it ran")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    assert (tmp_path / "bucket" / "end").read_text() == "saved\n"
