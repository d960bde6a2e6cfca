import io

from rich.console import Console

from oodtune.cli.check_text import render_text
from oodtune.data.check.report import CheckReport, Finding


def make_finding(**changes: object) -> Finding:
    start = {"kind": "greyscale", "title": "Greyscale images", "policy": "keep", "unit": "images", "count": 1}
    return Finding.model_validate({**start, **changes})


def make_report(*findings: Finding, counts: dict[str, dict[str, int]] | None = None) -> CheckReport:
    counts = counts if counts is not None else {"photo": {"dog": 40, "cat": 10}, "sketch": {"dog": 5}}
    kept = sum(sum(classes.values()) for classes in counts.values())
    return CheckReport(
        num_images=kept,
        num_kept=kept,
        domains=tuple(counts),
        classes=tuple(sorted({class_name for classes in counts.values() for class_name in classes})),
        counts=counts,
        formats={"PNG": kept},
        widths=(32, 64, 4096),
        heights=(32, 48, 3000),
        findings=findings,
    )


def show(report: CheckReport, width: int = 120) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(render_text(report))
    return stream.getvalue()


def test_the_last_line_is_the_verdict():
    assert show(make_report()).splitlines()[-1] == "Usable: 55 images looked at, 55 kept, 0 dropped."
    refused = show(make_report(make_finding(policy="error"))).splitlines()[-1]
    assert refused.startswith("Refused because of 1 finding: ")


def test_what_was_not_found_is_not_shown():
    text = show(make_report(make_finding(), make_finding(kind="cmyk", title="CMYK images", count=0)))
    assert "Greyscale" in text and "CMYK" not in text


def test_a_finding_shows_its_policy_outcome_and_first_three_items():
    items = tuple(f"photo/dog/{number}.png" for number in range(1200))
    text = show(make_report(make_finding(policy="drop", count=1200, items=items, dropped=items[:1199])), width=200)
    assert "1,200 images" in text and "drop" in text and "1,199 images left out" in text
    assert "photo/dog/2.png" in text and "photo/dog/3.png" not in text
    assert "and 1,197 more" in text


def test_few_classes_are_counted_cell_by_cell():
    lines = show(make_report()).splitlines()
    assert any({"cat", "10", "none"} <= set(line.split()) for line in lines)
    assert any({"total", "50", "5"} <= set(line.split()) for line in lines)


def test_many_classes_are_summed_up_by_the_smallest_and_largest():
    photo = {f"class_{number:02d}": 10 + number for number in range(13)}
    text = show(make_report(counts={"photo": photo, "sketch": {"class_03": 7}}))
    assert "class_00: 10" in text and "class_12: 22" in text
    assert "class_00: 0" in text and "class_03: 7" in text
    assert "class_05" not in text


def test_many_domains_are_cut():
    counts = {f"camera_{number:03d}": {"fox": 3, "cat": 4} for number in range(50)}
    text = show(make_report(counts=counts))
    assert "camera_019" in text and "camera_020" not in text
    assert "and 30 more domains" in text


def test_brackets_in_a_name_are_text():
    text = show(make_report(make_finding(items=("photo/[bold]dog[/bold]/[/]1.png",))))
    assert "photo/[bold]dog[/bold]/[/]1.png" in text.replace("\n", "")


def test_a_file_name_cannot_steer_the_terminal():
    text = show(make_report(make_finding(items=("photo/dog/\x1b[2J\r\n1.png",))))
    assert "\x1b" not in text and "photo/dog/?[2J??1.png" in text


def test_it_fits_a_terminal_of_eighty_columns():
    items = ("photo/dog/" + "a_long_name_" * 20 + ".png",)
    counts = {f"domain_{number}": {"dog": 100_000, "cat": 5} for number in range(8)}
    text = show(make_report(make_finding(items=items), counts=counts), width=80)
    assert max(len(line) for line in text.splitlines()) <= 80


def test_data_without_any_usable_image_has_a_verdict():
    assert show(make_report(counts={})) == "Usable: 0 images looked at, 0 kept, 0 dropped.\n"
