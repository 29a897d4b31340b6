"""Runs as the documents that Kubernetes gets: plain data in, plain data out, no network."""
