"""The numbers of a page: the most important ones, and tables by side and by lobe."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape

from infnet_runtime.measure.classes import GIVEN, MODEL
from infnet_runtime.measure.definitions import HIGH_OPACITY_ABOVE_HU
from infnet_runtime.measure.result import Burden, ClassBurden, Classes, HuClasses, Quantification
from infnet_runtime.report.words import REASONS, hu_in_words, in_words

_REGIONS = {"both": "both lungs", "right": "right lung", "left": "left lung"}
_LOBES = {
    "left_upper": "left upper lobe",
    "left_lower": "left lower lobe",
    "right_upper": "right upper lobe",
    "right_middle": "right middle lobe",
    "right_lower": "right lower lobe",
}
_SOURCES = {MODEL: "the model", GIVEN: "the mask that was given"}
_SCORES = {
    "ctss_0_25": "CT severity score, 0 to 25",
    "lss_0_20": "lung severity score, 0 to 20",
    "lhos_0_20": "lung high opacity score, 0 to 20",
    "tss_0_20": "total severity score, 0 to 20",
    "zone_score_0_24_geometric": "score of thirds of the lungs' height, 0 to 24",
}

_Row = tuple[str, Callable[[str], str]]


def summary(q: Quantification) -> str:
    """What is read first: some numbers of both lungs."""
    if q.both is None:
        return "<p><b>No lung was found: there is no volume and no share of the lung to give.</b></p>"
    cards = [
        (in_words(q.both.infection_ml, "ml"), "infection"),
        (in_words(q.both.infection_percent, "%"), "of the lung (PO)"),
        (in_words(q.both.pho_percent, "%"), f"of the lung above {hu_in_words(HIGH_OPACITY_ABOVE_HU)} (PHO)"),
        (in_words(q.both.lung_ml, "ml", 0), "lung" if _is_whole(q) else "lung that was found"),
    ]
    shown = "".join(f"<li><b>{escape(value)}</b>{escape(name)}</li>" for value, name in cards if value)
    return f'<ul class="cards">{shown}</ul>'


def numbers_table(q: Quantification) -> str:
    """Numbers by side, by lobe where those are known, and scores."""
    if q.both is None:
        return "<p>Not given: no lung was found.</p>"
    table = _table("By side of the patient", list(_REGIONS), list(_REGIONS.values()), _rows(q))
    return f"{table}{_lobes(q)}{_scores(q)}"


def _is_whole(q: Quantification) -> bool:
    return q.right is not None and q.left is not None


def _rows(q: Quantification) -> list[_Row]:
    """Rows of the table of regions: what, and its text for a region."""

    def number(name: str, unit: str, digits: int = 1) -> Callable[[str], str]:
        def text(region: str) -> str:
            burden: Burden | None = getattr(q, region)
            value = None if burden is None else getattr(burden, name)
            return _cell(value, unit, digits, q.reasons.get(region) or q.reasons.get(f"{region}.{name}"))

        return text

    limit = hu_in_words(HIGH_OPACITY_ABOVE_HU)
    return [
        ("lung, ml", number("lung_ml", "", 0)),
        ("infection, ml", number("infection_ml", "")),
        ("infection, % of the lung (PO)", number("infection_percent", "")),
        (f"high opacity, above {limit}, ml", number("high_opacity_ml", "")),
        ("high opacity, % of the lung (PHO)", number("pho_percent", "")),
        *_kinds(q),
        ("mean of the lung, HU", number("lung_mean_hu", "", 0)),
        ("mean ± sd of the infection, HU", _mean_sd(q)),
        ("mass of the infection, g", number("infection_mass_g", "", 0)),
        ("pieces of the infection", number("component_count", "", 0)),
        ("largest piece, ml", number("largest_component_ml", "")),
    ]


def _mean_sd(q: Quantification) -> Callable[[str], str]:
    def text(region: str) -> str:
        burden: Burden | None = getattr(q, region)
        if burden is None or burden.infection_mean_hu is None:
            return _cell(None, "", 0, q.reasons.get(region) or q.reasons.get(f"{region}.infection_mean_hu"))
        mean, sd = in_words(burden.infection_mean_hu, "", 0), in_words(burden.infection_sd_hu, "", 0)
        return f"<td>{escape(mean)} ± {escape(sd)}</td>"

    return text


def _kinds(q: Quantification) -> Iterator[_Row]:
    """Ground glass and consolidation, each source by its name."""
    limit = hu_in_words(HIGH_OPACITY_ABOVE_HU)
    if q.classes is not None:
        who = _SOURCES.get(q.classes.source, q.classes.source)
        yield f"ground glass, by {who}, ml (% of the infection)", _kind(q.classes, "ggo")
        yield f"consolidation, by {who}, ml (% of the infection)", _kind(q.classes, "consolidation")
    elif q.hu_classes is not None:
        yield f"ground glass, by HU up to {limit}, ml (% of the infection)", _kind(q.hu_classes, "ggo")
        yield (
            f"consolidation, by HU above {limit}, ml (% of the infection)",
            _kind(q.hu_classes, "consolidation"),
        )


def _kind(classes: Classes | HuClasses, kind: str) -> Callable[[str], str]:
    def text(region: str) -> str:
        burden: ClassBurden | None = getattr(classes, region)
        if burden is None:
            return _cell(None, "", 1, classes.reasons.get(region))
        ml, share = getattr(burden, f"{kind}_ml"), getattr(burden, f"{kind}_percent_of_infection")
        if share is None:
            why = classes.reasons.get(f"{region}.{kind}_percent_of_infection")
            return _cell(ml if why == "no_infection" else None, "", 1, why)
        parts = ([] if ml is None else [in_words(ml)]) + [f"({in_words(share, '%')})"]
        return f"<td>{escape(' '.join(parts))}</td>"

    return text


def _cell(value: float | None, unit: str, digits: int, reason: str | None) -> str:
    if value is None:
        return f'<td class="missing">{escape(REASONS.get(reason or "", reason or "not given"))}</td>'
    return f"<td>{escape(in_words(value, unit, digits))}</td>"


def _table(caption: str, keys: Sequence[str], heads: Sequence[str], rows: Iterable[_Row]) -> str:
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(text(key) for key in keys)}</tr>'
        for name, text in rows
    )
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption><thead><tr>'
        f'<th scope="col">measure</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _lobes(q: Quantification) -> str:
    if q.lobes is None:
        return ""
    given = q.lobes

    def number(name: str, digits: int = 1) -> Callable[[str], str]:
        def text(lobe: str) -> str:
            burden = given.get(lobe)
            value = None if burden is None else getattr(burden, name)
            why = q.reasons.get(f"lobes.{lobe}") or q.reasons.get(f"lobes.{lobe}.{name}")
            return _cell(value, "", digits, why)

        return text

    rows = [
        ("lobe, ml", number("lung_ml", 0)),
        ("infection, ml", number("infection_ml")),
        ("infection, % of the lobe", number("infection_percent")),
        ("high opacity, % of the lobe", number("pho_percent")),
    ]
    return _table("By lobe of the mask that was given", list(_LOBES), list(_LOBES.values()), rows)


def _scores(q: Quantification) -> str:
    told = [
        f"{name}: {getattr(q.scores, key)}"
        for key, name in _SCORES.items()
        if getattr(q.scores, key) is not None
    ]
    missing = sorted({q.reasons[f"scores.{key}"] for key in _SCORES if f"scores.{key}" in q.reasons})
    if missing:
        which = "other scores" if told else "scores"
        told.append(f"{which} are not given: {', '.join(REASONS.get(one, one) for one in missing)}")
    return f'<p class="dim">{escape("; ".join(told))}.</p>' if told else ""
