"""octjob: from a matrix of checkpoints and configurations to an honest leaderboard."""

import logging

__version__ = "0.1.0"

# A library's logger is silent until the program that uses it says otherwise.
logging.getLogger(__name__).addHandler(logging.NullHandler())
