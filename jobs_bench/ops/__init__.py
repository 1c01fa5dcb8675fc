"""Operators with a plain reference and a native fast path."""

from __future__ import annotations

from jobs_bench.ops._backend import backend_record, native_backends, require_native, why_no_native
from jobs_bench.ops._corpus import CorpusTensors
from jobs_bench.ops._corpus_file import map_corpus, write_corpus
from jobs_bench.ops._gp import GpLikelihood, GpState, gp_condition, gp_kernel, gp_mll, gp_posterior
from jobs_bench.ops._gp_fit import GP_FIT_STOPS, GpFit, gp_fit
from jobs_bench.ops._gp_priors import Gamma, GpBox, GpPrior, GpPriors, LogNormal, Normal
from jobs_bench.ops._gp_spec import GpFidelity, GpParameter, GpSpec, GpTerm
from jobs_bench.ops._mix import mix_counts, mix_indices
from jobs_bench.ops._mix_batch import MixBatch, MixStreams, mix_batch
from jobs_bench.ops._mix_pack import MixPack, mix_pack
from jobs_bench.ops._mix_tree import epoch_caps, freeze_weights
from jobs_bench.ops._token_corpus import CorpusStream, TokenCorpus

__all__ = [
    "CorpusStream",
    "CorpusTensors",
    "GP_FIT_STOPS",
    "Gamma",
    "GpBox",
    "GpFidelity",
    "GpFit",
    "GpLikelihood",
    "GpParameter",
    "GpPrior",
    "GpPriors",
    "GpSpec",
    "GpState",
    "GpTerm",
    "LogNormal",
    "MixBatch",
    "MixPack",
    "MixStreams",
    "Normal",
    "TokenCorpus",
    "backend_record",
    "epoch_caps",
    "freeze_weights",
    "gp_condition",
    "gp_fit",
    "gp_kernel",
    "gp_mll",
    "gp_posterior",
    "map_corpus",
    "mix_batch",
    "mix_counts",
    "mix_indices",
    "mix_pack",
    "native_backends",
    "require_native",
    "why_no_native",
    "write_corpus",
]
