"""A real Kubernetes control plane on loopback, with fake TPU nodes: see README.md beside this file."""
