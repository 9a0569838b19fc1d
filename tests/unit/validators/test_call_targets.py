"""Names that a configuration has called: harmless ones are listed, and whatever is not listed is unknown."""

from __future__ import annotations

import pytest

from model_approval.validators.security_scan.call_targets import Standing, standing_of

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "target",
    [
        "torch.nn.Linear",
        "torch.nn.modules.activation.ReLU",
        "torch.nn.init.xavier_uniform_",
        "torch.optim.Adam",
        "torch.optim.lr_scheduler.StepLR",
        "torch.float32",
        "torchvision.transforms.v2.Resize",
        "torchvision.models.resnet18",
        "sklearn.linear_model.LogisticRegression",
        "sklearn.pipeline.Pipeline",
        "torchmetrics.classification.MulticlassAccuracy",
        "pytorch_lightning.Trainer",
        "lightning.pytorch.callbacks.ModelCheckpoint",
        "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor",
        "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
        "monai.networks.nets.UNet",
        "transformers.LlamaForCausalLM",
        "collections.OrderedDict",
        "UNet",
    ],
)
def test_names_that_build_parts_of_models_are_harmless(target: str) -> None:
    assert standing_of(target) is Standing.HARMLESS


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "eval",
        "torch.hub.load",
        "torch.utils.collect_env.run",
        "torch.utils.model_zoo.load_url",
        "torch._inductor.codecache.run_command_and_check",
        "torch.nn.functional.importlib.import_module",
        "transformers.pipelines.pipeline",
        "numpy.testing._private.utils.runstring",
        "numpy.testing._private.utils.runstring2",
        "random._os.system",
        "pathlib.os.system",
        "hydra.utils.importlib.import_module",
    ],
)
def test_names_that_run_code_or_fetch_files_are_dangerous(target: str) -> None:
    assert standing_of(target) is Standing.DANGEROUS


@pytest.mark.parametrize(
    "target",
    [
        "acme.Model",
        "torch.utils.something_new",
        "torch.nn.parallel.new_function",
        "transformers.AutoModel.from_pretrained",
        "timm.create_model",
        "pathlib.Path.write_text",
        "keras.layers.Lambda",
        "sklearn.utils.fixes.Anything",
        "enum.bltns.eval_",
        "nemo.collections.asr.multiprocessing.Pool",
        "torch.optim.Adam\n",
    ],
)
def test_names_that_are_not_listed_are_unknown(target: str) -> None:
    assert standing_of(target) is Standing.UNKNOWN
