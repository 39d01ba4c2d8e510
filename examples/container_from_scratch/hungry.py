"""Take 10 MB more every half second, for as long as we are let."""

from __future__ import annotations

import os
import time

hoard = []
while True:
    hoard.append(b"x" * 10_000_000)
    print(f"{len(hoard) * 10} MB", flush=True)
    time.sleep(float(os.environ.get("HUNGRY_PAUSE", "0.5")))
