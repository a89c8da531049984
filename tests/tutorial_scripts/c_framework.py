"""As a reader of the framework introduction writes it."""

import sys

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)
torch.set_num_threads(1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        for conv in (self.conv1, self.conv2):
            x = self.pool(F.relu(conv(x)))
        x = x.view(-1, 16 * 5 * 5)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
for _ in range(3):
    optimizer.zero_grad()
    F.cross_entropy(net(torch.randn(64, 3, 32, 32)), torch.randint(0, 10, (64,))).backward()
    optimizer.step()
torch.save(net.state_dict(), f"{sys.argv[1]}/cifar_net.pth")
images = torch.randn(4, 3, 32, 32)
with torch.no_grad():
    torch.save({"images": images, "logits": net(images)}, f"{sys.argv[1]}/answers.pt")
