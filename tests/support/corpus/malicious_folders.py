"""Code and configuration around the weights: what a loader imports, installs, fetches or makes by name.

Sources: Hugging Face's `trust_remote_code`, MLflow's `python_function` and models from code, YAML's Python tags,
Hydra's `_target_` (CVE-2025-23304, -2026-22584), Python's `.pth` files, dependency confusion.
"""

from __future__ import annotations

import json
from functools import partial

from tests.support.corpus.malicious_containers import tarred, zipped
from tests.support.corpus.malicious_graphs import safetensors
from tests.support.corpus.malicious_pickles import BAD, BAD_4
from tests.support.corpus.sample import Sample

_CODE = b"import os\nos.system('true')\n"
_MODEL_CLASS = {"auto_map": {"AutoModel": "modeling_acme.AcmeModel"}, "model_type": "acme"}


def _with_weights(files: dict[str, bytes]) -> dict[str, bytes]:
    return {"model.safetensors": safetensors(), **files}


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _mlmodel(loader: str, **more: str) -> bytes:
    lines = "".join(f"    {key}: {value}\n" for key, value in more.items())
    return f"flavors:\n  python_function:\n    loader_module: {loader}\n{lines}    python_version: 3.11.7\n".encode()


def _mlflow() -> dict[str, dict[str, bytes]]:
    return {
        "mlflow-loader": {"MLmodel": _mlmodel("loader", code="code"), "code/loader.py": _CODE},
        "mlflow-python-model": {
            "MLmodel": _mlmodel("mlflow.pyfunc.model", python_model="python_model.pkl"), "python_model.pkl": BAD_4,
        },
        "mlflow-from-code": {
            "MLmodel": _mlmodel("mlflow.pyfunc.model", model_code_path="model.py"), "model.py": _CODE,
        },
        "mlflow-sklearn": {"MLmodel": _mlmodel("mlflow.sklearn", model_path="model.pkl"), "model.pkl": BAD},
        "mlflow-torch": {"MLmodel": _mlmodel("mlflow.pytorch", data="data"), "data/pickle_module_info.txt": b"dill\n",
                         "data/model.pth": BAD},
        "mlflow-loader-os": {"MLmodel": _mlmodel("os", data="x"), "x": b"{}"},
    }  # fmt: skip


def _hugging_face() -> dict[str, dict[str, bytes]]:
    return {
        "auto-map": {"config.json": _json(_MODEL_CLASS), "modeling_acme.py": _CODE},
        "auto-map-elsewhere": {"config.json": _json({"auto_map": {"AutoModel": "acme/other--modeling.Acme"}})},
        "tokenizer-auto-map": {"tokenizer_config.json": _json({"auto_map": {"AutoTokenizer": ["tok.Tok", None]}})},
        "trust-remote-code": {"config.json": _json({"model": {"trust_remote_code": True}})},
        "trust-remote-code-yaml": {"config.yaml": b"model:\n  trust_remote_code: true\n"},
        "custom-pipelines": {"config.json": _json({"custom_pipelines": {"p": {"impl": "p.Pipe"}}}), "p.py": _CODE},
        "diffusers-pipeline": {"model_index.json": _json({"_class_name": ["pipeline", "P"]}), "pipeline.py": _CODE},
        "sentence-transformers": {"modules.json": _json([{"idx": 0, "name": "0", "path": "", "type": "acme.Module"}]),
                                  "acme.py": _CODE},
        "training-arguments": {"training_args.bin": BAD_4},
        "pickle-tokenizer": {"tokenizer.pkl": BAD},
    }  # fmt: skip


def _configurations() -> dict[str, dict[str, bytes]]:
    return {
        "yaml-apply": {"config.yaml": b"a: !!python/object/apply:os.system ['true']\n"},
        "yaml-new": {"config.yml": b"a: !!python/object/new:os.system ['true']\n"},
        "yaml-module": {"MLmodel": b"flavors: !!python/module:antigravity\n"},
        "yaml-name": {"conda.yaml": b"name: !!python/name:os.system\n"},
        "yaml-handle": {"config.yaml": b"%TAG !p! tag:yaml.org,2002:python/\n---\na: !p!object/apply:os.system [x]\n"},
        "yaml-second-document": {"config.yaml": b"a: 1\n---\nb: !!python/object/apply:os.system ['true']\n"},
        "yaml-ruby": {"config.yaml": b"a: !ruby/object:Gem::Installer\n  i: x\n"},
        "hydra-target": {"config.yaml": b"model:\n  _target_: os.system\n  command: 'true'\n"},
        "hydra-target-json": {"hparams.json": _json({"optimizer": {"_target_": "subprocess.Popen", "args": ["true"]}})},
        "hydra-target-eval": {"model_config.yaml": b"a: {_target_: builtins.eval, _args_: ['0']}\n"},
        "nemo": {"model.nemo": tarred({"./model_config.yaml": b"a:\n  _target_: os.system\n", "./w.ckpt": b"{}"})},
        "json-pickled": {"state.json": _json({"py/reduce": [{"py/function": "os.system"}, {"py/tuple": ["true"]}]})},
    }  # fmt: skip


def _programs() -> dict[str, dict[str, bytes]]:
    return {
        "elf": {"lib/ops.so": b"\x7fELF\x02\x01\x01" + bytes(60)},
        "windows-program": {"setup.exe": b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0" + bytes(60)},
        "mac-program": {"run": b"\xcf\xfa\xed\xfe" + bytes(60)},
        "elf-as-weights": {"model.bin": b"\x7fELF\x02\x01\x01" + bytes(60)},
        "shell-script": {"install.sh": b"#!/bin/sh\ntrue\n"},
        "script-without-name": {"postinstall": b"#!/usr/bin/env python3\nprint()\n"},
        "batch-file": {"run.bat": b"@echo off\r\n"},
        "setup-py": {"setup.py": b"from setuptools import setup\nsetup()\n"},
        "hubconf": {"hubconf.py": _CODE},
        "package-init": {"acme/__init__.py": _CODE},
        "path-file": {"acme.pth": b"import os; os.system('true')\n"},
        "code-in-zip": {"model.zip": zipped({"handler.py": _CODE})},
        "torchserve": {"model.mar": zipped({"MAR-INF/MANIFEST.json": b"{}", "handler.py": _CODE})},
        "bytecode": {"acme.pyc": b"\xa7\r\r\n" + bytes(12) + b"\xe3" + bytes(40)},
    }


def samples() -> list[Sample]:
    """All of them."""
    rules = {
        _mlflow: "folder.|pickle.|mlflow.|config.",
        _hugging_face: "config.|folder.|pickle.",
        _programs: "folder.|program.",
        _configurations: "config.|yaml.|text.",
    }
    return [
        Sample(name, partial(_with_weights, files), rule)
        for group, rule in rules.items()
        for name, files in group().items()
    ]
