"""What the README shows runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_statistics_example_prints_what_it_promises() -> None:
    programs = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    example = next(program for program in programs if "mmrep.stats" in program)
    printed = subprocess.run(
        [sys.executable, "-W", "error", "-c", example], check=True, capture_output=True, text=True
    ).stdout
    assert "64 64" in printed
    assert "floor=" in printed
