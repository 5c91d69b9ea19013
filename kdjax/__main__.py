"""`python -m kdjax`: the main job."""

from kdjax.main import run

if __name__ == "__main__":
    run()
