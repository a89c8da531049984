"""SGD with momentum in torch's fused form, for parameters that need not all begin at the same step."""

from typing import Any

import torch


class FusedSGD(torch.optim.SGD):
    """torch's fused SGD, whose momentum is there from the start, as 0: the first step is the same.

    torch's own begins it with the first gradients and fails where some come later, after unfreezing.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float, nesterov: bool) -> None:
        super().__init__(groups, lr, momentum=momentum, nesterov=nesterov and momentum > 0, fused=True)
        if momentum > 0:
            for group in self.param_groups:
                for parameter in group["params"]:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
