"""Adapters to public sets of paired videos, each read in the layout that its authors publish."""

from icve.data.pairs.base import TYPES, PublicSet, RawPair
from icve.data.pairs.ditto import Ditto
from icve.data.pairs.insvie import InsViE
from icve.data.pairs.metadata import BadRow
from icve.data.pairs.openve import OpenVE
from icve.data.pairs.reco import ReCo
from icve.data.pairs.senorita import Senorita

SETS: dict[str, PublicSet] = {one.name: one for one in (Senorita(), InsViE(), OpenVE(), Ditto(), ReCo())}

__all__ = ["SETS", "TYPES", "BadRow", "PublicSet", "RawPair"]
