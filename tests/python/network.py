"""Models of PyTorch as model files. Called by tests/wheel.rs."""

import types
from pathlib import Path

import torch

import foolproof

torch.manual_seed(0)
net = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 3)
)
images = torch.rand(4, 3, 24, 20)
Normalize = type("Normalize", (), {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]})
Resize = type("Resize", (), {"size": [28], "interpolation": "bicubic"})
CenterCrop = type("CenterCrop", (), {"size": (24, 20)})
compose = types.SimpleNamespace(transforms=[Resize(), CenterCrop(), Normalize()])

model = foolproof.from_torch(net, images, "models", name="small", transforms=compose)
lines = model.read_text().splitlines()
for line in ["classes = 3", "size = [24, 20]", "resize = 28", 'interpolation = "bicubic"', "mean = [0.5, 0.4, 0.3]"]:
    assert line in lines, lines
assert net.training, "the caller's model stays as it was"

# timm's description, on the model itself
net.pretrained_cfg = {"input_size": (3, 24, 24), "mean": (0.5,) * 3, "std": (0.5,) * 3, "crop_pct": 0.875, "interpolation": "bilinear"}
square = foolproof.from_torch(net, images[:, :, :20, :20].repeat(1, 1, 2, 2)[:, :, :24, :24], "models", name="square")
assert "resize = 27" in square.read_text() and "side = 24" in square.read_text(), square.read_text()


class Unsteady(torch.nn.Module):
    """Another network in each call."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return x.mean((2, 3)) * self.calls


def fails(error, words, *arguments, **options):
    try:
        foolproof.from_torch(*arguments, **options)
    except error as found:
        assert words in str(found), found
    else:
        raise AssertionError(f"passed, and should say: {words}")


fails(foolproof.FoolproofError, "off PyTorch's", Unsteady(), images, "models", mean="inside")
assert sorted(path.name for path in Path("models").iterdir()) == ["small.onnx", "small.toml", "square.onnx", "square.toml"]
fails(ValueError, "2 names of classes", net, images, "models", mean="inside", class_names=["a", "b"])
fails(ValueError, "how are images normalised?", Unsteady(), images, "models")
fails(ValueError, "outside [0,1]", net, images * 255, "models")
fails(ValueError, "pictures are cut to 24×24", net, images, "models")
