"""Of the data sets that kdjax reads: the units of raw examples, and the licence."""

from __future__ import annotations

from typing import NamedTuple


class Source(NamedTuple):
    units: str
    licence: str


# By loader; a data set of one's own is not here.
SOURCES = {
    "bdata": Source("as in the file, scaled by run", "the data set's own"),
    "cifar10": Source("pixels 0 to 255", "none stated; research use (Krizhevsky 2009)"),
    "digits": Source("pixels 0 to 16", "UCI's (Alpaydin & Kaynak 1998)"),
    "human92": Source("pixels 0 to 255", "MIT (Kriegeskorte et al. 2008)"),
    "image_folder": Source("pixels 0 to 255", "the owner's"),
    "mitbih": Source(
        "mV at 360 Hz, filtered to 3 to 45 Hz, [r - 140, r + 180) around the R peak",
        "ODC-By 1.0 (Moody & Mark 2001; Goldberger et al. 2000)",
    ),
    "mocap": Source("degrees", "mocap.cs.cmu.edu; the angles of BeatGAN's code, MIT"),
    "pamap2": Source(
        "beats a minute, degrees C, m/s^2, rad/s, uT, at 33 Hz",
        "UCI's (Reiss & Stricker, ISWC 2012)",
    ),
    "synthetic_ecg": Source("heights of R, at 360 Hz", "none: synthetic"),
    "synthetic_fmri": Source("none: synthetic", "none: synthetic"),
    "synthetic_wearable": Source("none: synthetic", "none: synthetic"),
    "uci_har": Source(
        "acceleration in g, angular velocity in rad/s, at 50 Hz",
        "CC BY 4.0 at UCI (Anguita et al., ESANN 2013)",
    ),
    "wisdm": Source(
        "acceleration in m/s^2, angular velocity in rad/s, at 20 Hz",
        "CC BY 4.0 at UCI (Weiss, Yoneda & Hayajneh, IEEE Access 2019)",
    ),
}
OWN = Source("as in the data's files", "the owner's")
TRIALS = Source("none: trials made by kdjax", "none: made by kdjax, MIT")
