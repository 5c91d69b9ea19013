"""Kills a run at random moments, again and again, and compares what it ends with.

    python -m tests.soak.run --kills=100 --processes=1 [--workdir=DIR] [--seed=0]

SIGKILL and SIGTERM in turn; of several processes, to one of them, drawn at random.
After one kill in `--flip_every` a bit is flipped in a file of a checkpoint of the stage
that was being trained. A run that comes to its end is compared with the run that nobody
killed, and begun anew. Prints what was seen, and exits with 1 at the first difference:

- results and digests of both checkpoints, and metrics.jsonl to the byte;
- no temporary file, no checkpoint within an epoch, no lock;
- a stage that had a good checkpoint never begins at step 0;
- no traceback, and of one process no line that is not one of kdjax's own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax

from kdjax.machine import threads
from kdjax.training import environment

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "tests" / "soak" / "config.py"
MADE = {"environment", "resumed", "seconds"}  # where and when, not what
SECONDS = 30  # within which all processes of a run whose one was killed have ended
OURS = re.compile(r"kdjax: |seed 0 |report: |\d+ device")  # how kdjax's lines begin
KILLED = (-signal.SIGKILL, 137, 134, 143, -signal.SIGTERM)


class Different(AssertionError):
    """A run that was killed did not end as the one that was not."""


def those_to_kill(process: subprocess.Popen[str], processes: int) -> list[int]:
    """The numbers of the processes that train."""
    if processes == 1:
        return [process.pid]
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


def checkpoints(folder: Path) -> dict[tuple[str, int], Path]:
    found = {}
    for kind in ("last", "within"):
        for path in (folder / "checkpoints" / kind).glob("*"):
            if path.name.isdigit():
                found[kind, int(path.name)] = path
    return found


def stages(workdir: Path) -> list[Path]:
    """The folders of the stages begun."""
    return sorted(path for path in (workdir / "seed_0").glob("*") if path.is_dir())


def in_progress(workdir: Path) -> Path | None:
    """The folder of the stage that has checkpoints and no results."""
    for folder in stages(workdir):
        if checkpoints(folder) and not (folder / "results.json").exists():
            return folder
    return None


def flip_a_bit(folder: Path, rng: random.Random) -> str:
    """Flips a bit of a file of a checkpoint; which one."""
    files = sorted(p for p in (folder / "checkpoints").rglob("*") if p.is_file())
    files = [p for p in files if p.stat().st_size and "damaged" not in p.parts]
    path = rng.choice(files)
    content = bytearray(path.read_bytes())
    place = rng.randrange(8 * len(content))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(bytes(content))
    return str(path.relative_to(folder))


def ended(workdir: Path) -> dict[str, object]:
    """All that must come out the same."""
    found: dict[str, object] = {}
    for folder in stages(workdir):
        name = folder.name
        results = json.loads((folder / "results.json").read_text())
        found[name] = {k: v for k, v in results.items() if k not in MADE}
        for kind in ("last", "best"):
            newest = max(
                (folder / "checkpoints" / kind).iterdir(), key=lambda p: int(p.name)
            )
            meta = json.loads((newest / "meta" / "metadata").read_text())
            found[f"{name} {kind}"] = newest.name, meta
        found[f"{name} log"] = (folder / "metrics.jsonl").read_bytes()
    return found


def left_over(workdir: Path) -> list[str]:
    """What may not stay when a run is done."""
    wrong = re.compile(r"\.tmp$|orbax-checkpoint-tmp|/within(/|$)|/\.lock$")
    paths = [str(path) for path in workdir.rglob("*")]
    return [path for path in paths if wrong.search(path)]


def compare(workdir: Path, expected: dict[str, object]) -> None:
    found = ended(workdir)
    for name in expected.keys() | found.keys():
        was, now = expected.get(name), found.get(name)
        if was != now:
            raise Different(f"{workdir}: {name}: {was!r} became {now!r}")
    if paths := left_over(workdir):
        raise Different(f"left over: {', '.join(paths)}")


class Soak:
    """One series of kills; what was seen."""

    def __init__(
        self,
        root: Path,
        *,
        processes: int = 1,
        size: str = "whole",
        flip_every: int = 10,
        between: tuple[float, float] = (0.1, 0.9),
        seed: int = 0,
    ):
        self.root, self.processes, self.size = root, processes, size
        self.flip_every, self.rng = flip_every, random.Random(seed)
        self.between = between  # when it is killed, as shares of the unbroken run
        self.kills = dict.fromkeys(("SIGKILL", "SIGTERM"), 0)
        self.slowest = dict.fromkeys(self.kills, 0.0)  # to end, in seconds
        self.flips = self.runs = self.resumed = self.set_aside = 0
        self.longest = 1.0

    def start(self, name: str) -> subprocess.Popen[str]:
        config, workdir = f"--config={CONFIG}:{self.size}", self.root / name
        command = [
            sys.executable,
            "-m",
            "kdjax",
            config,
            f"--workdir={workdir}",
            "--jobs=1",
        ]
        environ = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        if self.processes > 1:
            launcher = str(ROOT / "launch" / "local_multiprocess.py")
            options = [f"--processes={self.processes}", "--devices=1", "--grace=20"]
            command = [sys.executable, launcher, *options, "--", *command]
        else:
            command.append("--config.devices=1")
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def unbroken(self, times: int = 1) -> dict[str, object]:
        """What comes out when nobody kills; how long it takes the last time."""
        for name in [f"unbroken_{i}" for i in range(times)]:
            began = time.monotonic()
            process = self.start(name)
            said = process.communicate(timeout=900)[0]
            if process.returncode:
                raise Different(f"unbroken, it ended with {process.returncode}: {said}")
            self.longest = time.monotonic() - began
        expected = ended(self.root / name)
        compare(self.root / "unbroken_0", expected)
        return expected

    def run(self, kills: int, expected: dict[str, object]) -> None:
        workdir, good = self.root / "killed", None
        while sum(self.kills.values()) < kills or workdir.exists():
            last = sum(self.kills.values()) >= kills
            done = self.once(workdir, good, to_its_end=last)
            good = None
            if done:
                compare(workdir, expected)
                shutil.rmtree(workdir)
                self.runs += 1
                continue
            folder = in_progress(workdir)
            if folder is None:
                continue
            good = folder.name
            if sum(self.kills.values()) % self.flip_every == 0:
                self.flips += 1
                print(f"flipped a bit of {flip_a_bit(folder, self.rng)}", flush=True)
                if len(checkpoints(folder)) == 1:
                    good = None  # the only one may be the damaged one

    def once(self, workdir: Path, good: str | None, *, to_its_end: bool) -> bool:
        """Runs it, and kills it unless it ends before; whether it did."""
        process = self.start(workdir.name)
        wait = self.rng.uniform(*self.between) * self.longest
        number = (signal.SIGKILL, signal.SIGTERM)[sum(self.kills.values()) % 2]
        try:
            said = process.communicate(timeout=None if to_its_end else wait)[0]
        except subprocess.TimeoutExpired:
            targets = those_to_kill(process, self.processes)
            began = time.monotonic()
            if targets:
                os.kill(self.rng.choice(targets), number)
                self.kills[number.name] += 1
            said = process.communicate(timeout=120)[0]
            seconds = time.monotonic() - began
            print(f"{number.name} at {wait:.1f} s, ended in {seconds:.1f}", flush=True)
            self.slowest[number.name] = max(self.slowest[number.name], seconds)
            if number == signal.SIGKILL and seconds > SECONDS:
                raise Different(f"{seconds:.0f} s after SIGKILL: {said}") from None
        self.check(said, process.returncode, good)
        return process.returncode == 0

    def check(self, said: str, code: int, good: str | None) -> None:
        if code not in (0, *KILLED):
            raise Different(f"exit code {code}: {said}")
        alone = self.processes == 1  # of several, jax's service speaks, too
        foreign = [line for line in said.splitlines() if not OURS.match(line)]
        if "Traceback" in said or (alone and foreign):
            raise Different(said)
        self.set_aside += said.count("set aside as")
        began = re.search(r"goes on from step (\d+)", said)
        self.resumed += began is not None
        trained = re.search(r"seed 0 (\w+): test", said)
        if good and trained and trained[1] == good and began is None:
            raise Different(f"{good} had a good checkpoint and began at step 0: {said}")

    def summary(self) -> str:
        kills = ", ".join(
            f"{n} {name} (ended in {self.slowest[name]:.1f} s at most)"
            for name, n in self.kills.items()
        )
        return (
            f"{self.processes} process{'es' if self.processes > 1 else ''}: {kills}; "
            f"{self.flips} bits flipped, {self.set_aside} checkpoints set aside; "
            f"{self.resumed} times a stage went on from a checkpoint; {self.runs} runs "
            "came to their end, all as the unbroken one"
        )


def machine() -> str:
    commit, count = environment.commit()["commit"], threads()
    many = "" if count == 1 else "s"
    return (
        f"kdjax {str(commit)[:7]}, jax {jax.__version__}, {environment.processor()}, "
        f"{count} thread{many}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--size", choices=("whole", "short"), default="whole")
    parser.add_argument("--flip_every", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=Path)
    given = parser.parse_args()
    root = given.workdir or Path(tempfile.mkdtemp(prefix="soak"))
    soak = Soak(
        root,
        processes=given.processes,
        size=given.size,
        flip_every=given.flip_every,
        seed=given.seed,
    )
    soak.run(given.kills, soak.unbroken(times=2))  # the first compiles
    print(machine())
    print(soak.summary())
    if given.workdir is None:
        shutil.rmtree(root)


if __name__ == "__main__":
    try:
        main()
    except Different as error:
        sys.exit(str(error))
