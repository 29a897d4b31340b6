"""What is wrong with what the pages are made from."""


class ProblemError(Exception):
    """Says which file lacks what; printed as one line."""
