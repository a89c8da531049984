"""Networks: architecture only, each a function that a dict names."""

from pictorch.networks.classifier import Classifier
from pictorch.networks.own import OwnNetwork
from pictorch.networks.zoo import NETWORKS, build_network, name_problem

__all__ = ["NETWORKS", "Classifier", "OwnNetwork", "build_network", "name_problem"]
