"""ELAN's annotation files (``.eaf``): XML with time slots in milliseconds and tiers of aligned annotations.

A tier without a parent whose annotations have values gives bouts: the value is the label, or the tier's name where the
value is empty. PARTICIPANT is the subject, ANNOTATOR the observer. MEDIA_DESCRIPTOR names the film; TIME_ORIGIN (ms)
says where in it the annotations' clock begins.

Source: the EAF format, version 3.0 (www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf).
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlparse
from xml.etree import ElementTree

from tubelet.data.layouts.bouts.bout import Bout, FilmLabels, LabeledFilm, media_path
from tubelet.data.layouts.config import ManifestConfig
from tubelet.errors import DataError, reason


def read_elan(source: Path, config: ManifestConfig) -> FilmLabels:
    """The film of a file of ELAN.

    Raises:
        DataError: no such file, no film, or annotations whose times are not known.
    """
    try:
        text = source.read_text(encoding="utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities could grow without bounds
            raise ValueError("declares a document type, which annotation files do not")
        document = ElementTree.fromstring(text)
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise DataError(f"{source}: cannot be read as an ELAN file ({reason(error)})") from None
    root = config.root or source.parent
    media = document.find("HEADER/MEDIA_DESCRIPTOR")
    if media is None:
        raise DataError(f"{source}: names no film (MEDIA_DESCRIPTOR)")
    address = media.get("RELATIVE_MEDIA_URL") or media.get("MEDIA_URL") or ""
    origin = float(media.get("TIME_ORIGIN") or 0) / 1000
    try:
        path = media_path(root, unquote(urlparse(address).path), "MEDIA_DESCRIPTOR")
        bouts = [bout for tier in document.iter("TIER") for bout in _of_tier(tier, _slots(document), origin)]
    except (ValueError, KeyError) as error:
        raise DataError(f"{source}: {error}") from None
    return FilmLabels(root=root, films=(LabeledFilm(path=path, bouts=tuple(bouts)),))


def _slots(document: ElementTree.Element) -> dict[str, float | None]:
    """Time of each slot in seconds; None where ELAN has not aligned it."""
    return {
        slot.attrib["TIME_SLOT_ID"]: None if (ms := slot.get("TIME_VALUE")) is None else float(ms) / 1000
        for slot in document.iter("TIME_SLOT")
    }


def _of_tier(tier: ElementTree.Element, slots: dict[str, float | None], origin: float) -> list[Bout]:
    if tier.get("PARENT_REF"):
        return []
    name, bouts = tier.get("TIER_ID", ""), []
    for annotation in tier.iter("ALIGNABLE_ANNOTATION"):
        where = f"annotation {annotation.get('ANNOTATION_ID')} of tier '{name}'"
        times = [slots[annotation.attrib[key]] for key in ("TIME_SLOT_REF1", "TIME_SLOT_REF2")]
        if times[0] is None or times[1] is None:
            raise ValueError(f"{where} has no time; align it in ELAN")
        value = (annotation.findtext("ANNOTATION_VALUE") or "").strip()
        bouts.append(
            Bout(
                label=value or name,
                start=times[0] + origin,
                stop=times[1] + origin,
                subject=tier.get("PARTICIPANT", ""),
                observer=tier.get("ANNOTATOR", ""),
                where=where,
            )
        )
    return bouts
