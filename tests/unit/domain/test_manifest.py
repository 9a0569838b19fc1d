"""The manifest: one set of bytes, one name; no path that could be read in two ways."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from model_approval.domain.errors import IntegrityError
from model_approval.domain.manifest import (
    ArtifactManifest,
    FileEntry,
    check_path,
    manifest_of_folder,
    require_same_bytes,
)
from tests.support.builders import FILES, a_manifest

pytestmark = pytest.mark.unit

PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/\\"), min_size=1, max_size=8)
CONTENTS = st.binary(max_size=20)


@st.composite
def good_paths(draw: st.DrawFn) -> str:
    path = unicodedata.normalize("NFC", "/".join(draw(st.lists(PARTS, min_size=1, max_size=4))))
    assume(not any(part in ("", ".", "..") for part in path.split("/")))
    assume(not any(ord(char) < 32 or ord(char) == 127 for char in path))
    return path


def good_trees() -> st.SearchStrategy[dict[str, bytes]]:
    names = st.sampled_from(["model.onnx", "a/b.json", "a/c.json", "docs/card.md", "Größe.csv", "z"])
    return st.dictionaries(names, CONTENTS, min_size=1)


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("/etc/passwd", "must be relative"),
        ("../secret", "must be relative"),
        ("a/../../b", "must be relative"),
        ("a//b", "must be relative"),
        ("./a", "must be relative"),
        ("a/", "must be relative"),
        ("..", "must be relative"),
        ("a\\b", "backslash or control"),
        ("C:\\windows", "backslash or control"),
        ("a\nb", "backslash or control"),
        ("a\x00b", "backslash or control"),
        ("a\x7fb", "backslash or control"),
        ("cafe\u0301.json", "not NFC"),
    ],
)
def test_a_path_that_could_escape_or_be_read_in_two_ways_is_refused(path, complaint):
    with pytest.raises(ValueError, match=complaint):
        check_path(path)
    with pytest.raises(ValidationError, match=complaint):
        FileEntry(path=path, size_bytes=0, sha256="0" * 64)


@given(good_paths())
def test_plain_relative_paths_are_accepted(path):
    assert a_manifest({path: b"x"}).file(path) is not None


@given(good_paths())
def test_an_accepted_path_stays_below_its_folder(path):
    root = Path("/srv/models")
    assert (root / path).resolve().is_relative_to(root)


@given(good_trees(), st.randoms(use_true_random=False))
def test_the_digest_does_not_depend_on_the_order_of_files(tree, random):
    entries = list(a_manifest(tree).files)
    random.shuffle(entries)
    assert ArtifactManifest(files=tuple(entries)).artifact_digest == a_manifest(tree).artifact_digest


@given(good_trees(), good_trees())
def test_two_trees_share_a_digest_only_when_they_are_the_same(one, two):
    assert (a_manifest(one).artifact_digest == a_manifest(two).artifact_digest) == (one == two)


def test_swapped_names_give_another_digest():
    one = a_manifest({"config.json": b"a", "model.onnx": b"b"})
    two = a_manifest({"config.json": b"b", "model.onnx": b"a"})
    assert one.artifact_digest != two.artifact_digest


def test_the_digest_of_a_known_manifest_never_changes():
    # Decisions signed years ago name it: a new library version must not move it.
    assert a_manifest({"model.onnx": b"model", "docs/card.md": b"card"}).artifact_digest == (
        "sha256:5a52044543f24e6458f8b54ca13c5f6f95078f3a8bb74fa4662324c55d44decd"
    )


def test_files_are_sorted_by_path():
    assert [entry.path for entry in a_manifest({"b": b"", "a/z": b"", "a.b": b""}).files] == ["a.b", "a/z", "b"]


@pytest.mark.parametrize(
    ("paths", "complaint"),
    [
        (("a", "a"), "'a' and 'a' are the same file"),
        (("Model.onnx", "model.onnx"), "are the same file on some file systems"),
        (("docs/A.md", "DOCS/a.md"), "are the same file on some file systems"),
        (("a", "a/b"), "'a/b' lies below the file 'a'"),
        (("A", "a/b/c"), "lies below the file 'A'"),
    ],
)
def test_names_that_collide_somewhere_are_refused(paths, complaint):
    entries = [{"path": path, "size_bytes": 0, "sha256": "0" * 64} for path in paths]
    with pytest.raises(ValidationError, match=complaint):
        ArtifactManifest.model_validate({"files": entries})
    with pytest.raises(ValidationError, match=complaint):
        ArtifactManifest.model_validate_json(json.dumps({"files": entries}))


def test_an_artifact_without_files_is_none():
    with pytest.raises(ValidationError, match="at least 1"):
        ArtifactManifest(files=())


def test_the_size_is_the_sum_of_all_files():
    assert a_manifest({"a": b"123", "b": b"4567"}).size_bytes == 7


def test_differences_name_each_file_with_both_digests():
    pinned = a_manifest({"same": b"1", "gone": b"2", "changed": b"3"})
    found = a_manifest({"same": b"1", "new": b"4", "changed": b"5"})
    changed, gone, new = pinned.differences(found)
    assert changed.startswith("changed: pinned as sha256:")
    assert found.files[0].sha256 in changed
    assert gone.startswith("gone: missing")
    assert new.startswith("new: was not there when the bytes were pinned")


def test_the_same_bytes_are_accepted():
    pinned, found = a_manifest(), a_manifest()
    require_same_bytes(pinned, found, where="before deployment")
    assert pinned.differences(found) == ()


def test_other_bytes_stop_everything_and_say_where_and_what():
    changed = a_manifest({**FILES, "model.onnx": b"another"})
    with pytest.raises(IntegrityError, match=r"before deployment: .* model\.onnx: pinned as") as caught:
        require_same_bytes(a_manifest(), changed, where="before deployment")
    assert "register the changed bytes as a new version" in caught.value.hint


def test_only_five_differences_are_named_and_the_rest_is_counted():
    one, two = ({f"f{number}": content for number in range(8)} for content in (b"a", b"b"))
    with pytest.raises(IntegrityError, match="and 3 more"):
        require_same_bytes(a_manifest(one), a_manifest(two), where="here")


def test_a_folder_has_the_manifest_of_its_files(tmp_path):
    for path, data in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    assert manifest_of_folder(tmp_path) == a_manifest()


def test_a_single_file_is_named_by_its_base_name(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"m")
    assert manifest_of_folder(tmp_path / "model.onnx") == a_manifest({"model.onnx": b"m"})


def test_a_link_in_a_folder_is_refused_even_when_it_stays_inside(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(IntegrityError, match="b is a link or special file"):
        manifest_of_folder(tmp_path)
