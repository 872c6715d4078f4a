"""Zero-shot use of universal units: heads refitted on them, measured on a dataset held out."""

from probe.transfer.heads import HEADS, Examples
from probe.transfer.universal_head import HeadTable, leave_one_out, universal_head

__all__ = ["HEADS", "Examples", "HeadTable", "leave_one_out", "universal_head"]
