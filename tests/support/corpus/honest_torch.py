"""What torch saves. No environment of ours has it (its wheel is a CUDA build of gigabytes), so any interpreter does."""

from __future__ import annotations

import io
import pickle
from functools import partial
from typing import Any

import torch

from tests.support.corpus.sample import Builder, Sample

_KINDS = (torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int64, torch.bool, torch.complex64)


def saved(value: Any, **options: Any) -> bytes:
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def _scripted(network: Any) -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(network.eval()), buffer)
    return buffer.getvalue()


def _exported(network: Any) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(network.eval(), (torch.ones(2, 4),)), buffer)
    return buffer.getvalue()


def samples() -> list[Sample]:
    """All of them; a whole module is one of torch's own classes, whose code comes with torch."""
    torch.manual_seed(20261125)
    network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(network.parameters())
    state = network.state_dict()
    checkpoint = {"model": state, "optimizer": optimizer.state_dict(), "epoch": 3, "lr": 1e-3}
    kinds = {str(kind).removeprefix("torch."): torch.ones(3).to(kind) for kind in _KINDS}
    made: dict[str, Builder] = {
        "state.pt": partial(saved, state),
        "state-legacy.pth": partial(saved, state, _use_new_zipfile_serialization=False),
        "state-4.pt": partial(saved, state, pickle_protocol=4),
        "checkpoint.ckpt": partial(saved, checkpoint),
        "checkpoint-legacy.ckpt": partial(saved, checkpoint, _use_new_zipfile_serialization=False),
        "tensor.pt": partial(saved, torch.ones(3, 3)),
        "kinds.pt": partial(saved, kinds),
        "sparse.pt": partial(saved, torch.eye(3).to_sparse()),
        "quantized.pt": partial(saved, torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)),
        "parameter.pt": partial(saved, torch.nn.Parameter(torch.ones(2))),
        "tensor.pkl": partial(pickle.dumps, torch.ones(3), 4),
        "script.pt": partial(_scripted, network),
    }
    made |= {"module.pt": partial(saved, network), "exported.pt2": partial(_exported, network)}
    return [Sample(f"torch-{name}", build) for name, build in made.items()]
