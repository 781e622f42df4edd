"""Masked attention under ``torch.fx``: one node of the graph, since a mask asks for the shape of its tokens."""

from __future__ import annotations

from timm.models import register_notrace_module

from retconv.models.masked import MaskedAttention

register_notrace_module(MaskedAttention)
