"""`PROTOCOLS`: every protocol of the server. To add one, write its module and list it here."""

from music.serving.protocols.base import ScoringProtocol
from music.serving.protocols.classify import ClassifyProtocol
from music.serving.protocols.embeddings import EmbeddingsProtocol
from music.serving.protocols.native import NativeProtocol
from music.serving.protocols.openrlhf import OpenRlhfProtocol
from music.serving.protocols.slime import SlimeProtocol
from music.serving.protocols.tei import PredictProtocol
from music.serving.protocols.vllm import PoolingProtocol

__all__ = ["PROTOCOLS"]

PROTOCOLS: tuple[ScoringProtocol, ...] = (
    NativeProtocol(),
    OpenRlhfProtocol(),
    ClassifyProtocol(),
    PoolingProtocol(),
    EmbeddingsProtocol(),
    PredictProtocol(),
    SlimeProtocol(),
)
"""One for each path."""
