"""A sensor as a script: prints one digit a line as JSON, at a steady pace, and begins anew at the end.

python sensor.py heldout.npz 20       # 20 a second
"""

import itertools
import json
import sys
import time

import numpy as np


def main() -> None:
    """Replay the data file until told to stop."""
    images = np.load(sys.argv[1])["x"]
    interval_s = 1 / float(sys.argv[2])
    for image in itertools.cycle(images):
        print(json.dumps(image.tolist()), flush=True)
        time.sleep(interval_s)


if __name__ == "__main__":
    main()
