"""Dotted names that a configuration has imported and called, as Hydra and LightningCLI do: which are known harmless.

Such a loader follows attributes, so that `torch.nn.functional.torch.hub.load` leads out of a harmless module. Hence a
name is harmless only if the whole of it, every part, is of a listed shape; mostly a class, whose name is capitalised.
"""

from __future__ import annotations

import re
import sys
from enum import StrEnum


class Standing(StrEnum):
    """What is known of a name."""

    HARMLESS = "harmless"
    DANGEROUS = "dangerous"
    UNKNOWN = "unknown"


_RUNS_CODE = frozenset({"builtins", "code", "pty", "posix", "nt", "os", "subprocess", "sys", "runpy", "importlib"})
_RUNNING_BUILTINS = frozenset(
    {"eval", "exec", "compile", "open", "__import__", "getattr", "setattr", "breakpoint", "execfile"}
)
"""A name without a dot is looked up among the builtins by some loaders."""
_HARMLESS_STANDARD = re.compile(
    r"collections\.(?:OrderedDict|defaultdict|Counter|deque)|datetime\.(?:datetime|date|time|timedelta|timezone)"
    r"|decimal\.Decimal|fractions\.Fraction|pathlib\.(?:Pure)?(?:Posix|Windows)?Path|math\.[a-z]+[0-9]{0,2}"
    r"|random\.(?:Random|random|uniform|randint|choice|gauss|seed)|uuid\.(?:UUID|uuid[1345])|enum\.(?:Enum|auto)"
)
_MIXED_STANDARD = frozenset(
    {"collections", "datetime", "decimal", "fractions", "pathlib", "math", "random", "uuid", "enum"}
)
"""Modules of the standard library of which the other names are unknown; those of all other modules are dangerous."""
_DOORS = re.compile(
    r"(?:^|\.)(?:load|loads|hub|cpp_extension|open|memmap|fromfile|tofile|save|system|popen|eval|exec|compile|call"
    r"|check_output|import_module|get_file|download\w*|extract\w*|from_pretrained_unsafe|runstring\w*|load_library"
    r"|load_url|load_model|load_state_dict_from_url|load_pickle|run|run_\w*command\w*|run_path|run_module|shell"
    r"|collect_env|codecache|model_zoo|pipeline|Popen|Unpickler|LightningCLI|rundocs|exec_command)(?:\.|$)"
)
"""Parts of names in libraries that run programs or code, fetch files or unpickle."""
_CLASS = r"[A-Z]\w*"
_KERAS = (
    r"(?:optimizers|losses|metrics|initializers|regularizers|constraints)\.[A-Z]\w*"
    r"|layers\.(?!Lambda$|TFSMLayer$|TorchModuleWrapper$|JaxLayer$|FlaxLayer$|\w*Lookup$|TextVectorization$)[A-Z]\w*"
)
_SKLEARN_FOLDERS = (
    "calibration|cluster|compose|covariance|cross_decomposition|decomposition|discriminant_analysis|dummy|ensemble"
    "|feature_extraction|feature_selection|gaussian_process|impute|isotonic|kernel_approximation|kernel_ridge"
    "|linear_model|manifold|mixture|model_selection|multiclass|multioutput|naive_bayes|neighbors|neural_network"
    "|pipeline|preprocessing|random_projection|semi_supervised|svm|tree"
)
_HARMLESS = (
    rf"torch\.nn\.(?:modules\.\w+\.|parameter\.)?{_CLASS}",
    r"torch\.nn\.functional\.(?:relu|gelu|silu|elu|selu|mish|tanh|sigmoid|softmax|log_softmax|softplus|leaky_relu"
    r"|cross_entropy|mse_loss|l1_loss|nll_loss|binary_cross_entropy(?:_with_logits)?|smooth_l1_loss|normalize)",
    r"torch\.nn\.init\.[a-z]+(?:_[a-z]+)*_",
    rf"torch\.optim\.(?:lr_scheduler\.|swa_utils\.|[a-z]+\.)?{_CLASS}",
    r"torch\.(?:(?:b?float|u?int|complex)\d+|float|double|half|long|int|bool|device|Generator|Size|tensor|zeros|ones"
    r"|full|eye|arange|linspace|rand|randn|manual_seed|relu|tanh|sigmoid|softmax)",
    r"torch\.utils\.data\.(?:\w+\.)?(?:DataLoader|\w*Sampler|(?:Tensor|Concat|Stack|Chain)Dataset|Subset"
    r"|random_split|default_collate)",
    rf"torch\.distributions\.(?:[a-z_]+\.)?{_CLASS}",
    rf"torchvision\.transforms\.(?:v2\.|transforms\.)?{_CLASS}",
    r"torchvision\.models\.(?:(?:wide_)?resnet|resnext|vgg|densenet|efficientnet|mobilenet|squeezenet|shufflenet|vit"
    r"|swin|convnext|regnet|mnasnet|inception|googlenet|alexnet|maxvit)\w*",
    rf"torchaudio\.(?:transforms|models)\.{_CLASS}",
    rf"torchmetrics\.(?:[a-z_]+\.){{0,3}}{_CLASS}",
    rf"(?:pytorch_lightning|lightning\.pytorch|lightning)\.(?:Trainer|(?:callbacks|strategies|profilers|plugins)"
    rf"\.(?:[a-z_]+\.){{0,2}}{_CLASS}|loggers\.(?:[a-z_]+\.)?(?:TensorBoardLogger|CSVLogger)|trainer\.Trainer)",
    rf"nemo\.(?:collections|core)(?:\.[a-z_0-9]+){{0,6}}\.{_CLASS}",
    rf"sklearn\.(?:{_SKLEARN_FOLDERS})\.(?:_[a-z_]+\.)?{_CLASS}",
    r"transformers\.(?!TransfoXL|Auto)(?:models\.\w+\.\w+\.)?[A-Z]\w*(?:Config|Model|For[A-Z]\w*|Tokenizer|TokenizerFast)",
    r"diffusers\.(?:\w+\.){0,4}[A-Z]\w*(?:Scheduler|Model|ModelDiscrete|AutoencoderKL|Transformer\w*)",
    rf"monai\.(?:networks|losses|inferers|metrics|optimizers|transforms)\.(?:[a-z_]+\.){{0,3}}{_CLASS}",
    r"monai\.data\.(?:Dataset|DataLoader|CacheDataset|SmartCacheDataset|NibabelReader|ITKReader)",
    r"monai\.handlers\.(?:StatsHandler|ValidationHandler|MeanDice|LrScheduleHandler|CheckpointSaver)",
    r"monai\.engines\.Supervised(?:Trainer|Evaluator)",
    rf"(?:tensorflow\.)?keras\.(?:{_KERAS})",
    r"xgboost\.(?:sklearn\.)?XGB\w+",
    r"lightgbm\.(?:sklearn\.)?LGBM\w+",
    r"peft\.(?:tuners\.\w+\.|tuners\.\w+\.config\.)?[A-Z]\w*Config",
    r"omegaconf\.(?:dictconfig\.|listconfig\.)?(?:DictConfig|ListConfig)",
    r"hydra\._internal\.core_plugins\.(?:basic_launcher\.BasicLauncher|basic_sweeper\.BasicSweeper)",
    r"numpy\.(?:array|zeros|ones|full|eye|arange|linspace|dtype|(?:u?int|float|complex)\d+|bool_"
    r"|random\.(?:RandomState|default_rng|Generator|seed))",
)
"""Whole names that build layers, optimisers, data types and the like of their arguments, and nothing else."""
_ELSEWHERE = frozenset(sys.stdlib_module_names) - {"array", "collections", "numbers", "random", "types"}
"""Parts of a name that lead from a library to the standard one, which no listed name needs."""
_LISTED = re.compile("|".join(f"(?:{shape})" for shape in _HARMLESS))
_LIBRARIES = frozenset(
    {
        "torch", "torchvision", "torchaudio", "transformers", "diffusers", "pytorch_lightning", "lightning", "nemo",
        "timm", "sklearn", "numpy", "omegaconf", "monai", "xgboost", "lightgbm", "keras", "tensorflow", "peft",
        "torchmetrics", "hydra",
    }
)  # fmt: skip


def standing_of(target: str) -> Standing:
    """Judge a dotted name by itself, whatever it is called with."""
    root, *parts = target.split(".")
    leads_to_code = not _RUNS_CODE.isdisjoint(part.lstrip("_") for part in parts)
    if root in sys.stdlib_module_names:
        if _HARMLESS_STANDARD.fullmatch(target):
            return Standing.HARMLESS
        return Standing.UNKNOWN if root in _MIXED_STANDARD and not leads_to_code else Standing.DANGEROUS
    if not parts:
        return Standing.DANGEROUS if root in _RUNNING_BUILTINS else Standing.HARMLESS
    if _LISTED.fullmatch(target) and _ELSEWHERE.isdisjoint(parts) and parts[-1] not in ("Popen", "Unpickler"):
        return Standing.HARMLESS
    if root in _LIBRARIES and (leads_to_code or _DOORS.search(target)):
        return Standing.DANGEROUS
    return Standing.UNKNOWN
