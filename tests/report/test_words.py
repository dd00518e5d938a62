"""Numbers in words: what rounds never claims more than is known."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_runs import finished_run, row

from lorgnette.report import words
from lorgnette.report.collect import collect
from lorgnette.report.facts import Measure


@pytest.mark.parametrize(
    ("value", "n", "text"),
    [
        (None, 10, "–"),
        (1.0, 10, "100%"),
        (0.0, 10, "0%"),
        (0.995, 200, "99.5%"),
        (0.99963, 2000, "99.96%"),
        (0.99963, 20_000, "99.96%"),
        (0.999996, 10**6, "99.9996%"),
        (0.99999999, 10**9, "> 99.9999%"),
        (0.0000001, 200, "< 0.001%"),
    ],
)
def test_percent(value: float | None, n: int, text: str) -> None:
    assert words.percent(value, n) == text


@given(st.floats(0, 1), st.integers(0, 10**9))
def test_only_certainty_reads_as_certain(value: float, n: int) -> None:
    assert (words.percent(value, n) == "100%") == (value == 1)
    assert (words.percent(value, n) == "0%") == (value == 0)
    assert (words.score(value) == "1.000") == (value == 1)


def test_limits() -> None:
    measure = Measure(value=0.995, low=0.9721, high=0.9991, n=200)
    assert words.limits(measure, "percent") == "97.2–99.9%"
    assert words.limits(measure) == "0.972–0.999"
    assert words.limits(Measure()) == ""


def test_amounts() -> None:
    assert words.count(1, "image") == "1 image"
    assert words.count(1234, "image") == "1,234 images"
    assert words.count(2, "copy", "copies") == "2 copies"
    assert [words.seconds(s) for s in (0.42, 12.3, 59.8, 185, 7800)] == [
        "0.4 s",
        "12 s",
        "1 min 00 s",
        "3 min 05 s",
        "2 h 10 min",
    ]
    assert [words.size(n) for n in (512, 3_250_586, 5 * 2**40)] == [
        "512 bytes",
        "3.1 MiB",
        "5.0 TiB",
    ]
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.listed(list("abcdefg"), 3) == "a, b, c and 4 more"


def test_headline(tmp_path: Path) -> None:
    facts = collect(finished_run(tmp_path, wrong=1))
    assert "".join(words.headline(facts.test)) == (
        "On 20 test images that were never used for any choice, 95.0% were right."
    )
    assert "nothing can be said" in "".join(words.headline(None))


def test_cautions(tmp_path: Path) -> None:
    calm = collect(finished_run(tmp_path / "calm", each=80))
    assert words.cautions(calm) == []
    copy = row(
        "x.png",
        status="duplicate",
        label="b",
        error="the same bytes as y.png, which is labelled 'a' and this one 'b'",
    )
    worried = collect(
        finished_run(
            tmp_path / "worried",
            ("a", "b", "c"),
            each=6,
            wrong=9,
            groups=3,
            absent="c",
            rejected=[copy],
        )
    )
    text = " ".join(words.cautions(worried))
    for part in ("only 12 test images", "only 3 groups", "no image of c", "is an exact copy"):
        assert part in text
    assert "not shown that anything was learnt" in text


@pytest.mark.parametrize(("schedule", "said"), [("constant", 1), ("one-cycle", 0)])
def test_a_late_best_epoch_means_little_where_the_rate_falls_to_zero(
    tmp_path: Path, schedule: str, said: int
) -> None:
    facts = collect(finished_run(tmp_path, each=80))
    late = facts.model_copy(
        update={
            "training": facts.training.model_copy(update={"best_epoch": 4}),
            "settings": {**facts.settings, "train.schedule.name": schedule},
        }
    )
    assert len(words.cautions(late)) == said
