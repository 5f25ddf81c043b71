"""The examples of the documentation run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = ("compiled.md", "lookahead.md", "sweeps.md")


def blocks(path: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), re.S | re.M)


EXAMPLES = [
    pytest.param(code, id=f"{page}-{k}")
    for page in PAGES
    for k, code in enumerate(blocks(DOCS / page))
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_example(code, capsys):
    exec(compile(code, "<example>", "exec"), {"__name__": "__main__"})
    capsys.readouterr()


def test_pages_have_examples():
    assert len(EXAMPLES) > len(PAGES)


def test_readme_from_top_to_bottom(capsys):
    examples = blocks(ROOT / "README.md")
    assert len(examples) >= 6
    scope = {"__name__": "__main__"}
    for code in examples:
        exec(compile(code, "<readme>", "exec"), scope)
    capsys.readouterr()
