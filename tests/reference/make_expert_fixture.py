#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/reference/gpt_oss_experts.safetensors: the experts of a random gpt-oss layer, inputs and choices,
and what transformers (5.23, GptOssExperts, eager, float32) makes of them. Run:
    python3 tests/reference/make_expert_fixture.py tests/data/reference/gpt_oss_experts.safetensors

Weights are large enough that gates pass the limit and that up passes it on both sides.
"""
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import GptOssConfig
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts

TOKENS, HIDDEN, INNER, EXPERTS, TOP_K = 7, 24, 40, 3, 2


def main():
    torch.manual_seed(1)
    config = GptOssConfig(hidden_size=HIDDEN, intermediate_size=INNER, num_local_experts=EXPERTS, swiglu_limit=7.0)
    config._experts_implementation = "eager"
    layer = GptOssExperts(config).eval()
    tensors = {}
    with torch.no_grad():
        for name, value in layer.named_parameters():
            value.copy_(torch.randn_like(value) * (1.0 if value.dim() == 3 else 2.0))
            tensors[name] = value.clone()
        x = torch.randn(TOKENS, HIDDEN)
        chosen = torch.rand(TOKENS, EXPERTS).topk(TOP_K).indices
        weight = torch.rand(TOKENS, TOP_K).softmax(dim=-1)
        out = layer(x, router_indices=chosen, routing_weights=weight)
    assert layer.limit == 7.0 and layer.alpha == 1.702
    tensors |= dict(x=x, chosen=chosen.to(torch.int64), weight=weight, out=out)
    save_file(tensors, sys.argv[1])
    pathlib.Path(sys.argv[1]).chmod(0o644)


if __name__ == "__main__":
    main()
