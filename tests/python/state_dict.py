"""Networks that the program knows by their tensors go without ONNX. Called by tests/wheel.rs."""

import sys
from pathlib import Path

import torch

import foolproof

torch.manual_seed(0)
sys.modules["onnx"] = None  # as where it is not installed


class Vgg(torch.nn.Module):
    """VGG-11 at 1/64 of its width, named as torchvision's."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for width in [1, None, 2, None, 4, 4, None, 8, 8, None, 8, 8, None]:
            if width is None:
                layers.append(torch.nn.MaxPool2d(2))
            else:
                layers += [torch.nn.Conv2d(channels, width, 3, padding=1), torch.nn.ReLU()]
                channels = width
        self.features = torch.nn.Sequential(*layers)
        self.classifier = torch.nn.Linear(8, 3)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class Odd(Vgg):
    """The same tensors, and another network."""

    def forward(self, x):
        return 2 * super().forward(x)


images = torch.rand(4, 3, 32, 32)
names = ["cat", 'the "dog"', "Käuzchen"]
how = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
vgg = Vgg()
model = foolproof.from_torch(vgg, images, "models", class_names=names, **how)
assert model == Path("models/vgg.toml") and Path("models/vgg.pth").exists()
lines = model.read_text(encoding="utf-8").splitlines()
told = {line.split("#")[0].strip().replace(" ", "") for line in lines}
for line in ['family="vgg11"', "classes=3", "side=32", "mean=[0.5,0.4,0.3]", "std=[0.2,0.3,0.4]", 'weights="vgg.pth"']:
    assert line in told, lines
assert any(line.startswith("sha256") for line in lines) and not any(line.startswith("resize") for line in lines), lines
assert vgg.training, "the caller's model stays as it was"

# the names are those of the program's answers
from PIL import Image

Image.new("RGB", (32, 32)).save("black.png")
csv = foolproof.program.call("predict", "black.png", "--model", model, "--all", "--quiet")
assert "Käuzchen" in csv, csv

inside = foolproof.from_torch(vgg, images, "models", name="inside", mean="inside")
assert "std = [1.0, 1.0, 1.0]" in inside.read_text(encoding="utf-8")


def fails(words, network):
    try:
        foolproof.from_torch(network, images, "refused", **how)
    except foolproof.FoolproofError as found:
        for word in words:
            assert word in str(found), found
        assert "/tmp" not in str(found), found
    else:
        raise AssertionError(f"passed, and should say: {words}")


through_onnx = "and to go through ONNX this needs onnx (hint: pip install onnx onnxscript)"
fails(["no family of networks fits: the program's logits are", "off PyTorch's", through_onnx], Odd())
flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 3))
fails(["no family of networks fits: sequential.pth: no network of a known family", through_onnx], flat)
assert not Path("refused").exists()
