"""As a reader of the full pipeline writes it: the last checkpoint of each epoch, on several GPUs too."""

import sys

import torch
import torch.nn as nn

torch.manual_seed(0)
torch.set_num_threads(1)


class CIFAR10CNN(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        layers, width = [], 3
        for out in (32, 64):
            for _ in range(2):
                layers += [nn.Conv2d(width, out, kernel_size=3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
                width = out
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64 * 8 * 8, 512),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(512, num_classes),
        )

    def forward(self, x):
        return self.classifier(self.features(x))


model = CIFAR10CNN()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
batch = torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,))
nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
optimizer.step()

wrapped = nn.DataParallel(model)  # on a machine without GPUs it only renames
checkpoint = {
    "epoch": 0,
    "model_state_dict": wrapped.state_dict(),
    "optimizer_state_dict": optimizer.state_dict(),
    "accuracy": 10.0,
}
torch.save(checkpoint, f"{sys.argv[1]}/checkpoint_epoch0.pth")
images = torch.randn(4, 3, 32, 32)
with torch.no_grad():
    torch.save({"images": images, "logits": model.eval()(images)}, f"{sys.argv[1]}/answers.pt")
