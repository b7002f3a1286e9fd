"""A checkpoint's configuration, and the sequence classifier of the architecture that it names.

`transformers` has a classifier for most architectures. For the others this module makes one in the same layout: the
backbone under its usual name, and a linear head called `score`.
"""

import logging
import re
from functools import cache
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from music.errors import InvalidInputError

__all__ = ["classifier_class", "read_config", "without_language_head"]

logger = logging.getLogger(__name__)

_SUFFIX = "ForSequenceClassification"
# In old checkpoints: causal masks, and GPT-NeoX's language head under its former name.
_FORMER = {r"\.(attn|attention)\.(masked_)?bias$", r"^embed_out\."}


def read_config(path: str) -> Any:
    """Read the configuration of a checkpoint's text model; none of the checkpoint's own code is run.

    Raises:
        InvalidInputError: There is none, or it is damaged, or it names code of the checkpoint, quantised weights, or a
            model that is not causal with one reward.
    """
    try:
        raw, _ = PretrainedConfig.get_config_dict(path)
        _refuse_own_code(path, raw)
        _refuse_quantised(path, raw)
        config: Any = AutoConfig.from_pretrained(path, trust_remote_code=False)
    except InvalidInputError:
        raise
    # Settings of a wrong type or value raise the last three.
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError, StrictDataclassError) as error:
        why = " ".join(str(error).split())[:200]
        raise InvalidInputError(f"{path}: expected a config.json that transformers can read, got: {why}") from error
    _refuse_unfit(path, config)
    text = config.get_text_config()
    if text is not config:  # the whole model's configuration names its classifier
        text.architectures = config.architectures
    if raw.get("pad_token_id") is not None:
        text.pad_token_id = raw["pad_token_id"]
    _refuse_pad(path, text)
    text.num_labels, text.problem_type = 1, "regression"
    return text


def classifier_class(path: str, config: PretrainedConfig) -> type[PreTrainedModel]:
    """Return the sequence classifier of an architecture.

    Raises:
        InvalidInputError: The architecture has no backbone that reads only text.
    """
    mapped: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(config), None)
    if mapped is not None:
        return mapped  # type: ignore[no-any-return]
    if _pretrained(type(config)) is None:
        raise InvalidInputError(f"{path}: expected a causal language model, got one of type {config.model_type}")
    made = _made(type(config).__name__.removesuffix("Config") + _SUFFIX)
    logger.warning("%s: transformers has no %s; one is made in the same layout", path, made.__name__)
    return made


def without_language_head(config: PretrainedConfig, names: set[str]) -> set[str]:
    """Remove the names of weights that a classifier lacks and that its scores do not depend on.

    These are a language model's head, under any name, and the weights that transformers ignores in a language model,
    such as layers that predict several tokens and the causal masks of old checkpoints.
    """
    causal: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if not names or causal is None:
        return names
    kinds = (causal, MODEL_MAPPING[type(config)])
    ignored = {p for kind in kinds for p in getattr(kind, "_keys_to_ignore_on_load_unexpected", None) or ()} | _FORMER
    with torch.device("meta"):
        head = set(causal(config).state_dict())
    return {name for name in names - head if not any(re.search(pattern, name) for pattern in ignored)}


def __getattr__(name: str) -> type[PreTrainedModel]:
    """Return a classifier that this module makes by its name, so that it can be pickled."""
    if name.endswith(_SUFFIX):
        return _made(name)
    raise AttributeError(name)


@cache
def _made(name: str) -> type[PreTrainedModel]:
    """Make a classifier in the layout of those that transformers has."""
    config: Any = getattr(transformers, name.removesuffix(_SUFFIX) + "Config")
    pretrained: Any = _pretrained(config)
    body = {
        "__module__": __name__,
        "__doc__": f"A {config.__name__.removesuffix('Config')} backbone with a linear head on its last token.",
        "__annotations__": {"config": config},
        "config_class": config,
        "base_model_prefix": pretrained.base_model_prefix or "model",
    }
    made: type[PreTrainedModel] = type(name, (GenericForSequenceClassification, pretrained), body)
    return made


def _pretrained(config: type[PretrainedConfig]) -> type[PreTrainedModel] | None:
    """Return the class that all models of an architecture share, if it has a backbone."""
    backbone: Any = MODEL_MAPPING.get(config, None)
    bases = backbone.__mro__[1:] if isinstance(backbone, type) else ()
    return next((base for base in bases if issubclass(base, PreTrainedModel)), None)


def _refuse_own_code(path: str, raw: dict[str, Any]) -> None:
    """Refuse a model that only the checkpoint's code defines; if transformers defines it too, that class is used."""
    code = raw.get("auto_map")
    if not isinstance(code, dict) or not code:
        return
    own = [name for name in raw.get("architectures") or () if not hasattr(transformers, name)]
    files = sorted({f"{str(each).rpartition('--')[2].partition('.')[0]}.py" for each in code.values()})
    if raw.get("model_type") in CONFIG_MAPPING and not own:
        logger.warning(
            "%s: code that comes with it (%s) is not run; the class in transformers is used instead",
            path,
            ", ".join(files),
        )
        return
    name = own[0] if own else f"of type {raw.get('model_type')}"
    raise InvalidInputError(
        f"{path}: its model is {name}, defined by code that comes with the checkpoint ({', '.join(files)}). Such code "
        "is never run here. Serve the model with software that runs it, and name it as MODEL@BASE_URL"
    )


def _refuse_quantised(path: str, raw: dict[str, Any]) -> None:
    for each in (raw, raw.get("text_config")):
        if isinstance(each, dict) and isinstance(settings := each.get("quantization_config"), dict):
            bits = next(
                (f", {n} bits" for n in (4, 8) if settings.get(f"load_in_{n}bit") or settings.get("bits") == n), ""
            )
            raise InvalidInputError(
                f"{path}: its weights are quantised ({settings.get('quant_method', 'bitsandbytes')}{bits}), and only "
                "full-precision ones are read. Use the checkpoint that it was made from, or make one with "
                "transformers' `model.dequantize()`"
            )


def _refuse_unfit(path: str, config: Any) -> None:
    names = config.architectures or ()
    if config.is_encoder_decoder:
        raise InvalidInputError(
            f"{path}: expected a causal model, got {', '.join(names) or config.model_type}, an encoder with a decoder"
        )
    if any("Classification" in name for name in names) and config.num_labels != 1:
        raise InvalidInputError(f"{path}: expected one reward, got a classifier with {config.num_labels} labels")


def _refuse_pad(path: str, config: Any) -> None:
    pad, rows = config.pad_token_id, getattr(config, "vocab_size", None)
    if isinstance(pad, int) and isinstance(rows, int) and not -rows <= pad < rows:
        raise InvalidInputError(
            f"{path}: config.json names the pad token {pad}, but the model knows {rows} tokens (0 to {rows - 1}). Set "
            "one of these as the pad token, in config.json and in the tokenizer"
        )
