"""What several annotators say about the same thing: one class, or a conflict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_hcs_qc.text_columns import with_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def agree(annotations: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Bring the annotations of each thing together.

    ``unsure`` is an abstention: it never contradicts, and it is the outcome only where nobody
    said more.
    """
    by = list(by)
    # In numpy where it can be: this is on the way from a click to its colour.
    codes: NDArray[Any]
    if len(by) == 1:
        codes = pd.factorize(annotations[by[0]].to_numpy(), use_na_sentinel=False)[0]
    else:
        codes = annotations.groupby(by, sort=False, dropna=False).ngroup().to_numpy()
    group = np.asarray(codes, dtype=np.int64)
    _, first = np.unique(group, return_index=True)
    things = annotations[by].iloc[first].reset_index(drop=True)
    n_things = len(things)

    classes = annotations["class"].to_numpy(dtype=object)
    said_normal = np.bincount(group[classes == "normal"], minlength=n_things) > 0
    said_abnormal = np.bincount(group[classes == "abnormal"], minlength=n_things) > 0
    is_conflict = said_normal & said_abnormal
    outcome = np.full(n_things, "unsure", dtype=object)
    outcome[said_normal] = "normal"
    outcome[said_abnormal] = "abnormal"
    outcome[is_conflict] = None

    kind = np.full(n_things, None, dtype=object)
    of_thing, given = _once_each(group, annotations["kind"])
    is_alone = np.bincount(of_thing, minlength=n_things)[of_thing] == 1
    kind[of_thing[is_alone]] = given[is_alone]
    kind[is_conflict] = None

    of_thing, names = _once_each(group, annotations["annotator"])
    counts = np.bincount(of_thing, minlength=n_things)
    annotators = np.full(n_things, "", dtype=object)
    is_alone = counts[of_thing] == 1
    annotators[of_thing[is_alone]] = names[is_alone]
    begin = np.cumsum(counts) - counts
    for thing in np.flatnonzero(counts > 1):
        annotators[thing] = ", ".join(names[begin[thing] : begin[thing] + counts[thing]])

    together = with_texts(things, {"class": outcome, "kind": kind, "annotators": annotators})
    return together.assign(n_annotators=counts, is_conflict=is_conflict)


def _once_each(
    group: NDArray[np.int64], texts: pd.Series[Any]
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Things and the different words given for each, sorted; missing words are left out."""
    code, known = pd.factorize(texts.to_numpy(dtype=object), sort=True)
    n_words = max(len(known), 1)
    pairs = np.unique((group * n_words + code)[code >= 0])
    return pairs // n_words, np.asarray(known, dtype=object)[pairs % n_words]
