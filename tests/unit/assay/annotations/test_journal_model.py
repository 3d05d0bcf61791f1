"""The journal against a model of it in memory: any mix of actions gives the same state."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from napari_hcs_qc.assay.annotations.annotation import Annotation
from napari_hcs_qc.assay.annotations.journal import Journal

PEOPLE = st.sampled_from(["anna", "ben"])
PLACES = st.tuples(st.sampled_from(["A01", "B02"]), st.integers(1, 2), st.sampled_from([0.0, 9.5]))
SAID = st.sampled_from(
    [("normal", None), ("abnormal", None), ("abnormal", "blur"), ("unsure", None), (None, None)]
)


@dataclass
class Done:
    """One action: what it said about which places, and whether it is undone."""

    actor: str
    said: dict[tuple[object, ...], tuple[object, ...]]
    is_undone: bool = False


@dataclass
class Model:
    """What the journal should hold."""

    done: list[Done] = field(default_factory=list)
    redo: dict[str, list[Done]] = field(default_factory=lambda: {"anna": [], "ben": []})

    def act(self, actor: str, said: dict[tuple[object, ...], tuple[object, ...]]) -> None:
        self.done.append(Done(actor, said))
        self.redo[actor].clear()

    def undo(self, actor: str) -> Done | None:
        active = [one for one in self.done if one.actor == actor and not one.is_undone]
        if not active:
            return None
        active[-1].is_undone = True
        self.redo[actor].append(active[-1])
        return active[-1]

    def put_back(self, actor: str) -> Done | None:
        if not self.redo[actor]:
            return None
        one = self.redo[actor].pop()
        one.is_undone = False
        return one

    def state(self) -> dict[tuple[object, ...], tuple[object, ...]]:
        now: dict[tuple[object, ...], tuple[object, ...]] = {}
        for one in self.done:
            if not one.is_undone:
                now.update(one.said)
        return {place: said for place, said in now.items() if said[0] is not None}


class JournalMachine(RuleBasedStateMachine):
    """Drives a journal and the model side by side."""

    @initialize()
    def begin(self) -> None:
        # In memory where there is such a folder: a thousand synced writes are slow on a disk.
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.journal = Journal.open(self.folder / "journal.sqlite")
        self.model = Model()
        self.ids: dict[int, str] = {}

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    @rule(who=PEOPLE, said=st.lists(st.tuples(PLACES, SAID), min_size=1, max_size=4))
    def annotate(
        self, who: str, said: list[tuple[tuple[str, int, float], tuple[str | None, str | None]]]
    ) -> None:
        rows = [Annotation.of_row(("p", *place, 1.0, *what, None)) for place, what in said]
        action = self.journal.annotate_many(rows, who)
        self.act(action, who, {("cell", who, *place): what for place, what in said})

    @rule(
        who=PEOPLE,
        well=st.sampled_from(["A01", "B02"]),
        site=st.sampled_from([None, 1]),
        word=st.sampled_from(["keep", "exclude", "look again", None]),
        codes=st.sampled_from([None, "", "blur,dim"]),
    )
    def verdict(
        self, who: str, well: str, site: int | None, word: str | None, codes: str | None
    ) -> None:
        seen = None if codes is None else {"flag_codes": codes, "threshold": 0.5}
        action = self.journal.verdict("p", well, word, reviewer=who, site=site, seen=seen)
        self.act(action, who, {("well", well, site): (word, who, seen)})

    def act(self, action: str, who: str, said: dict) -> None:
        self.model.act(who, said)
        self.ids[id(self.model.done[-1])] = action

    @rule(who=PEOPLE)
    def undo(self, who: str) -> None:
        one = self.model.undo(who)
        assert self.journal.undo(who) == (None if one is None else self.ids[id(one)])

    @rule(who=PEOPLE)
    def redo(self, who: str) -> None:
        one = self.model.put_back(who)
        assert self.journal.redo(who) == (None if one is None else self.ids[id(one)])

    @rule()
    def move_to_another_file(self) -> None:
        self.journal.export(self.folder / "export.csv")
        self.journal.path.unlink()
        self.journal = Journal.open(self.folder / "journal.sqlite")
        self.journal.import_(self.folder / "export.csv")

    @invariant()
    def state_is_that_of_the_model(self) -> None:
        if not hasattr(self, "journal"):
            return
        found: dict[tuple[object, ...], tuple[object, ...]] = {}
        for row in self.journal.annotations().to_dict("records"):
            place = ("cell", row["annotator"], row["well"], row["site"], row["y_px"])
            assert place not in found
            found[place] = (row["class"], row["kind"])
        for row in self.journal.verdicts().to_dict("records"):
            site = None if row["site"] is pd.NA else row["site"]
            found["well", row["well"], site] = (row["verdict"], row["reviewer"], row["seen"])
        assert found == self.model.state()


TestJournalAgainstModel = JournalMachine.TestCase
TestJournalAgainstModel.settings = settings(max_examples=15, stateful_step_count=20)
