"""Referring segmentation on COCO's pictures in the layout of REFER: RefCOCO, RefCOCO+ and RefCOCOg."""

from .refcoco import RefCOCO, RefCOCOg, RefCOCOPlus

__all__ = ["RefCOCO", "RefCOCOPlus", "RefCOCOg"]
