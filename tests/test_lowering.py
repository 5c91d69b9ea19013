"""What a TPU or a GPU would be given: XLA's own convolutions, on 1 and on 8 devices.

On CPU they are written as matrix products (kdjax/models/ops), which would be slower
there.
"""

import json

import pytest

# kernels of convolutions: of WRN10-1, of the convnet, of BeatGAN's generator and
# discriminator, and of its self-teacher
WRN, CONVNET, GENERATOR, DISCRIMINATOR, PYRAMID = 9, 2, 10, 5, 17


def trained(kernels):
    """Forwards; then a gradient of each kernel, and of each input but the example's."""
    return 3 * kernels - 1


# the discriminator sees real and made examples and the two views at once, in training;
# real and made ones for the generator, whose gradient goes through what it made alone
BEATGAN = (
    trained(GENERATOR)
    + 3 * trained(DISCRIMINATOR)
    + 3 * DISCRIMINATOR
    + 2 * 3 * PYRAMID
)
CONVOLUTIONS = {
    ("distill", "step"): trained(WRN),
    ("distill", "evaluate"): WRN,
    ("kd", "step"): trained(WRN) + WRN,
    ("kd", "evaluate"): WRN,
    ("simclr", "step"): trained(CONVNET),
    ("simclr", "evaluate"): 2 * CONVNET,
    ("autoencoder", "step"): trained(GENERATOR),
    ("autoencoder", "evaluate"): GENERATOR,
    ("beatgan", "step"): BEATGAN,
    ("beatgan", "evaluate"): GENERATOR,
    ("cognitive", "step"): 0,
    ("cognitive", "evaluate"): 0,
}


@pytest.fixture(scope="module")
def rows(python):
    done = python("-m", "tests.lowering", devices=8)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.long
@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize(("task", "what"), CONVOLUTIONS)
def test_a_step_lowers_with_xlas_own_convolutions(rows, task, what, devices):
    (alone,) = (row for row in rows if row["what"] == "convolution")
    (found,) = (
        row
        for row in rows
        if (row["task"], row["what"], row["devices"]) == (task, what, devices)
        and row["platforms"] == ["tpu", "cuda"]
    )
    # jax may write one down for each of the platforms
    expected = CONVOLUTIONS[task, what] * alone["convolutions"]
    assert alone["convolutions"] in (1, 2)
    assert found["convolutions"] == expected


def test_on_a_cpu_they_are_products(rows):
    """So the counts above do tell the two forms apart."""
    (cpu,) = (row for row in rows if row["platforms"] == ["cpu"])
    assert cpu["convolutions"] == 0
    assert cpu["products"] > trained(WRN)


def test_every_lowering_was_tried(rows):
    on_accelerators = [row for row in rows if row["platforms"] == ["tpu", "cuda"]]
    assert len(on_accelerators) == 1 + 2 * len(CONVOLUTIONS)
