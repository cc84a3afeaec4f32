"""One seed for a whole run: its processes must collect the same tests, so the seeds of the fault days are drawn from it."""

import os
import random
from typing import Final

SEED_OF_THE_RUN: Final = "SIDESTREAM_SEED_OF_THE_RUN"
# the process that starts the others draws it, and they inherit it
os.environ.setdefault(SEED_OF_THE_RUN, str(random.SystemRandom().randrange(2**32)))
