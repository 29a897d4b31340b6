"""octjob: from a matrix of checkpoints and configurations to an honest leaderboard."""

__version__ = "0.1.0"
