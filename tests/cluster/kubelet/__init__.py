"""A stand-in for the kubelets of fake nodes: it runs what a pod would run as a process of this machine."""
