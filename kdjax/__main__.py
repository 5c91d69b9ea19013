"""`python -m kdjax`: the main job."""

from kdjax.cli.main import run

if __name__ == "__main__":
    run()
