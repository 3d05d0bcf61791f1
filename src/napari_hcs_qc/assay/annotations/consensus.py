"""What several annotators say about the same thing: one class, or a conflict."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from napari_hcs_qc.text_columns import with_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Outcome(NamedTuple):
    """What annotators say together, in each array one value a thing."""

    classes: NDArray[np.object_]  # None where they disagree
    kinds: NDArray[np.object_]  # None where there is none, or more than one
    annotators: NDArray[np.object_]  # their names, by commas
    n_annotators: NDArray[np.int64]
    is_conflict: NDArray[np.bool_]


def agree(annotations: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Bring the annotations of each thing together.

    ``unsure`` is an abstention: it never contradicts, and it is the outcome only where nobody
    said more.
    """
    by = list(by)
    codes = annotations.groupby(by, sort=False, dropna=False).ngroup().to_numpy()
    group = np.asarray(codes, dtype=np.int64)
    _, first = np.unique(group, return_index=True)
    things = annotations[by].iloc[first].reset_index(drop=True)
    texts = (annotations[name].to_numpy(object) for name in ("class", "kind", "annotator"))
    return with_outcome(things, outcome_of(group, len(things), *texts))


def with_outcome(things: pd.DataFrame, outcome: Outcome) -> pd.DataFrame:
    """Give a table of things with what people say of them."""
    texts = {"class": outcome.classes, "kind": outcome.kinds, "annotators": outcome.annotators}
    return with_texts(things, texts).assign(
        n_annotators=outcome.n_annotators, is_conflict=outcome.is_conflict
    )


def outcome_of(
    group: NDArray[np.int64],
    n_things: int,
    classes: NDArray[np.object_],
    kinds: NDArray[np.object_],
    annotators: NDArray[np.object_],
) -> Outcome:
    """Do the work of `agree` on arrays: pandas takes milliseconds for a handful of clicks.

    `group` is the number of the thing that each annotation is about; each has at least one.
    """
    said_normal = np.bincount(group[classes == "normal"], minlength=n_things) > 0
    said_abnormal = np.bincount(group[classes == "abnormal"], minlength=n_things) > 0
    is_conflict = said_normal & said_abnormal
    outcome = np.full(n_things, "unsure", dtype=object)
    outcome[said_normal] = "normal"
    outcome[said_abnormal] = "abnormal"
    outcome[is_conflict] = None

    kind = np.full(n_things, None, dtype=object)
    of_thing, given = _once_each(group, kinds)
    is_alone = np.bincount(of_thing, minlength=n_things)[of_thing] == 1
    kind[of_thing[is_alone]] = given[is_alone]
    kind[is_conflict] = None

    of_thing, names = _once_each(group, annotators)
    counts = np.bincount(of_thing, minlength=n_things)
    people = np.full(n_things, "", dtype=object)
    is_alone = counts[of_thing] == 1
    people[of_thing[is_alone]] = names[is_alone]
    begin = np.cumsum(counts) - counts
    for thing in np.flatnonzero(counts > 1):
        people[thing] = ", ".join(names[begin[thing] : begin[thing] + counts[thing]])
    return Outcome(outcome, kind, people, counts, is_conflict)


def _once_each(
    group: NDArray[np.int64], texts: NDArray[np.object_]
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Things and the different words given for each, sorted; missing words are left out."""
    code, known = pd.factorize(texts, sort=True)
    n_words = max(len(known), 1)
    pairs = np.unique((group * n_words + code)[code >= 0])
    return pairs // n_words, np.asarray(known, dtype=object)[pairs % n_words]
