"""The four numbers beside the sentence: the leader's lift, ties, what n can show, who is not ranked."""

from __future__ import annotations

from collections import Counter

from octjob.report.view import Fact, Json, has_lifts, number, runs_of, signed


def facts_of(document: Json) -> list[Fact]:
    """Always four, so that a missing one is seen to be missing."""
    return [_lift(document), _tied(document), _detectable(document), _unranked(document)]


def _lift(document: Json) -> Fact:
    if has_lifts(document):
        return _over_untrained(document)
    label = (
        f"Leader\u2019s lift over {document['baseline']}" if document["baseline"] else "Leader\u2019s lift"
    )
    if not document["baseline"]:
        return Fact(label, "\u2013", "the sweep names no baseline checkpoint")
    leader = next((row for row in document["rows"] if row["run_id"] == document["headline"]["leader"]), None)
    against = leader["vs_checkpoint"] if leader else None
    if leader is not None and leader["checkpoint"] == document["baseline"]:
        return Fact(label, "none", "the baseline itself leads", bad=True)
    if not against or against["difference"] is None:
        return Fact(label, "\u2013", "nothing to compare")
    interval = "" if against["low"] is None else f"[{signed(against['low'])}, {signed(against['high'])}]"
    return Fact(label, signed(against["difference"]), interval)


def _over_untrained(document: Json) -> Fact:
    leader = next((row for row in document["rows"] if row["run_id"] == document["headline"]["leader"]), None)
    label, lift = "Leader\u2019s lift over untrained encoders", leader["lift"] if leader else None
    if not lift:
        return Fact(label, "\u2013", "nothing to compare")
    text = f"[{signed(lift['low'])}, {signed(lift['high'])}], {lift['num_initialisations']} initialisations"
    return Fact(label, signed(lift["value"]), text, bad=lift["value"] <= 0 or lift["p_holm"] >= 0.05)


def _tied(document: Json) -> Fact:
    ranked = [row for row in document["rows"] if row["rank"] is not None]
    if not ranked:
        return Fact("Tied with the leader", "\u2013", "no run is ranked", bad=True)
    tied = sum(bool(row["vs_leader"] and row["vs_leader"]["tied"]) for row in ranked)
    return Fact("Tied with the leader", f"{tied:,}", f"of {len(ranked) - 1:,} other ranked runs")


def _detectable(document: Json) -> Fact:
    found = document["headline"]["detectable"]
    label = "A lead would be recognised from"
    if found is None:
        return Fact(label, "\u2013", "there is nothing to compare")
    n = max((row["n"] or 0 for row in document["rows"]), default=0)
    return Fact(label, number(found, 2), f"at n = {n}, 4 times in 5")


def _unranked(document: Json) -> Fact:
    rows = runs_of(document)
    counts = Counter(row["verdict"].replace("_", " ") or row["state"] for row in rows if row["rank"] is None)
    text = ", ".join(f"{count:,} {word}" for word, count in counts.items())
    total = sum(counts.values())
    return Fact(
        "Not ranked", f"{total:,}", f"of {len(rows):,} runs" + (f": {text}" if text else ""), bad=total > 0
    )
