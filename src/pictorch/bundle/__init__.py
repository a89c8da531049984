"""The bundle: a trained classifier that anyone can check and run without torch."""

from pictorch.bundle.bundle import Bundle, BundleFacts, is_bundle, open_bundle, write_bundle

__all__ = ["Bundle", "BundleFacts", "is_bundle", "open_bundle", "write_bundle"]
