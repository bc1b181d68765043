"""SAM's mask decoder with the parameters of the package's and its results, in 60 % of its arithmetic.

What costs is all that is done to each of the image's cells, of which there are 4096 at 1024 px; the tokens that look
at them are about ten. The package projects the cells to queries, keys and values of 128 channels. A product of matrices
may be bracketed either way: here the tokens are multiplied with these projections, head by head, and with the cells as
they are, which is 64 numbers a cell for 8 heads of 8 tokens. What the bias of the keys adds to a token's scores is the
same for all cells, and softmax takes it out again. Cells are upscaled with their channels last, by plain products of
matrices, so that only the finished masks need be put in order. Equal but for rounding: to about 1e-6 of the logits.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_PIECE = 512
"""Cells upscaled at a time on a processor: their 16 finer cells of 32 channels, 1 MB, stay in its cache."""


class Decoder:
    """A `MaskDecoder` of the package `segment_anything`, working on the cells in `dtype`, on the tokens in float32.

    In shapes and equations, b are prompts, p the image's cells, t tokens, n heads, c a head's channels, e all channels.
    """

    def __init__(self, decoder: nn.Module, position: Tensor, dtype: torch.dtype = torch.float32) -> None:
        """`position`, `[1, C, h, w]`, is the prompt encoder's for the image's cells (`get_dense_pe`)."""
        model: Any = decoder
        self._model = model
        self._dtype = dtype
        self._position = position.flatten(2).transpose(1, 2).to(dtype).contiguous()
        first, norm, _, second, _ = model.output_upscaling
        self._upscaling = [
            (conv.weight.permute(0, 2, 3, 1).flatten(1).to(dtype), conv.bias.repeat(4).to(dtype), conv.out_channels)
            for conv in (first, second)
        ]
        self._upscaling_norm = (norm.weight.to(dtype), norm.bias.to(dtype), norm.eps)

    def __call__(self, image: Tensor, sparse: Tensor, dense: Tensor, multimask: bool) -> tuple[Tensor, Tensor]:
        """Masks and their estimated IoU, `float32 [B, C, 4h, 4w]` and `[B, C]`, of one image `[1, channels, h, w]`.

        `sparse` and `dense` are what the prompt encoder makes of B prompts; C is 3 where `multimask`, else 1.
        """
        model, transformer = self._model, self._model.transformer
        height, width = image.shape[-2:]
        own = torch.cat([model.iou_token.weight, model.mask_tokens.weight])
        tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
        cells = (image + dense).to(self._dtype).flatten(2).transpose(1, 2).contiguous()
        seen = tokens
        for layer in transformer.layers:
            if layer.skip_first_layer_pe:
                seen = layer.self_attn(seen, seen, seen)
            else:
                seen = seen + layer.self_attn(seen + tokens, seen + tokens, seen)
            seen = layer.norm1(seen)
            placed = cells + self._position
            seen = layer.norm2(seen + self._look(layer.cross_attn_token_to_image, seen + tokens, placed, cells))
            seen = layer.norm3(seen + layer.mlp(seen))
            cells = self._tell(layer.cross_attn_image_to_token, placed, seen + tokens, seen, cells)
            cells = _layer_norm(cells, layer.norm4.weight, layer.norm4.bias, layer.norm4.eps)
        placed = cells + self._position
        seen = seen + self._look(transformer.final_attn_token_to_image, seen + tokens, placed, cells)
        seen = transformer.norm_final_attn(seen)

        which = slice(1, None) if multimask else slice(0, 1)
        heads = list(model.output_hypernetworks_mlps)[which]
        mask_tokens = seen[:, 1 : 1 + model.num_mask_tokens][:, which]
        filters = torch.stack([head(mask_tokens[:, n]) for n, head in enumerate(heads)], dim=2)
        masks = self._masks(cells, filters.to(self._dtype), height, width)
        return masks, model.iou_prediction_head(seen[:, 0])[:, which]

    def _look(self, attention: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Tokens attend to cells: `[b, t, e]` from queries `[b, t, e]`, keys and values `[b, p, e]`."""
        heads, (prompts, tokens, _) = attention.num_heads, queries.shape
        of_heads = attention.q_proj(queries).view(prompts, tokens, heads, -1) / _scale(attention)
        asked = torch.einsum("btnc,nce->bnte", of_heads, attention.k_proj.weight.unflatten(0, (heads, -1)))
        scores = asked.flatten(1, 2).to(keys.dtype) @ keys.transpose(1, 2)
        found = (scores.softmax(dim=-1) @ values).float().view(prompts, heads, tokens, -1)
        out = torch.einsum("bnte,nce->btnc", found, attention.v_proj.weight.unflatten(0, (heads, -1))).flatten(2)
        return attention.out_proj(out + attention.v_proj.bias)

    def _tell(self, attention: Any, queries: Tensor, keys: Tensor, values: Tensor, cells: Tensor) -> Tensor:
        """Cells attend to tokens, and add what they find: `[b, p, e]`, the queries' shape and that of `cells`."""
        heads, (prompts, tokens, _) = attention.num_heads, keys.shape
        of_heads = attention.k_proj(keys).view(prompts, tokens, heads, -1) / _scale(attention)
        asked = torch.einsum("btnc,nce->bnte", of_heads, attention.q_proj.weight.unflatten(0, (heads, -1)))
        bias = torch.einsum("btnc,nc->bnt", of_heads, attention.q_proj.bias.unflatten(0, (heads, -1)))
        # Cells last: softmax over the few tokens is twenty times slower along neighbouring numbers.
        scores = asked.flatten(1, 2).to(queries.dtype) @ queries.transpose(1, 2)
        scores += bias.flatten(1)[..., None].to(queries.dtype)
        weights = scores.view(prompts, heads, tokens, -1).softmax(dim=2).flatten(1, 2)
        of_heads = attention.v_proj(values).view(prompts, tokens, heads, -1)
        told = torch.einsum("btnc,enc->bnte", of_heads, attention.out_proj.weight.unflatten(1, (heads, -1)))
        cells = cells + attention.out_proj.bias.to(cells.dtype)
        return cells.baddbmm_(weights.transpose(1, 2), told.flatten(1, 2).to(cells.dtype))

    def _masks(self, cells: Tensor, filters: Tensor, height: int, width: int) -> Tensor:
        """Masks `float32 [b, C, 4h, 4w]` from cells `[b, p, e]` and filters `[b, e / 8, C]`."""
        prompts, count, _ = cells.shape
        piece = _PIECE if cells.device.type == "cpu" else count
        finest = cells.new_empty((prompts, count, 16, filters.shape[-1]), dtype=torch.float32)
        for start in range(0, count, piece):
            (weight, bias, channels), last = self._upscaling
            part = cells[:, start : start + piece]
            finer = torch.addmm(bias, part.flatten(0, 1), weight).view(-1, channels)
            finer = F.gelu(_layer_norm(finer, *self._upscaling_norm))
            weight, bias, channels = last
            finer = F.gelu(torch.addmm(bias, finer, weight)).view(prompts, -1, channels)
            finest[:, start : start + piece] = (finer @ filters).view(prompts, -1, 16, filters.shape[-1])
        # A cell's four are in rows and columns, and so are the four of each of those.
        finest = finest.view(prompts, height, width, 2, 2, 2, 2, -1).permute(0, 7, 1, 3, 5, 2, 4, 6)
        return finest.reshape(prompts, -1, 4 * height, 4 * width)


def _scale(attention: Any) -> float:
    return math.sqrt(attention.internal_dim // attention.num_heads)


def _layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, weight.shape, weight.to(x.dtype), bias.to(x.dtype), eps)
