import pytest

from kdjax.data.fmri.events import Event, read_events
from kdjax.errors import InputError


def write(path, text):
    path.write_text(text.replace(" ", "\t"))
    return path


def test_events_are_read_in_order_of_onset(tmp_path):
    path = write(
        tmp_path / "events.tsv",
        "onset trial_type duration extra stim_file\n"
        "30 shoe n/a 1 shoe/1.png\n"
        "\n"
        "12.5 cat 22.5 2 n/a\n"
        "1e1 n/a 2 3 blank.png\n",
    )
    assert read_events(path) == [
        Event(10, 2, "", "blank.png", 5),
        Event(12.5, 22.5, "cat", "", 4),
        Event(30, 0, "shoe", "shoe/1.png", 2),
    ]
    path = write(tmp_path / "b.tsv", "\ufeffonset duration kind shown\n1 2 cat a.png\n")
    assert read_events(path, label="kind", stimulus="shown") == [
        Event(1, 2, "cat", "a.png", 2)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a column onset between tabs, found none"),
        (
            "onset duration type\n",
            "expected a column trial_type .* onset, duration, typ",
        ),
        (
            "onset,duration,trial_type\n",
            "expected a column onset between tabs, found on",
        ),
        ("onset duration trial_type\n", "expected events, found none"),
        ("onset duration trial_type\n1 2\n", "line 2: expected 3 fields, found 2"),
        ("onset duration trial_type\n1 2 a\nx 2 a\n", "line 3: onset: .* found 'x'"),
        (
            "onset duration trial_type\n n/a 2\n",
            "line 2: onset: expected seconds, foun",
        ),
        (
            "onset duration trial_type\nnan 2 a\n",
            "line 2: onset: expected seconds, fou",
        ),
        ("onset duration trial_type\n1 inf a\n", "line 2: duration: expected seconds,"),
        (
            "onset duration trial_type\n1 -2 a\n",
            "duration: expected 0 or more, found -2",
        ),
    ],
)
def test_a_wrong_table_is_named(tmp_path, text, message):
    path = write(tmp_path / "events.tsv", text)
    with pytest.raises(InputError, match=message) as caught:
        read_events(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_or_binary_table_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a.tsv: expected this file, found none"):
        read_events(tmp_path / "a.tsv")
    (tmp_path / "b.tsv").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(InputError, match=r"b.tsv: cannot be read as a table \("):
        read_events(tmp_path / "b.tsv")
