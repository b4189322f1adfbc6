"""Download sources of the eight corpora: repositories, commits, and pins of the normalised files.

The checksums are of the normalised text, not of the ``.gz`` file, whose bytes depend on the version of zlib.
All but those of ``chemdner`` were taken from the copies named here. The copies of ``chemdner`` could not be
downloaded when this was written, so a file with the sentences, words and annotations of Table 1 is accepted. Its
checksums are of a conversion of the original CHEMDNER release, 14 words short of Table 1 in all, also accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from munchray.corpora.catalogue import SPLITS, TABLE_1, SplitCounts

FILES = {"train": "train.tsv", "dev": "devel.tsv", "test": "test.tsv"}  # a split's name in every repository


class Pin(NamedTuple):
    """Expected content of a split: the sha256 of its normalised text, and its counts."""

    sha256: str
    counts: SplitCounts


@dataclass(frozen=True)
class Copy:
    """A copy of a corpus: a folder of a GitHub repository at one commit."""

    repository: str
    commit: str
    folder: str

    def url(self, base_url: str, split: str) -> str:
        """URL of the file of a split, in the layout of raw.githubusercontent.com."""
        return f"{base_url.rstrip('/')}/{self.repository}/{self.commit}/{self.folder}/{FILES[split]}"


@dataclass(frozen=True)
class DownloadSource:
    """A published corpus: its entity type, its copies in the order of trial, and a pin for each split."""

    entity_type: str
    copies: tuple[Copy, ...]
    pins: Mapping[str, Pin]
    counts_suffice: bool = False  # equal counts are accepted with any checksum


def _crichton(folder: str) -> Copy:
    """Crichton et al. (2017), A neural network multi-task learning approach to biomedical NER."""
    return Copy("cambridgeltl/MTL-Bioinformatics-2016", "df0df02fae6dbb87d88ffcf323b9096528f06f84", f"data/{folder}")


def _biobert(folder: str) -> Copy:
    """The data of BioBERT, Lee et al. (2019), as another project stores it: tags without an entity type."""
    return Copy("BioMedBERT/biomedbert", "9e5e1019d79d07c7aecc4eb49106203af1012663", f"datasets/NER/{folder}")


def _bioflair(folder: str) -> Copy:
    """The same data in the repository of Sharma and Daniel (2019), BioFLAIR."""
    return Copy("shreyashub/BioFLAIR", "8c23dce4976f50a991eac630b5ccb95d9c3d94f9", f"data/ner/{folder}")


def _pins(name: str, *checksums: str) -> dict[str, Pin]:
    """The checksums of train, dev and test, with the counts of Table 1."""
    return {split: Pin(checksum, TABLE_1[name][split]) for split, checksum in zip(SPLITS, checksums, strict=True)}


SOURCES: Mapping[str, DownloadSource] = {
    "ncbi-disease": DownloadSource(
        "Disease",
        (_crichton("NCBI-disease-IOB"), _biobert("NCBI-disease")),
        _pins(
            "ncbi-disease",
            "58379baf4614b8d757d93dd7a21b202849ca99f9b9d71b49185523ff5443300c",
            "b4e1e7efcc2a35047bf2f3d281648357470e674f555d4a26a0049ac37d59cc61",
            "8f088ce45dc4746592188f9e69de3d89d87f3bb8f0ed8c4a287d018123fa148d",
        ),
    ),
    "bc5cdr-disease": DownloadSource(
        "Disease",
        (_crichton("BC5CDR-disease-IOB"), _biobert("BC5CDR-disease")),
        _pins(
            "bc5cdr-disease",
            "d630dafe7dd67e21350cc3278dbdcfadcccbb2b63d0fda83b2427853988e5ad9",
            "8c3af95475029c2100c2b7c0108b2715bc700ac198c7a21d587f11f1d06b17bd",
            "a530bf9e17a4122b101b09cedd5f3cf8e6307d6a0093146c33b8de2e69ec0fa3",
        ),
    ),
    "bc5cdr-chem": DownloadSource(
        "Chemical",
        (_crichton("BC5CDR-chem-IOB"), _biobert("BC5CDR-chem")),
        _pins(
            "bc5cdr-chem",
            "165c4cd2efadd0caf1bb8f3c6bcd3acca199446bb3d55eb06d9137114c9a0b2d",
            "3f1df5cfcff95735663ffc37121fd3687e82b1e9a019bec0480491502652721b",
            "6fce42139a9d819151eff3ab8cb0eda6fbf861fd17d4cfe6be2123f010a3b6c5",
        ),
    ),
    "chemdner": DownloadSource(
        "Chemical",
        (_biobert("BC4CHEMD"), _crichton("BC4CHEMD")),
        _pins(
            "chemdner",
            "1d2c0727a01115e0d363b3c9e44149c503318fe3be4bad5ad73e81c4ac99b798",
            "c4ea44bf1d22dd7f8fa54450e0cbcb5a0b795fda2a7bff5577fcc66a309f9fc3",
            "17a159504d15f372328e2efca632e08462c4309361acb6b3611d4e8d4e0ef106",
        ),
        counts_suffice=True,
    ),
    "bc2gm": DownloadSource(
        "GENE",
        (_crichton("BC2GM-IOB"), _biobert("BC2GM")),
        _pins(
            "bc2gm",
            "46e17f4e1509483b82c03f27d6f0214020f738fb71704356fb3445eb824ab38d",
            "33a94577aa22f1e70ec9e02781a05baa4e1390e866d28bf2b344888e4e3d4103",
            "30d7a4f571ca8ed22a044528063ba5d0388d666d8b8b329733d6927e5fb30764",
        ),
    ),
    "jnlpba": DownloadSource(
        "GENE",
        (_biobert("JNLPBA"),),
        _pins(
            "jnlpba",
            "8e0d6625078f8e822ce26fc07d3ed3fd788a4dfa756dbe052e648d878fe74c5c",
            "8adbda2321e04cbb79463d02a8b5ae94cc9fda58436152a041ddd0f85b6ec150",
            "d281ef6339709503242786709514ff4e52c1890e489ed093067aee123f86d8ea",
        ),
    ),
    "linnaeus": DownloadSource(
        "Species",
        (_biobert("linnaeus"), _bioflair("linnaeus")),
        _pins(
            "linnaeus",
            "02625e17503ed53e449e7d6b6394e12490ddd8fb0621032d7e20fb0813dc5c31",
            "821d36fe8a4143a97e9c016bda60bbd6998cc2e5688f0932e0c11295e9bc076d",
            "96d6858ae0893276325c6ece5ea78cd80cd4083231c02c9bcd2b689b8212b500",
        ),
    ),
    "s800": DownloadSource(
        "Species",
        (_biobert("s800"), _bioflair("s800")),
        _pins(
            "s800",
            "d8e109ed4289567c8fd544f781c4b37cb472737f08cb42af91bfc1e7c503fa7e",
            "617b1cd596bb664a00325697d3d8a7e0c9fb1d9f08004e1e24aa5aa3099f551d",
            "decd7a0af93c059c36eda7bbaa8c43c9fd106ce667d4ca38a79f6941c335a54c",
        ),
    ),
}
