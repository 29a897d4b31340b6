"""Why a sweep's numbers are as they are: gates in the order in which causes hide each other."""
