"""The drawing board of the figures: Matplotlib in, SVG out that a page colours.

Matplotlib draws with placeholder colours, which become CSS variables here, so that one picture
serves the light and the dark page; its text stays text. Nothing depends on the clock or on chance:
the same facts give the same bytes.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE, ACCENT, BAD, PAPER = (f"#0a0{n}0{n}" for n in "123456")
CLASS_COLORS = [f"#0b0{n}0{n}" for n in "0123456"]
OTHER = "#0b0909"
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    ACCENT: "--accent",
    BAD: "--bad",
    PAPER: "--paper",
    OTHER: "--k-other",
    **{color: f"--k{place}" for place, color in enumerate(CLASS_COLORS)},
}
"""The placeholder colours, and the page's variables that stand for them."""

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lorgnette",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.parse_math": False,  # a class may be called "$x$"
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
}


def class_color(place: int, classes: int) -> str:
    """A class's colour, the same in every figure; one for all where there are too many to tell."""
    return CLASS_COLORS[place] if classes <= len(CLASS_COLORS) else OTHER


def shorten(name: str, most: int = 22) -> str:
    """A name that fits beside an axis, without what would break a line."""
    name = " ".join(name.split()) or "(blank)"
    name = "".join(letter if letter.isprintable() else "�" for letter in name)
    return name if len(name) <= most else name[: most - 1] + "…"


class Drawing:
    """A Matplotlib figure that becomes SVG text: `with Drawing(...) as d: ...; d.svg`."""

    svg = ""

    def __init__(self, name: str, label: str, width: float, height: float) -> None:
        self.name, self.label, self.size = name, label, (width, height)

    def __enter__(self) -> Drawing:
        import matplotlib
        from matplotlib.figure import Figure

        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        # Names may be in scripts that Matplotlib's own font lacks; the browser's will have them.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        self._style = matplotlib.rc_context(STYLE)
        self._style.__enter__()
        self.figure: Figure = Figure(figsize=self.size, layout="constrained")
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            if error[0] is None:
                buffer = io.StringIO()
                none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
                self.figure.savefig(buffer, format="svg", transparent=True, metadata=none)
                self.svg = _page_svg(buffer.getvalue(), self.name, self.label)
        finally:
            self._style.__exit__(*error)
            self._warnings.__exit__(*error)


def _page_svg(svg: str, name: str, label: str) -> str:
    """Matplotlib's SVG as an element of a page."""
    body = svg[svg.index("<svg") :]
    body = re.sub(
        r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL
    )
    used = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", body))

    def renamed(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    body = re.sub(r' id="([^"]*)"', renamed, body)
    body = re.sub(r"(url\(|href=\")#", rf"\g<1>#{name}-", body)
    body = re.sub(r"font-family: [^;\"]*;? ?|font: ([\d.]+px) [^;\"]*", _font, body)
    for color, variable in VARIABLES.items():
        body = body.replace(color, f"var({variable})")
    box = re.search(r'viewBox="([^"]*)"', body)
    assert box is not None  # Matplotlib always writes one
    width = float(box[1].split()[2])
    opening = (
        f'<svg class="plot" viewBox="{box[1]}" style="max-width:{width / 0.75:.0f}px" role="img" '
        f'aria-label="{html.escape(label)}">'
    )
    body = re.sub(r"<svg[^>]*>", lambda _: opening, body, count=1)
    return re.sub(r"\n\s*", "\n", body).strip()


def _font(match: re.Match[str]) -> str:
    return f"font-size: {match[1]}" if match[1] else ""


def grid(axes: Axes, axis: Any = "both") -> None:
    """Fine lines behind the data in place of the axes."""
    axes.grid(True, axis=axis)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)


def percent_axis(axis: Any) -> None:
    """Label an axis of shares in percent."""
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=None))


def epoch_axes(axes: Any, name: str) -> None:
    """The axes of a learning curve: epochs below; `accuracy` in percent, `loss` from zero."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(name.capitalize())
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    if name == "accuracy":
        percent_axis(axes.yaxis)
    else:
        axes.set_ylim(bottom=0)
