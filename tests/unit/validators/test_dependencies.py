"""Reading what a model says it needs."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_approval.validators.security_scan.dependencies import (
    Declared,
    OddityKind,
    read_conda,
    read_python_env,
    read_requirements,
)
from model_approval.validators.security_scan.yaml_leaves import Leaf, YamlError, leaves

pytestmark = pytest.mark.unit

_REQUIREMENTS = """\
# made by hand
mlflow==3.17.0
Scikit_Learn == 1.9.0 ; python_version >= "3.11"   # a comment
numpy>=2,<3
cloudpickle==3.1.* \\
    --hash=sha256:00
torch[opt]==2.9.0
"""
_CONDA = """\
channels: [conda-forge]
dependencies:
- python=3.10.4
- pip<=22.3.1
- numpy=2.1
- conda-forge::openssl=3.0.1=h0
- pip:
  - mlflow==3.17.0
name: mlflow-env
"""


def test_a_requirements_file_lists_names_versions_and_lines() -> None:
    assert read_requirements(_REQUIREMENTS, "r.txt").declared == (
        Declared("mlflow", "3.17.0", "==3.17.0", "r.txt", 2),
        Declared("scikit-learn", "1.9.0", "==1.9.0", "r.txt", 3),
        Declared("numpy", None, "<3,>=2", "r.txt", 4),
        Declared("cloudpickle", None, "==3.1.*", "r.txt", 5),
        Declared("torch", "2.9.0", "==2.9.0", "r.txt", 7),
    )


def test_a_conda_environment_lists_conda_and_pip_packages() -> None:
    assert read_conda(_CONDA, "conda.yaml").declared == (
        Declared("python", "3.10.4", "=3.10.4", "conda.yaml", 3, "conda"),
        Declared("pip", None, "<=22.3.1", "conda.yaml", 4, "conda"),
        Declared("numpy", None, "=2.1", "conda.yaml", 5, "conda"),
        Declared("openssl", "3.0.1", "=3.0.1=h0", "conda.yaml", 6, "conda"),
        Declared("mlflow", "3.17.0", "==3.17.0", "conda.yaml", 8),
    )
    assert read_conda(_CONDA, "conda.yaml").channels == (("conda-forge", 1),)


def test_a_python_env_lists_its_build_dependencies() -> None:
    text = "python: 3.11.7\nbuild_dependencies:\n- pip==23.2.1\ndependencies:\n- -r requirements.txt\n"
    assert read_python_env(text, "e").declared == (Declared("pip", "23.2.1", "==23.2.1", "e", 3),)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("git+https://git.example/a/b@main#egg=b", OddityKind.DIRECT_URL),
        ("git+ssh://git@git.example/a/b", OddityKind.DIRECT_URL),
        ("git@git.example:a/b.git", OddityKind.DIRECT_URL),
        ("https://files.example/a-1.0-py3-none-any.whl", OddityKind.DIRECT_URL),
        ("a @ https://files.example/a-1.0.tar.gz", OddityKind.DIRECT_URL),
        ("a @ git+https://git.example/a/b", OddityKind.DIRECT_URL),
        ("http://files.example/a.whl", OddityKind.INSECURE),
        ("a @ http://files.example/a.whl", OddityKind.INSECURE),
        ("a @ file:///tmp/a.whl", OddityKind.LOCAL),
        ("./a", OddityKind.LOCAL),
        ("../wheels/a-1.0-py3-none-any.whl", OddityKind.LOCAL),
        (".[extra]", OddityKind.LOCAL),
        ("a-1.0.tar.gz", OddityKind.LOCAL),
        ("-e .", OddityKind.EDITABLE),
        ("--editable=git+https://git.example/a", OddityKind.EDITABLE),
        ("--index-url https://index.example/simple", OddityKind.INDEX),
        ("-i https://index.example/simple", OddityKind.INDEX),
        ("-ihttps://index.example/simple", OddityKind.INDEX),
        ("--extra-index-url=https://index.example/simple", OddityKind.INDEX),
        ("--find-links https://index.example/", OddityKind.INDEX),
        ("--index-url http://index.example/simple", OddityKind.INSECURE),
        ("--trusted-host index.example", OddityKind.INSECURE),
        ('a==1 --config-settings="--build-option=x"', OddityKind.BUILD_OPTION),
        ("a==1 --global-option=--x", OddityKind.BUILD_OPTION),
        ("-r other.txt", OddityKind.INCLUDED),
        ("--pre", OddityKind.PRERELEASE),
        ("--no-binary :all:", OddityKind.OTHER_OPTION),
        ("a b c", OddityKind.UNREADABLE),
        ("--extra-index-url \\\n https://index.example", OddityKind.INDEX),
    ],
)
def test_what_is_no_name_and_version_is_told_apart(line: str, kind: OddityKind) -> None:
    assert [item.kind for item in read_requirements(line, "r.txt").oddities] == [kind]


def test_an_alias_in_a_list_of_dependencies_is_not_followed_but_named() -> None:
    found = read_conda("x: &a git+https://git.example/a\ndependencies: [*a, {pip: [*a]}]\n", "c")
    assert [item.kind for item in found.oddities] == [OddityKind.UNREADABLE] * 2
    assert found.declared == ()


def test_values_of_yaml_come_with_the_keys_that_lead_to_them() -> None:
    text = "a: {b: [1, !!python/name:x y], ? [k] : v}\nc: *d\n"
    assert list(leaves(text)) == [
        Leaf(("a", "b", "0"), "1", 1),
        Leaf(("a", "b", "1"), "y", 1, "tag:yaml.org,2002:python/name:x"),
        Leaf(("a", "?", "0"), "k", 1),
        Leaf(("a", "?"), "v", 1),
        Leaf(("c",), "d", 2, is_alias=True),
    ]


def test_yaml_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(YamlError):
        list(leaves("- " * 5000))


@pytest.mark.fuzz
@given(st.text(max_size=300))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    found = read_requirements(text, "r.txt")
    lines = [item.line for item in found.declared] + [item.line for item in found.oddities]
    with suppress(YamlError):
        lines += [item.line for item in read_conda(text, "c.yaml").declared]
    assert all(1 <= line <= len(text) + 1 for line in lines)
