"""The Kubernetes target: one JobSet per run, rendered from a template, queued by Kueue."""
