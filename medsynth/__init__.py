"""medsynth: GANs for medical images. Start reading at medsynth/synthesis.py."""

__version__ = "0.1.0"
