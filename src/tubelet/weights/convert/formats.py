"""The kinds of foreign weights that ``tubelet convert`` reads, as the families of models say; importing no torch."""

from __future__ import annotations

from tubelet.models import FAMILIES
from tubelet.weights.mapping.format import Format

_OF_TRANSFORMERS = [name for family in FAMILIES for name in family.huggingface.values()]
_HUGGINGFACE = Format(about=f"a folder of transformers' {' or '.join(_OF_TRANSFORMERS)}", clip_axes="B T C H W")
_OF_FAMILIES = {name: format for family in FAMILIES for name, format in family.formats.items()}
FORMATS: dict[str, Format] = dict(sorted({"huggingface": _HUGGINGFACE, **_OF_FAMILIES}.items()))
