"""As a reader of the checklist writes it: torchvision's AlexNet for ten classes, parameters of each epoch."""

import sys

import torch
import torchvision

torch.manual_seed(0)
torch.set_num_threads(1)


def alex():
    return torchvision.models.alexnet(num_classes=10)


model = alex().eval()
torch.save(model.state_dict(), f"{sys.argv[1]}/alexnet_epoch_1.pth")
images = torch.randn(2, 3, 256, 256)
with torch.no_grad():
    torch.save({"images": images, "logits": model(images)}, f"{sys.argv[1]}/answers.pt")
