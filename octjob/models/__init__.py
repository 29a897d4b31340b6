"""The 3D ViT encoder, the strict reading of its checkpoints, and the heads that sit on it."""
