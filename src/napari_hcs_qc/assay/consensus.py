"""What several annotators say about the same thing: one class, or a conflict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence


def agree(annotations: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Bring the annotations of each thing together.

    ``unsure`` is an abstention: it never contradicts, and it is the outcome only where nobody
    said more.

    Parameters
    ----------
    annotations
        Columns of `by`, and ``class`` (normal, abnormal, unsure), ``kind``, ``annotator``.
    by
        The columns that name the thing.

    Returns
    -------
    pandas.DataFrame
        One row per thing, in the order of first appearance, with the columns `by`, ``class``
        (None in a conflict), ``kind`` (where those who gave one gave the same; None in a
        conflict), ``annotators`` (names, sorted, joined by ``", "``), ``n_annotators`` and
        ``is_conflict``.
    """
    by = list(by)
    things = annotations.drop_duplicates(by)[by].reset_index(drop=True)
    group = annotations.groupby(by, sort=False, dropna=False).ngroup().to_numpy()
    n_things = len(things)

    classes = annotations["class"].to_numpy(dtype=object)
    said_normal = np.bincount(group[classes == "normal"], minlength=n_things) > 0
    said_abnormal = np.bincount(group[classes == "abnormal"], minlength=n_things) > 0
    is_conflict = said_normal & said_abnormal
    outcome = np.full(n_things, "unsure", dtype=object)
    outcome[said_normal] = "normal"
    outcome[said_abnormal] = "abnormal"
    outcome[is_conflict] = None

    given = pd.DataFrame({"group": group, "kind": annotations["kind"].to_numpy(dtype=object)})
    given = given.dropna().drop_duplicates().drop_duplicates("group", keep=False)
    kind = np.full(n_things, None, dtype=object)
    kind[given["group"].to_numpy()] = given["kind"].to_numpy()
    kind[is_conflict] = None

    names = pd.DataFrame({"group": group, "annotator": annotations["annotator"].to_numpy()})
    names = names.drop_duplicates().sort_values(["group", "annotator"])
    counts = np.bincount(names["group"], minlength=n_things)
    annotators = np.full(n_things, "", dtype=object)
    alone = names[counts[names["group"]] == 1]
    annotators[alone["group"].to_numpy()] = alone["annotator"].to_numpy()
    several = names[counts[names["group"]] > 1].groupby("group")["annotator"].agg(", ".join)
    annotators[several.index.to_numpy()] = several.to_numpy()

    return things.assign(
        **{"class": outcome, "kind": kind},
        annotators=annotators,
        n_annotators=counts,
        is_conflict=is_conflict,
    )
