import torch

from octjob.models.backbones import Backbone, Normalisation, TokenGeometry


class Patches(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.project = torch.nn.Conv3d(1, width, kernel_size=(4, 8, 8), stride=(4, 8, 8))

    def forward(self, x_BCDHW):
        return self.project(x_BCDHW).flatten(2).transpose(1, 2)


def load(path, *, width=16):
    encode = Patches(width)
    encode.load_state_dict(torch.load(path, weights_only=True))
    geometry = TokenGeometry(volume_size=(8, 16, 16), grid=(2, 2, 2), embed_dim=width)
    return Backbone(encode, geometry, Normalisation(mean=(0.5,), std=(0.25,)))
