"""launch/README.md: the commands' output is the tool's own; what it names is there."""

import re
from pathlib import Path

import pytest
import readme

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
