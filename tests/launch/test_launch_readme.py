"""launch/README.md: the commands' output is the tool's own; what it names is there."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import readme

from kdjax.configs import har_eskd

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "launch" / "README.md", ROOT / "launch" / "gke.md"]


def test_the_output_of_each_command_is_what_the_tool_prints():
    page = readme.PAGE.read_text()
    assert len(readme.BLOCK.findall(page)) == page.count("```console") >= 12
    assert page == readme.filled(page), "python launch/readme.py writes it again"


def test_output_that_is_not_the_tools_is_replaced():
    command = "python launch/tpu_vm.py status n --accelerator=v4-8 --project=p --zone="
    page = f"a\n```console\n$ {command}us-west4-a\nsomething else\n```\nb\n"
    assert "something else" not in readme.filled(page)
    assert "queued-resources describe n" in readme.filled(page)
    with pytest.raises(ValueError, match="may not run anything"):
        readme.printed(f"{command}us-west4-a --execute")
    with pytest.raises(ValueError, match=r"expected python launch/tpu_vm\.py"):
        readme.printed("rm -rf /")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_what_a_page_names_exists(page):
    text = page.read_text().replace("kdjax/launch/", "launch/")  # on a worker
    pattern = r"(?:configs|launch|tests)/[\w/]*\.(?:py|sh|sbatch|yaml|md)"
    named = set(re.findall(pattern, text))
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert all((page.parent / link).exists() for link in links)


def test_every_way_to_launch_is_on_the_page():
    text = readme.PAGE.read_text()
    for path in (ROOT / "launch").iterdir():
        if path.suffix in (".sbatch", ".yaml", ".md") and path != readme.PAGE:
            assert path.name in text
    for heading in ("v5e-8", "v6e-8", "v4-32", "SLURM"):
        assert re.search(rf"^##+ .*{heading}", text, re.MULTILINE)


def test_an_array_of_stages_is_submitted_in_order(tmp_path):
    """The page's own lines, with an `sbatch` that says what it would run."""
    text = readme.PAGE.read_text()
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    (block,) = [block for block in blocks if "--array" in block]
    sbatch = tmp_path / "sbatch"
    sbatch.write_text(
        "#!/bin/bash\nexport SLURM_ARRAY_TASK_ID=3\n"
        'echo "$@" >> said; eval "${@: -1}" >> said; echo 17\n'
    )
    sbatch.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euc", block.replace(".venv/bin/python", "echo")],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    said = (tmp_path / "said").read_text().splitlines()
    runs = [line for line in said if line.startswith("-m kdjax ")]
    command = "-m kdjax --config=configs/har_eskd.py --workdir=runs/har"
    stages = ("teacher", "scratch", "eskd", "full_kd", "label_smoothing")
    assert runs == [f"{command} --config.seeds=[3] --stage={name}" for name in stages]
    assert sum("--dependency=aftercorr:17 " in line for line in said) == 4
    assert done.stdout.splitlines()[-1] == command
    assert set(stages) == set(har_eskd.get_config().stages)
