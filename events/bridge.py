"""The bridge: anybody's events, under their own words. Nothing is declared of them but where they travel."""

from typing import Final

from sidestream.registry import Category

CATEGORY: Final = Category(name="external", topic="external", source="/services/bridge")
