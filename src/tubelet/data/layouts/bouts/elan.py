"""ELAN's annotation files (``.eaf``): XML with time slots in milliseconds and tiers of aligned annotations.

A tier of aligned annotations gives bouts, also below another one: the value is the label, or the tier's name where the
value is empty. PARTICIPANT is the subject, ANNOTATOR the observer; where tiers without participant share a label, each
is a subject. Tiers whose annotations have no times of their own (they refer to others, or divide one) are left out with
a note. MEDIA_DESCRIPTOR names the film; TIME_ORIGIN (ms) says where in it the annotations' clock begins.

Source: the EAF format, version 3.0 (www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf).
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlparse
from xml.etree import ElementTree

from tubelet.data.layouts.bouts.bout import Bout, FilmLabels, LabeledFilm, media_path, with_tiers_as_subjects
from tubelet.data.layouts.config import ManifestConfig
from tubelet.errors import DataError, reason
from tubelet.files import read_xml


def read_elan(source: Path, config: ManifestConfig) -> FilmLabels:
    """The film of a file of ELAN.

    Raises:
        DataError: no such file, no film, or annotations whose times are not known.
    """
    try:
        document = read_xml(source)
    except (OSError, ValueError) as error:
        raise DataError(f"{source}: cannot be read as an ELAN file ({reason(error)})") from None
    root = config.root or source.parent
    media = document.find("HEADER/MEDIA_DESCRIPTOR")
    if media is None:
        raise DataError(f"{source}: names no film (MEDIA_DESCRIPTOR)")
    address = media.get("RELATIVE_MEDIA_URL") or media.get("MEDIA_URL") or ""
    origin = float(media.get("TIME_ORIGIN") or 0) / 1000
    try:
        path = media_path(root, unquote(urlparse(address).path), "MEDIA_DESCRIPTOR")
        slots, notes, tiers = _slots(document), list[str](), dict[str, list[Bout]]()
        for tier in document.iter("TIER"):
            tiers.setdefault(tier.get("TIER_ID", ""), []).extend(_of_tier(tier, slots, origin, notes))
    except (ValueError, KeyError) as error:
        raise DataError(f"{source}: {error}") from None
    film = LabeledFilm(path=path, bouts=with_tiers_as_subjects(tiers))
    return FilmLabels(root=root, films=(film,), notes=tuple(notes))


def _slots(document: ElementTree.Element) -> dict[str, float | None]:
    """Time of each slot in seconds; None where ELAN has not aligned it."""
    return {
        slot.attrib["TIME_SLOT_ID"]: None if (ms := slot.get("TIME_VALUE")) is None else float(ms) / 1000
        for slot in document.iter("TIME_SLOT")
    }


def _of_tier(tier: ElementTree.Element, slots: dict[str, float | None], origin: float, notes: list[str]) -> list[Bout]:
    name, parent, bouts = tier.get("TIER_ID", ""), tier.get("PARENT_REF"), []
    annotations = list(tier.iter("ALIGNABLE_ANNOTATION"))
    keys = ("TIME_SLOT_REF1", "TIME_SLOT_REF2")
    unaligned = [a for a in annotations if any(slots[a.attrib[key]] is None for key in keys)]
    if parent and (unaligned or tier.find("ANNOTATION/REF_ANNOTATION") is not None):
        notes.append(f"tier '{name}' (below '{parent}') has annotations without times of their own: left out")
        return []
    if unaligned:
        raise ValueError(
            f"annotation {unaligned[0].get('ANNOTATION_ID')} of tier '{name}' has no time; align it in ELAN"
        )
    for annotation in annotations:
        start, stop = (slots[annotation.attrib[key]] or 0.0 for key in keys)
        value = (annotation.findtext("ANNOTATION_VALUE") or "").strip()
        bouts.append(
            Bout(
                label=value or name,
                start=start + origin,
                stop=stop + origin,
                subject=tier.get("PARTICIPANT", ""),
                observer=tier.get("ANNOTATOR", ""),
                where=f"annotation {annotation.get('ANNOTATION_ID')} of tier '{name}'",
            )
        )
    return bouts
