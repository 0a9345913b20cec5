"""What is installed holds everything that the package reads, not only its modules."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_all_that_is_no_module_is_installed_as_well(tmp_path):
    command = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    built = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    wanted = [path for path in (ROOT / "odam_d2").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    wanted = {str(path.relative_to(ROOT)) for path in wanted}
    configs = [path for path in (ROOT / "configs").rglob("*") if path.suffix in (".yaml", ".py")]
    wanted |= {f"odam_d2/model_zoo/configs/{path.relative_to(ROOT / 'configs')}" for path in configs}
    assert "odam_d2/py.typed" in wanted and "odam_d2/visualize/templates/report.html" in wanted
    assert built == wanted
