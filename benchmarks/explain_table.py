"""What the values of ``explain_truth.py`` say: means, intervals, tests with Holm's correction, and which methods pass.

The default of a model is chosen on the first half of the clips. Everything that is reported, and whether a method
passes, is of the second half. A method fails where it is shown to: that too few clips do not show it to be better than
random order is no failure, and is listed beside it (``not_shown``).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tubelet.studies.statistics import holm, mean_interval, p_value

GOAL = 3.0  # concentration: share of relevance in the tube over its share of the volume
LEVEL = 0.01  # of the tests of deletion and insertion, after Holm's correction over the table
ALIKE = 0.5  # rank correlation with the map of shuffled weights, below which a map has changed

Values = dict[str, Any]  # by model: "random" and methods, with a value per clip


def table(values: dict[str, Values]) -> dict[str, Any]:
    """By model: what each method reached, why it fails, and the default."""
    places = [(model, method) for model, found in values.items() for method in found if _is_measured(found, method)]
    tests = [_second(values[m], method, curve) for m, method in places for curve in ("deletion", "insertion")]
    corrected = holm(np.array([float(p_value(gain)) for gain in tests])) if tests else np.zeros(0)
    rows: dict[str, dict[str, Any]] = {model: {} for model in values}
    for i, (model, method) in enumerate(places):
        rows[model][method] = _row(values[model], method, corrected[2 * i : 2 * i + 2])
    for model, found in values.items():
        rows[model] |= {name: entry for name, entry in found.items() if "refused" in entry}
    return {model: {"default": _default(values[model], row), "methods": row} for model, row in rows.items()}


def tested_rows(models: dict[str, Any]) -> list[dict[str, str]]:
    """The rows of ``explain/tested.csv``: of each design, what holds for every model of it that was tested.

    A method fails for a design where it fails for one of its models. The default is the one that most concentrated on
    the first half of the clips, among those that do not fail and, where there are any, that beat random order
    there in each model.
    """
    classes: dict[str, list[dict[str, Any]]] = {}
    for entry in models.values():
        if "methods" in entry:
            classes.setdefault(entry["class"], []).append(entry["methods"])
    rows = []
    for name, found in classes.items():
        measured = [m for m in found[0] if all("refused" not in each[m] for each in found)]
        fails = {m: next((text for each in found for text in each[m]["fails"]), "") for m in measured}
        left = [m for m in measured if not fails[m]]
        good = [m for m in left if all(each[m]["first_half_beats_random"] for each in found)]
        chosen = {m: float(np.mean([each[m]["first_half"] for each in found])) for m in good or left}
        default = max(chosen, key=lambda m: chosen[m], default=None)
        for method in measured:
            worst = min((each[method]["concentration"] for each in found), key=lambda values: values["mean"])
            text = f"concentration {worst['mean']:.1f} ({worst['low']:.1f} to {worst['high']:.1f})"
            is_default = "yes" if method == default else "no"
            rows.append({"model": name, "method": method, "found": text, "fails": fails[method], "default": is_default})
    return rows


def _row(found: Values, method: str, corrected: np.ndarray) -> dict[str, Any]:
    entry, row = found[method], dict[str, Any]()
    row["first_half"] = float(np.mean(_half(entry["concentration"], 0)))
    row["first_half_beats_random"] = _beats_random(found, method)
    for name in ("concentration", "pointing_space", "pointing_time"):
        row[name] = _interval(_half(entry[name], 1))
    for curve, p in zip(("deletion", "insertion"), corrected, strict=True):
        row[curve] = {"gain": _interval(_second(found, method, curve)), "p": float(p)}
    row["randomized"] = {level: _interval(np.array(each)) for level, each in entry["randomized"].items()}
    row["concentration_of_shuffled"] = _interval(np.array(entry["concentration_of_shuffled"]))
    if entry["gaps"]:
        row["median_gap"] = float(np.median(entry["gaps"]))
    row["fails"] = _failures(row)
    row["not_shown"] = [
        f"{curve} better than in random order"
        for curve in ("deletion", "insertion")
        if row[curve]["gain"]["mean"] <= 0 or row[curve]["p"] >= LEVEL
    ]
    return row


def _failures(row: dict[str, Any]) -> list[str]:
    fails, mean = list[str](), row["concentration"]["mean"]
    if mean < GOAL:
        fails.append(f"concentration {mean:.1f}, below {GOAL:g}")
    for curve in ("deletion", "insertion"):
        if row[curve]["gain"]["mean"] <= 0 and row[curve]["p"] < LEVEL:
            fails.append(f"{curve} is worse than in random order (p = {row[curve]['p']:.2g})")
    last = list(row["randomized"].values())[-1]
    if last["high"] >= ALIKE:
        fails.append(f"the map of shuffled weights is alike (rank correlation {last['mean']:.2f})")
    return fails


def _default(found: Values, row: dict[str, Any]) -> str | None:
    """The method that concentrates most on the first half, among those that beat random order there."""
    measured = [method for method in row if _is_measured(found, method)]
    good = [
        method
        for method in measured
        if np.mean(_half(found[method]["concentration"], 0)) >= GOAL and _beats_random(found, method)
    ]
    return max(good, key=lambda method: float(np.mean(_half(found[method]["concentration"], 0))), default=None)


def _beats_random(found: Values, method: str) -> bool:
    """Whether the means of deletion and insertion on the first half are better than in random order."""
    return all(bool(_gain(found, method, curve, 0).mean() > 0) for curve in ("deletion", "insertion"))


def _is_measured(found: Values, method: str) -> bool:
    return method != "random" and "refused" not in found[method]


def _second(found: Values, method: str, curve: str) -> np.ndarray:
    return _gain(found, method, curve, 1)


def _gain(found: Values, method: str, curve: str, half: int) -> np.ndarray:
    """Per clip: how much better than random order; deletion is good where it is low."""
    random, own = (_half(found[name][curve], half) for name in ("random", method))
    return random - own if curve == "deletion" else own - random


def _half(values: list[float], half: int) -> np.ndarray:
    return np.array(np.split(np.array(values), 2)[half])


def _interval(values: np.ndarray) -> dict[str, float]:
    mean, low, high = (float(value) for value in mean_interval(values))
    return {"mean": mean, "low": low, "high": high}
