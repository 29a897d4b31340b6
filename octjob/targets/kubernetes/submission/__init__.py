"""From a plan to JobSets: checked, tried, created, and seen to live."""
