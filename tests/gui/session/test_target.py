"""Random events against a simple model: a key annotates what is framed, and nothing else."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QObject, Signal

from napari_hcs_qc.assay.views.site_cells import SiteCells
from napari_hcs_qc.gui.canvas.clicking import Clicking
from napari_hcs_qc.gui.session import selection as selection_module
from napari_hcs_qc.gui.session.selection import CellId, Selection
from napari_hcs_qc.gui.session.target import Target
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytestqt.qtbot import QtBot

SITES = tuple(SiteKey(well, site) for well in ("A01", "A02") for site in (1, 2))
SHAPE = (100, 120)
DIAMETER_PX = 12.0
REACH_PX = 0.75 * DIAMETER_PX
N_EVENTS = 14
N_IN_LIST = 4  # tiles in sight of the gallery


class Screen(QObject):
    """What stands for the window: a view of sites, a gallery, a journal; it draws on signals only.

    Clicking, target and selection are the real ones, and so are the viewer's camera and mouse.
    """

    kinds_changed = Signal()
    closing = Signal()
    shown = Signal(object)

    def __init__(self, viewer: ViewerModel, dice: random.Random) -> None:
        super().__init__()
        self.dice = dice
        self.viewer = viewer
        viewer.mouse_over_canvas, viewer.canvas.size = False, (600, 800)
        self.scale = 0.5
        self.plate = SimpleNamespace(sites=SITES, name="P", layout=SimpleNamespace(shape=SHAPE))
        self.actions: list[dict[CellId, str]] = []
        self.make_cells()
        assay = SimpleNamespace(plate=lambda _: SimpleNamespace(plate=self.plate, state=None))
        self.selection = Selection(assay, self)
        self.target = Target(self.selection, self, self)
        self.on_screen: SiteKey | None = None
        self.cells: SiteCells | None = None
        self.list = [*self.found]  # the gallery, and how far it is scrolled
        self.top = 0
        self.target.add_sight(lambda cells: cells & self.tiles())
        self.framed: frozenset[CellId] = frozenset()
        self.target.changed.connect(self.draw)
        self.selection.plate_changed.connect(lambda: self.show(None))
        self.clicking = Clicking(self.workspace())

    def workspace(self) -> Any:
        """What `Clicking` asks of a workspace and its session, whose parts this object plays."""
        session: Any = QObject(self)
        session.target, session.selection, session.annotations = self.target, self.selection, self
        session.assay = SimpleNamespace(kinds=(), kinds_changed=self.kinds_changed)
        session.suggestions = SimpleNamespace(show_next=self.suggest)
        session.closing = self.closing
        training = SimpleNamespace(retrain=lambda: None)
        return SimpleNamespace(viewer=self.viewer, session=session, view=self, training=training)

    # ---- the cells, as found and as people added them --------------------------------------

    def make_cells(self) -> None:
        """Find other cells: ids begin at 0 again, in another order."""
        places: list[tuple[SiteKey, float, float]] = []
        for site in SITES:
            for _ in range(self.dice.randint(2, 7)):
                place = (self.dice.uniform(0, SHAPE[0]), self.dice.uniform(0, SHAPE[1]))
                places.append((site, *place))
        self.dice.shuffle(places)
        self.found = {CellId(site, i): (y, x) for i, (site, y, x) in enumerate(places)}

    def annotations(self) -> dict[CellId, str]:
        """Class of each cell, by the last action on it."""
        classes: dict[CellId, str] = {}
        for action in self.actions:
            classes |= action
        return {cell: cls for cell, cls in classes.items() if cls}

    def cells_of(self, site: SiteKey) -> SiteCells:
        """Give the cells of a site, those found and those added."""
        ids = [cell for cell in self.found if cell.site == site]
        ids += [
            cell
            for cell in self.annotations()
            if cell.site == site and not isinstance(cell.cell, int)
        ]
        n = len(ids)
        places = [self.place(cell) for cell in ids]
        return SiteCells(
            site=site,
            rows=np.array([c.cell if isinstance(c.cell, int) else -1 for c in ids], np.int64),
            yx_px=np.array(places, dtype=float).reshape(n, 2),
            diameter_px=np.full(n, DIAMETER_PX),
            p_abnormal=np.full(n, np.nan),
            novelty=np.full(n, np.nan),
            predicted_kind=np.full(n, None),
            annotated_class=np.full(n, None),
            annotated_kind=np.full(n, None),
            is_cut=np.zeros(n, dtype=bool),
        )

    def place(self, cell: CellId) -> tuple[float, float]:
        return self.found[cell] if isinstance(cell.cell, int) else cell.cell

    def annotate_cells(self, cells: Iterable[CellId], cls: str | None, _kind: Any = None) -> bool:
        self.actions.append(dict.fromkeys(cells, cls or ""))
        self.show(self.on_screen)
        return True

    def annotate(self, site: SiteKey, places: list[tuple[float, float]], cls: str) -> bool:
        """Add a cell."""
        return self.annotate_cells([CellId(site, place) for place in places], cls)

    def undo(self) -> None:
        if self.actions:
            self.actions.pop()
            self.show(self.on_screen)

    redo = undo

    # ---- what is shown -------------------------------------------------------------------

    def show(self, site: SiteKey | None) -> None:
        """Show the cells of a site as they are now."""
        self.on_screen = site
        self.cells = None if site is None else self.cells_of(site)
        self.target.show(self.cells)
        self.draw()
        self.shown.emit(site)

    def arrive(self) -> None:
        """Show the site that was asked for, whose pixels have been read."""
        self.show(self.selection.site)

    def tiles(self) -> frozenset[CellId]:
        """Tiles of the gallery that are in sight."""
        return frozenset(self.list[self.top : self.top + N_IN_LIST])

    def outline_selection(self, _shape: object) -> None:
        """Draw no box."""

    def draw(self) -> None:
        self.framed = self.target.cells

    def suggest(self) -> None:
        """Show a suggested cell, as `Suggestions` does."""
        cell = self.dice.choice([*self.found])
        self.selection.go_to_cell("P", cell.site, *self.found[cell])
        self.look_at(cell)
        self.target.then(self.suggest)
        self.model.selects({cell}, cell.site, goes_on=True)

    def look_at(self, cell: CellId) -> None:
        y, x = self.place(cell)
        self.viewer.scene.camera.center = (0.0, y * self.scale, x * self.scale)

    model: Model


class Model:
    """What is to be framed, by the rules of the manual."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.selection: frozenset[CellId] = frozenset()
        self.site: SiteKey | None = None
        self.pointer: tuple[float, float] | None = None  # x and y on the canvas
        self.rested: tuple[float, float] | None = None
        self.has_moved = self.is_annotated = self.goes_on = False

    def selects(
        self, cells: Iterable[CellId], site: SiteKey | None, *, goes_on: bool = False
    ) -> None:
        self.selection, self.site, self.goes_on = frozenset(cells), site, goes_on
        self.has_moved = self.is_annotated = False
        self.rested = self.pointer

    def moves(self, pointer: tuple[float, float]) -> None:
        self.pointer = pointer
        if self.rested is None or max(map(abs, np.subtract(pointer, self.rested))) > 4:
            self.has_moved = True
            if self.is_annotated and self.pointed() not in self.selection:
                self.selects((), None)

    def pointed(self) -> CellId | None:
        screen = self.screen
        if self.pointer is None or screen.on_screen is None:
            return None
        if screen.on_screen != screen.selection.site:
            return None
        y, x = self.to_image(self.pointer)
        cells = self.cells_on_screen()
        near = {cell: np.hypot(*np.subtract(screen.place(cell), (y, x))) for cell in cells}
        best = min(near, key=near.__getitem__, default=None)
        return best if best is not None and near[best] <= REACH_PX else None

    def cells_on_screen(self) -> list[CellId]:
        screen = self.screen
        added = [cell for cell in screen.annotations() if not isinstance(cell.cell, int)]
        return [cell for cell in (*screen.found, *added) if cell.site == screen.on_screen]

    def to_image(self, pointer: tuple[float, float]) -> tuple[float, float]:
        camera, (height, width) = self.screen.viewer.scene.camera, self.screen.viewer.canvas.size
        x, y = pointer
        _, cy, cx = camera.center
        scale = self.screen.scale
        y_px = (cy + (y - height / 2) / camera.zoom) / scale
        return y_px, (cx + (x - width / 2) / camera.zoom) / scale

    def is_seen(self, cell: CellId) -> bool:
        if cell in self.screen.tiles():
            return True
        if cell not in self.cells_on_screen():
            return False
        height, width = self.screen.viewer.canvas.size
        (top, left), (bottom, right) = self.to_image((0, 0)), self.to_image((width, height))
        y, x = self.screen.place(cell)
        return bool(top <= y <= bottom and left <= x <= right)

    def target(self) -> frozenset[CellId]:
        pointed, selection = self.pointed(), self.selection
        pointer_first = self.has_moved and (len(selection) == 1 or self.is_annotated)
        is_beside = pointed is not None and pointed not in selection
        if any(map(self.is_seen, selection)) and not (pointer_first and is_beside):
            return selection
        return frozenset() if pointed is None else frozenset((pointed,))


# ---- what a person does ------------------------------------------------------------------


def move(screen: Screen, pointer: tuple[float, float], **event: Any) -> Any:
    y_px, x_px = screen.model.to_image(pointer)
    position = (y_px * screen.scale, x_px * screen.scale)
    made = SimpleNamespace(pos=pointer, position=position, modifiers=(), button=1, **event)
    return made


def point(screen: Screen) -> None:
    """Move the mouse, most often to a cell."""
    dice = screen.dice
    cells = screen.model.cells_on_screen()
    (height, width), camera = screen.viewer.canvas.size, screen.viewer.scene.camera
    pointer = (dice.uniform(0, width - 1), dice.uniform(0, height - 1))
    if cells and dice.random() < 0.8:
        y, x = screen.place(dice.choice(cells))
        _, cy, cx = camera.center
        place = (
            width / 2 + (x * screen.scale - cx) * camera.zoom + dice.uniform(-3, 3),
            height / 2 + (y * screen.scale - cy) * camera.zoom + dice.uniform(-3, 3),
        )
        if 0 <= place[0] < width and 0 <= place[1] < height:
            pointer = place
    screen.viewer.mouse_over_canvas = True
    for callback in screen.viewer.mouse_move_callbacks:
        callback(screen.viewer, move(screen, pointer))
    screen.model.moves(pointer)


def jitter(screen: Screen) -> None:
    """The hand rests on the mouse."""
    if screen.model.pointer is not None:
        x, y = screen.model.pointer
        height, width = screen.viewer.canvas.size
        pointer = (min(x + 1, width - 1), min(y + 1, height - 1))
        for callback in screen.viewer.mouse_move_callbacks:
            callback(screen.viewer, move(screen, pointer))
        screen.model.moves(pointer)


def leave(screen: Screen) -> None:
    screen.viewer.mouse_over_canvas = False
    screen.model.pointer = None


def click(screen: Screen, held: tuple[str, ...] = ()) -> None:
    """Click where the pointer is, in whatever mode is set."""
    model = screen.model
    if model.pointer is None or screen.cells is None:
        return
    event = move(screen, model.pointer, type="mouse_press")
    event.modifiers = held
    # Nothing loads during a click, but what is clicked may be of the site that was there before.
    clicked = _clicked(screen)
    dragging = [callback(screen.viewer, event) for callback in screen.viewer.mouse_drag_callbacks]
    dragging = [one for one in dragging if next(one, "over") != "over"]
    event.type = "mouse_release"
    model.moves(model.pointer)
    before = model.selection if model.site is not None else frozenset()
    for one in dragging:
        next(one, None)
    mode = screen.clicking.mode
    if held:
        model.selects(before ^ clicked, screen.on_screen)
    elif mode == "look":
        model.selects(clicked, screen.on_screen)
    else:  # what was selected is not what was clicked, be it a cell or empty ground
        model.selects((), None)
        assert not clicked or screen.actions[-1] == dict.fromkeys(clicked, mode)


def _clicked(screen: Screen) -> frozenset[CellId]:
    """The cell of the picture that is there, under the pointer."""
    assert screen.model.pointer is not None and screen.cells is not None
    place = screen.model.to_image(screen.model.pointer)
    cells = screen.model.cells_on_screen()
    near = [(np.hypot(*np.subtract(screen.place(cell), place)), cell) for cell in cells]
    distance, cell = min(near, default=(np.inf, None), key=lambda pair: pair[0])
    return frozenset((cell,)) if cell is not None and distance <= REACH_PX else frozenset()


def shift_click(screen: Screen) -> None:
    click(screen, ("Shift",))


def change_mode(screen: Screen) -> None:
    screen.clicking.set_mode(screen.dice.choice(("look", "look", "normal", "abnormal")))


def press(screen: Screen) -> None:
    """Press a class key: what is framed is annotated, in one action, and nothing else."""
    model, cls = screen.model, screen.dice.choice(("normal", "abnormal", None))
    framed, n_before = screen.framed, len(screen.actions)
    goes_on = model.goes_on and framed == model.selection and cls is not None
    was = model.selection
    is_annotated = screen.target.annotate(cls)
    assert is_annotated is bool(framed)
    assert screen.actions[n_before:] == ([dict.fromkeys(framed, cls or "")] if framed else [])
    if framed and not (goes_on and screen.target.goes_on) and framed == was:
        model.is_annotated, model.has_moved, model.rested = True, False, model.pointer
        model.selection = frozenset(c for c in was if _is_there(screen, c))


def _is_there(screen: Screen, cell: CellId) -> bool:
    return cell in screen.found or cell in screen.annotations() or cell.site != screen.on_screen


def space(screen: Screen) -> None:
    screen.suggest()


def escape(screen: Screen) -> None:
    screen.target.select(())
    screen.model.selects((), None)


def go_to(screen: Screen) -> None:
    """Go to a site; its pixels may take their time."""
    site = screen.dice.choice(SITES)
    screen.selection.go_to(site)
    if screen.model.site not in (None, site):
        screen.model.selects((), None)
    if screen.dice.random() < 0.8:
        screen.arrive()


def arrive(screen: Screen) -> None:
    screen.arrive()


def zoom(screen: Screen) -> None:
    screen.viewer.scene.camera.zoom = screen.dice.choice((2.0, 5.0, 9.0, 20.0))


def pan(screen: Screen) -> None:
    y, x = screen.dice.uniform(0, SHAPE[0]), screen.dice.uniform(0, SHAPE[1])
    screen.viewer.scene.camera.center = (0.0, y * screen.scale, x * screen.scale)


def home(screen: Screen) -> None:
    screen.viewer.scene.camera.center = (0.0, SHAPE[0] / 2 * screen.scale, 30.0)
    screen.viewer.scene.camera.zoom = 8.0


def resize(screen: Screen) -> None:
    before = screen.viewer.canvas.size
    screen.viewer.canvas.size = screen.dice.choice(((600, 800), (500, 500)))
    if screen.viewer.canvas.size != before:
        screen.model.pointer = None


def select_tiles(screen: Screen) -> None:
    """Select one or several tiles in the gallery."""
    tiles = screen.dice.sample([*screen.tiles()], screen.dice.choice((1, 1, 3)))
    screen.target.select(tiles)
    screen.model.selects(tiles, None)


def sort(screen: Screen) -> None:
    screen.dice.shuffle(screen.list)
    screen.top = 0
    screen.target.refresh()


def scroll(screen: Screen) -> None:
    screen.top = screen.dice.randrange(max(1, len(screen.list) - N_IN_LIST))
    screen.target.refresh()


def undo(screen: Screen) -> None:
    screen.undo()
    _forget_gone(screen)


def retrain(screen: Screen) -> None:
    screen.show(screen.on_screen)


def new_cells(screen: Screen) -> None:
    """Find the cells again: ids are given anew, and added cells stay."""
    screen.actions.clear()
    screen.make_cells()
    screen.list, screen.top = [*screen.found], 0
    site = screen.selection.site
    screen.model.selects((), None)
    screen.selection.show_plate("P", site)
    screen.arrive()


def _forget_gone(screen: Screen) -> None:
    model = screen.model
    model.selection = frozenset(c for c in model.selection if _is_there(screen, c))


EVENTS: dict[Callable[[Screen], None], int] = {
    point: 8,
    jitter: 2,
    leave: 1,
    click: 2,
    shift_click: 2,
    change_mode: 1,
    press: 7,
    space: 3,
    escape: 1,
    go_to: 3,
    arrive: 2,
    zoom: 1,
    pan: 1,
    home: 1,
    resize: 1,
    select_tiles: 2,
    sort: 1,
    scroll: 1,
    undo: 2,
    retrain: 1,
    new_cells: 1,
}


@pytest.fixture(autouse=True)
def _no_pixels(monkeypatch: pytest.MonkeyPatch, qtbot: QtBot) -> None:
    cache = SimpleNamespace(close=lambda timeout_s: None)
    monkeypatch.setattr(selection_module, "SiteCache", lambda *_, **__: cache)


def one_sequence(viewer: ViewerModel, seed: int) -> int:
    """Do random things; give how often a key annotated something."""
    dice = random.Random(seed)
    screen = Screen(viewer, dice)
    screen.model = Model(screen)
    screen.target.goes_on = dice.random() < 0.7
    screen.selection.show_plate("P")
    screen.arrive()
    home(screen)
    done: list[str] = []
    n_annotated = 0
    for event in dice.choices([*EVENTS], [*EVENTS.values()], k=N_EVENTS):
        done.append(event.__name__)
        n_before = len(screen.actions)
        try:
            event(screen)
            assert screen.framed == screen.target.cells == screen.model.target()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {', '.join(done)}\n{error}") from error
        n_annotated += event is press and len(screen.actions) > n_before
    screen.closing.emit()
    return n_annotated


def test_a_key_annotates_what_is_framed_in_a_few_hundred_sequences() -> None:
    viewer = ViewerModel()  # one for all: to make one takes longer than a sequence
    assert sum(one_sequence(viewer, seed) for seed in range(300)) > 200


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_key_annotates_what_is_framed_in_ten_thousand_sequences() -> None:
    viewer = ViewerModel()
    assert sum(one_sequence(viewer, seed) for seed in range(300, 10_300)) > 6000
