"""The demo's legacy retail database, made from real data, and the new one beside it."""

from demo.legacy.build import build, is_built, stored_manifest
from demo.legacy.manifest import Defect, Figures, Manifest

__all__ = ["Defect", "Figures", "Manifest", "build", "is_built", "stored_manifest"]
