"""What each rule of the security scan means, for reports and for the reference page; a test holds it complete.

The finding itself says what was found; these sentences say why anybody should care.
"""

from __future__ import annotations

from collections.abc import Mapping

MEANINGS: Mapping[str, str] = {
    "archive.duplicate": "Two members of an archive share a name, so that check and loader may read different ones.",
    "archive.link": "An archive holds a link or device; unpacking it reaches files outside of the model.",
    "archive.path": "A member of an archive would be unpacked outside of its folder.",
    "archive.polyglot": "A file is two formats at once, so that a check and a loader may see different content.",
    "config.code": "A configuration tells the loader to run code that comes with the model or from afar.",
    "config.objects": "A configuration makes a careless loader build Python objects of the sender's choice.",
    "config.remote": "A configuration names an address from which a loader may fetch what was never checked.",
    "folder.code": "Code lies beside the weights, where loaders and curious colleagues run it.",
    "folder.disguised": "A file is not what its name says, so that it may be opened by the wrong program.",
    "npy.objects": "An array holds Python objects, so that loading it unpickles.",
    "onnx.custom-operator": "A model needs native code that does not come with the runtime.",
    "onnx.external-data": "A model reads tensor data from outside of its folder.",
    "onnx.missing-data": "A model names tensor data that is not part of the artifact.",
    "pickle.dangerous-import": "Loading the file runs commands, files or code of the sender's choice.",
    "pickle.extension": "A pickle imports by number, so that the loading process decides what runs.",
    "pickle.frame": "A pickle's frames make readers disagree about what it does.",
    "pickle.import-untold": "A pickle puts the name of what it imports together while it is loaded.",
    "pickle.unlisted-import": "Loading the file imports something that is not known to be harmless.",
    "signature.ignored-file": "The model's signature leaves out a file of the repository it came from.",
    "signature.invalid": "The model's signature does not hold: files or signature were changed after signing.",
    "signature.missing": "The policy requires a signature of the model, and there is none.",
    "signature.unchecked": "The model is signed, and nobody said whose signature would count.",
    "signature.unknown-signer": "The model was signed by somebody whom the policy does not name.",
    "signature.unsigned-file": "A file was added to a signed model, so that its signer does not answer for it.",
}
FAMILIES: Mapping[str, str] = {
    "archive": "An archive is built so that readers disagree about it, or so that unpacking it does harm.",
    "config": "A configuration makes loaders run or fetch code.",
    "dependency": "A library that the model declares is known to do harm, or cannot be looked up.",
    "folder": "A file has no business among the weights of a model.",
    "licence": "The licence of the model or of what it needs is unclear, or not one of those allowed.",
    "npy": "An array file can run code when it is loaded.",
    "onnx": "A model reaches outside of its file, or needs foreign native code.",
    "pickle": "Loading the file can run code of the sender's choice.",
    "signature": "The model's signature is missing, does not hold, or is not by whom the policy names.",
}
"""By what stands before the dot, for rules that have no sentence of their own yet."""


def meaning_of(rule: str) -> str:
    """One sentence about a rule; of its family, when it has none of its own."""
    family = rule.split(".", 1)[0]
    return MEANINGS.get(rule) or FAMILIES.get(family) or "The scan noticed something that a person should look at."
