"""The leaderboard as one page to look at."""
