"The README is made from the notebook, and its commands are those that CI and the package know."
import importlib.util, json, re, shlex, shutil
from pathlib import Path

from test_cli import fashion_bench

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
    at = lines.index('pip install -e ".[demo]" && fashion-bench demo')
    assert re.fullmatch(r'git clone https://github.com/(\S+)/(\S+) && cd \2', lines[at-1]), lines[at-1]
    assert lines.count('pip install -e ".[dev]" && nbdev-test && pytest -q') == 1

def texts():
    "Everything that is written for readers, by file"
    for o in (ROOT/'README.md', ROOT/'CONTRIBUTING.md'): yield o.name, o.read_text(encoding='utf-8')
    for o in sorted((ROOT/'nbs').rglob('*.ipynb')):
        if '.ipynb_checkpoints' not in o.parts: yield o.name, prose(o)

def prose(notebook):
    "The text of its Markdown cells"
    cells = json.loads(notebook.read_text(encoding='utf-8'))['cells']
    return '\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')

def blocks(text, kind):
    "The code blocks of a kind in a text"
    return re.findall(rf'```{kind}\n(.*?)```', text, flags=re.S)

def commands(text):
    "The `fashion-bench` commands of a text, and whether they stand in a block, which is whole"
    for line in re.sub(r'\\\n\s*', ' ', '\n'.join(blocks(text, 'sh'))).splitlines():
        for o in line.split('&&'):
            if o.strip().startswith('fashion-bench '): yield shlex.split(o, comments=True)[1:], True
    around = re.sub(r'```.*?```', '', text, flags=re.S)
    for o in re.findall(r'`(fashion-bench [^`]+)`', around): yield shlex.split(o)[1:], False

def test_every_command_in_the_docs_is_one_that_the_program_takes():
    from typer.main import get_command
    from fashion_bench.cli.main import app
    program, n = get_command(app), 0
    for file, text in texts():
        for args, whole in commands(text):
            name, *rest = args
            command = program.commands.get(name)
            assert command is not None, f'{file}: fashion-bench {shlex.join(args)}'
            if hasattr(command, 'commands') and rest: command, rest = command.commands[rest[0]], rest[1:]
            known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
            assert {o for o in rest if o.startswith('--')} <= known, f'{file}: fashion-bench {shlex.join(args)}'
            if whole: command.make_context(name, list(rest)) # raises for what is missing
            n += 1
    assert n > 30

def test_the_readme_block_on_your_own_photos_runs_as_it_stands(tmp_path, monkeypatch):
    from fashion_bench.data.sources import load_table
    from fashion_bench.data.table import image_paths
    table = load_table('wardrobe', subset='top=3,per_class=20')
    for i, (file, label) in enumerate(zip(image_paths(table), table.label)):
        (tmp_path/'photos'/label).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path/'photos'/label/f'{i}.jpg')
    monkeypatch.chdir(tmp_path)
    of_readme = blocks((ROOT/'README.md').read_text(encoding='utf-8'), 'sh')
    block = next(o for o in of_readme if 'fashion-bench audit photos' in o)
    for line in block.splitlines():
        r = fashion_bench(*shlex.split(line)[1:])
        fine = (0, 1) if ' run ' in line else (0,) # 1: weights that cannot be fetched here
        assert r.returncode in fine, f'{line}: {r.stdout}{r.stderr}'
    assert (tmp_path/'report.html').exists() and len(list((tmp_path/'runs').glob('timm*/run.json'))) == 3
