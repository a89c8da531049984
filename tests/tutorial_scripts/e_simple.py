"""As a reader of SimpleTorch writes it; that it saves its weights is one of the wishes at its end."""

import sys

import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class SimpleNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()
        self.fc1 = nn.Linear(32 * 8 * 8, 10)

    def forward(self, x):
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x)))
        return self.fc1(x.view(x.size(0), -1))


model = torch.compile(SimpleNet())  # never called, so nothing is compiled: it only renames
torch.save({"net": model.state_dict()}, f"{sys.argv[1]}/simple.pth")
images = torch.randn(4, 3, 32, 32)
with torch.no_grad():
    torch.save({"images": images, "logits": model._orig_mod(images)}, f"{sys.argv[1]}/answers.pt")
