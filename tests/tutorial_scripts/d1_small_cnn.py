"""As a reader of the transfer tutorial writes its first network, by its notebook or by its text."""

import sys

import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class ImageClassification(nn.Module):
    """By the notebook: each layer is its own."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 16, 3), nn.BatchNorm2d(16)
        self.pool1, self.pool2 = nn.MaxPool2d(2, 2), nn.MaxPool2d(2, 2)
        self.flatten = nn.Flatten()
        self.linear1, self.linear2, self.out = nn.Linear(576, 120), nn.Linear(120, 84), nn.Linear(84, 10)
        self.dropout1, self.dropout2 = nn.Dropout(0.5), nn.Dropout(0.5)
        self.relu = nn.ReLU()

    def forward(self, x):
        x = self.pool1(self.relu(self.bn1(self.conv1(x))))
        x = self.flatten(self.pool2(self.relu(self.bn2(self.conv2(x)))))
        x = self.dropout1(self.relu(self.linear1(x)))
        return self.out(self.dropout2(self.relu(self.linear2(x))))


class ImageClassificationOfTheText(nn.Module):
    """By the text: one pool and one dropout for all, and the linear layers are fc1, fc2, fc3."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 16, 3), nn.BatchNorm2d(16)
        self.fc1, self.fc2, self.fc3 = nn.Linear(576, 120), nn.Linear(120, 84), nn.Linear(84, 10)
        self.pool, self.dropout = nn.MaxPool2d(2, 2), nn.Dropout(0.5)

    def forward(self, x):
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        x = self.pool(torch.relu(self.bn2(self.conv2(x)))).flatten(1)
        x = self.dropout(torch.relu(self.fc1(x)))
        return self.fc3(self.dropout(torch.relu(self.fc2(x))))


for name, kind in (("notebook", ImageClassification), ("text", ImageClassificationOfTheText)):
    model = kind()
    model(torch.rand(8, 3, 32, 32))  # gives the batch norms statistics
    torch.save(model.state_dict(), f"{sys.argv[1]}/{name}_best.pth")
    images = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        torch.save({"images": images, "logits": model.eval()(images)}, f"{sys.argv[1]}/{name}_answers.pt")
