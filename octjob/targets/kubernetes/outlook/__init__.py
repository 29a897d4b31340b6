"""What a sweep meets on its cluster: quota, cost, and runs that are there already."""
