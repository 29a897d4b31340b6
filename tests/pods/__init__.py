"""Tests on a node that runs real pods: `make test-e2e`; see tests/cluster/README.md."""
