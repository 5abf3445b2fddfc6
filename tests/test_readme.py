"The README is made from the notebook, and its commands are those that CI and the package know."
import importlib.util
from pathlib import Path

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location('readme', ROOT/'tools/readme.py')
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

def test_readme_is_made_from_index():
    text, files = tool.readme()
    assert (ROOT/'README.md').read_text(encoding='utf-8') == text, 'run python tools/readme.py'
    for path, data in files.items(): assert (ROOT/path).read_bytes() == data, path

def test_readme_holds_the_two_commands_each_on_a_line_of_its_own():
    lines = (ROOT/'README.md').read_text(encoding='utf-8').splitlines()
    assert lines.count('pip install -e ".[demo]" && fashion-bench demo') == 1
    assert lines.count('pip install -e ".[dev]" && nbdev-test && pytest -q') == 1
