"""As a reader of the transfer tutorial changes torchvision's ResNet-34; the weights lie where D4's do."""

import sys

import torch
from torch import nn
from torchvision.models import resnet34

torch.manual_seed(0)
torch.set_num_threads(1)

original = resnet34(weights=None)
original.train()(torch.rand(2, 3, 64, 64))
torch.save(original.state_dict(), f"{sys.argv[1]}/original.pth")

model = resnet34(weights=None)
model.load_state_dict(original.state_dict())
model.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
model.maxpool = nn.Identity()
model.fc = nn.Linear(512, 10)
torch.save(model.state_dict(), f"{sys.argv[1]}/resnet34_best.pth")
images = torch.rand(2, 3, 32, 32)
with torch.no_grad():
    torch.save({"images": images, "logits": model.eval()(images)}, f"{sys.argv[1]}/answers.pt")
