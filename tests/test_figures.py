"""Figures are saved whole, with their data, in one style; and drawing them leaves no trace."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.figure import Figure

from claimlab.experiments.figures import PaperFigure, save
from claimlab.experiments.style import COLUMN, OKABE_ITO, style

from .sample_claims import FIGURES, draw

FIGURE = FIGURES[0]


def test_a_figure_is_saved_thrice(tmp_path):
    saved = save(FIGURE, tmp_path / "new" / "folder")
    assert [path.name for path in saved] == ["squares.pdf", "squares.png", "squares.csv"]
    assert saved.pdf.read_bytes().startswith(b"%PDF")
    assert saved.png.read_bytes().startswith(b"\x89PNG")
    pd.testing.assert_frame_equal(pd.read_csv(saved.csv), draw()[1])
    assert sorted(saved.pdf.parent.iterdir()) == sorted(saved)


def test_fonts_are_embedded_as_truetype(tmp_path):
    pdf = save(FIGURE, tmp_path).pdf.read_bytes()
    assert b"/FontFile2" in pdf  # an embedded TrueType font
    assert b"/Type3" not in pdf


def test_the_same_figure_is_the_same_file(tmp_path):
    first, second = save(FIGURE, tmp_path / "a"), save(FIGURE, tmp_path / "b")
    for one, other in zip(first, second):
        assert one.read_bytes() == other.read_bytes()
    assert b"/CreationDate" not in first.pdf.read_bytes()


def test_the_style_is_ours_inside_and_the_users_outside():
    with mpl.rc_context({"font.size": 23, "lines.linewidth": 7, "text.color": "red"}):
        with style():
            assert mpl.rcParams["font.size"] == 8
            assert mpl.rcParams["text.color"] == "black"  # what we do not set is matplotlib's, not the user's
            assert mpl.rcParams["pdf.fonttype"] == 42
            assert mpl.rcParams["figure.constrained_layout.use"]
            assert mpl.rcParams["axes.prop_cycle"].by_key()["color"] == list(OKABE_ITO.values())
            assert Figure().get_size_inches()[0] == COLUMN
        assert mpl.rcParams["font.size"] == 23
        assert mpl.rcParams["text.color"] == "red"


def test_figures_of_pyplot_are_closed(tmp_path):
    def with_pyplot():
        figure, axes = plt.subplots()
        axes.plot([1, 2])
        return figure, pd.DataFrame({"y": [1, 2]})

    before = plt.get_fignums()
    save(PaperFigure("p", "", with_pyplot), tmp_path)
    assert plt.get_fignums() == before


@pytest.mark.parametrize("name", ["", "../up", "a b", "a/b", "ä", ".hidden"])
def test_a_name_is_a_file_name(name):
    with pytest.raises(ValueError, match="name must consist of"):
        PaperFigure(name, "", draw)


@pytest.mark.parametrize("wrong", [lambda: None, lambda: draw()[0], lambda: (draw()[1], draw()[0])])
def test_draw_must_return_both(wrong, tmp_path):
    with pytest.raises(TypeError, match=r"draw of f must return \(Figure, DataFrame\)"):
        save(PaperFigure("f", "", wrong), tmp_path)
    assert list(tmp_path.iterdir()) == []
