"The rules of the house, held against the code: who may import whom, and what a notebook may carry."
import ast, builtins, dis, importlib, json, os, re, shutil, subprocess, sys
from pathlib import Path
from types import CodeType

import pytest

ROOT = Path(__file__).parent.parent
NBS = sorted((ROOT/'nbs').rglob('[0-9]*.ipynb'))
MODULES = [o for o in (ROOT/'fashion_bench').rglob('*.py') if not o.stem.startswith('_')]
CODE = sorted(o for o in MODULES if o.parent != ROOT/'fashion_bench')

# Room: those that it may import
ROOMS = dict(
    base=(),
    data=('base',),
    models=('base',),
    training=('base', 'data', 'models'),
    results=('base',),
    follow=('base', 'models', 'training', 'results'),
    runs=('base', 'data', 'models', 'training', 'results', 'follow'),
    use=('base', 'data', 'models', 'training', 'results', 'runs'),
    cli=('base', 'data', 'models', 'training', 'results', 'follow', 'runs', 'use'))

def module(path): return path.relative_to(ROOT/'fashion_bench').with_suffix('').as_posix().replace('/', '.')
def notebook(path): return path.relative_to(ROOT/'nbs').as_posix()

def cells(path):
    "The cells of the notebook at `path`"
    return json.loads(path.read_text(encoding='utf-8'))['cells']

def code_cells(path):
    "The text of its code cells"
    return [''.join(c['source']) for c in cells(path) if c['cell_type'] == 'code']

def number(name):
    "Where a module stands among those of its folder"
    folder, _, stem = name.rpartition('.')
    found = [o for o in NBS if re.sub(r'^\d+_', '', o.stem) == stem and o.parent == ROOT/'nbs'/folder.replace('.', '/')]
    assert len(found) == 1, f'{name} has {len(found)} notebooks'
    return int(found[0].stem.partition('_')[0])

def imports(path):
    "Our modules and the foreign packages that the file at `path` imports, at any depth"
    ours, others, at = set(), set(), module(path).split('.')
    for o in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(o, ast.Import): others |= {a.name.partition('.')[0] for a in o.names}
        elif isinstance(o, ast.ImportFrom):
            full = (at[:len(at) - o.level] if o.level else []) + (o.module.split('.') if o.module else [])
            if not o.level and full[0] != 'fashion_bench':
                others.add(full[0])
                continue
            full = full if o.level else full[1:]
            package = (ROOT/'fashion_bench').joinpath(*full).is_dir() # of which modules are imported
            ours |= {'.'.join([*full, a.name]) for a in o.names} if package else {'.'.join(full)}
    return ours, others

def test_rooms_import_in_one_direction_and_notebooks_of_a_room_lower_numbers():
    assert {o.parent.name for o in CODE} == {*ROOMS, 'engines'} and len(CODE) == len(NBS)
    for path in CODE:
        name = module(path)
        room, folder = name.partition('.')[0], name.rpartition('.')[0]
        for o in imports(path)[0]:
            other, its_folder = o.partition('.')[0], o.rpartition('.')[0]
            assert other in (room, *ROOMS[room]), f'{name} imports {o}, and {room} may import {ROOMS[room]}'
            if its_folder == folder: assert number(o) < number(name), f'{name} imports {o}, which is not lower'

def test_nothing_imports_in_a_circle():
    needs, done = {module(o): imports(o)[0] for o in CODE}, set()
    while ready := {k for k,v in needs.items() if k not in done and v <= done}: done |= ready
    assert done == set(needs), set(needs) - done

HEAVY = {'torch', 'fastai', 'timm', 'torchvision'}

def test_results_need_neither_torch_nor_fastai():
    for path in CODE:
        if module(path).startswith(('results', 'base')): assert not imports(path)[1] & HEAVY, module(path)

REPORT = f"""
import sys
from fashion_bench.results import report, compare
from fashion_bench.data import pictures
print(sorted({HEAVY} & set(sys.modules)))
"""

def test_a_report_is_made_without_torch():
    r = subprocess.run([sys.executable, '-c', REPORT], capture_output=True, text=True)
    assert r.stdout.strip() == '[]'

def code_lines(path):
    "The lines that cells export into a module and that hold something"
    _, *from_cells = path.read_text(encoding='utf-8').split('\n# %% ../')
    return [o for cell in from_cells for o in cell.splitlines()[1:] if o.strip()]

def test_no_module_is_too_long():
    for path in CODE: assert len(code_lines(path)) <= 300, f'{module(path)}: {len(code_lines(path))} lines'

def test_prose_in_modules_is_short():
    for path in CODE:
        for line in path.read_text(encoding='utf-8').splitlines(): assert len(line) <= 140, f'{module(path)}: {line}'

def test_lines_are_short_and_names_are_known():
    ruff = shutil.which('ruff')
    if not ruff: pytest.skip('needs ruff')
    r = subprocess.run([ruff, 'check', '--quiet', '--no-cache', ROOT], capture_output=True, text=True)
    assert r.returncode == 0, r.stdout

def codes(code):
    "`code` and all that is defined within"
    yield code
    for o in code.co_consts:
        if isinstance(o, CodeType): yield from codes(o)

def test_every_global_name_is_there():
    "Also where a star import keeps ruff from seeing it"
    lost = []
    for path in CODE:
        there = set(vars(importlib.import_module(f'fashion_bench.{module(path)}'))) | set(dir(builtins))
        for code in codes(compile(path.read_text(encoding='utf-8'), path.name, 'exec')):
            asked = {o.argval for o in dis.get_instructions(code) if o.opname == 'LOAD_GLOBAL'}
            lost += [f'{module(path)}.{code.co_name}: {o}' for o in sorted(asked - there)]
    assert not lost, lost

def body_size(function, lines):
    "Characters of a function without its signature, docstring and indentation"
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and len(function.body) > 1
    start = function.body[documented].lineno - 1
    return sum(len(o.strip()) for o in lines[start:function.end_lineno])

def test_functions_are_small():
    sizes = []
    for path in CODE:
        text = path.read_text(encoding='utf-8')
        functions = [o for o in ast.walk(ast.parse(text)) if isinstance(o, ast.FunctionDef)]
        sizes += [body_size(o, text.splitlines()) for o in functions]
    sizes.sort()
    median, p90 = sizes[len(sizes)//2], sizes[len(sizes)*9//10]
    assert (median <= 300, p90 <= 800) == (True, True), (median, p90)

def exports(path):
    "The parsed cells of a notebook that are exported"
    sources = [''.join(c['source']) for c in cells(path) if c['cell_type'] == 'code']
    return [ast.parse(o) for o in sources if re.match(r'#\|\s*export', o)]

def test_cells_hold_one_definition():
    bodies = [cell.body for path in NBS for cell in exports(path)]
    counts = [n for o in bodies if (n := sum(isinstance(d, (ast.FunctionDef, ast.ClassDef)) for d in o))]
    assert counts.count(1)/len(counts) >= .9

def parameters(definition):
    "Of a public function, or of a class's public methods and `__init__`, without `self`"
    inside = [definition] if isinstance(definition, ast.FunctionDef) else definition.body
    methods = [o for o in inside if isinstance(o, ast.FunctionDef)]
    public = [o for o in methods if o.name == '__init__' or not o.name.startswith('_')]
    return [a for o in public for a in o.args.args + o.args.kwonlyargs if a.arg not in ('self', 'cls')]

def test_public_parameters_are_annotated():
    public = [o for path in NBS for cell in exports(path) for o in cell.body
              if isinstance(o, (ast.FunctionDef, ast.ClassDef)) and not o.name.startswith('_')]
    found = [a.annotation is not None for o in public for a in parameters(o)]
    assert sum(found)/len(found) >= .8

def words(output):
    "What a stored output says, without its pictures"
    data = {k: v for k,v in output.get('data', {}).items() if k != 'image/png'}
    return json.dumps([output.get('text'), data])

def test_notebooks_are_small_and_carry_no_warnings_or_paths():
    for path in (ROOT/'nbs').rglob('*.ipynb'):
        assert len(path.read_text(encoding='utf-8')) < 150*1024 and len(cells(path)) < 80, path.name
        for c in cells(path):
            where = f'{path.name}: {"".join(c["source"])[:60]}'
            for o in c.get('outputs', []):
                assert o.get('name') != 'stderr', where
                assert not re.search(r'site-packages|/(?:tmp|root|home)/', words(o)), where

def exported(path):
    "The names in `__all__` of the module at `path`"
    for o in ast.parse(path.read_text(encoding='utf-8')).body:
        if isinstance(o, ast.Assign) and getattr(o.targets[0], 'id', '') == '__all__': return ast.literal_eval(o.value)
    return []

def test_public_names_are_few():
    assert sum(len(exported(o)) for o in CODE) <= 250

def test_the_front_door_is_small_and_hides_nothing_of_fastai():
    import fastai.vision.all as fastai
    import fashion_bench.all as door
    def ours(o): return getattr(o, '__module__', 'fashion_bench').startswith('fashion_bench')
    public = {k: v for k,v in vars(door).items() if not k.startswith('_')}
    names = {k for k,v in public.items() if ours(v) and not isinstance(v, type(door))}
    assert 35 <= len(names) <= 50, len(names)
    assert not names & {k for k in vars(fastai) if not k.startswith('_')}

def test_no_two_modules_export_one_name():
    "The command line's are not looked at: it names commands after what they call"
    homes = {}
    for path in CODE:
        if not module(path).startswith('cli'):
            for n in exported(path): homes.setdefault(n, []).append(module(path))
    assert not {k: v for k,v in homes.items() if len(v) > 1} and len(homes) > 100

# Entry points of other processes, which every test of those processes runs
NOT_SHOWN = {'serve', 'watch'}

def public_names(path):
    "The public functions and classes that a notebook exports"
    for o in code_cells(path):
        if not re.match(r'#\|\s*export', o): continue
        for d in ast.parse(o).body:
            if isinstance(d, (ast.FunctionDef, ast.ClassDef)) and not d.name.startswith('_'): yield d.name

def test_every_public_function_is_shown_in_its_notebook():
    "In a cell that is run and seen; a command by its name on a command line"
    missing = []
    for path in NBS:
        shown = '\n'.join(o for o in code_cells(path) if not re.match(r'#\|\s*(export|default_exp)', o))
        if path.stem.endswith(('_records', '_tools')): shown += '\n'.join(code_cells(ROOT/'nbs/cli/04_main.ipynb'))
        for name in public_names(path):
            either = rf"\b{name}\b|'{name.replace('_', '-')}'"
            if name not in NOT_SHOWN and not re.search(either, shown): missing.append(f'{path.stem}: {name}')
    assert not missing, missing

def test_imports_stand_in_the_first_cells():
    "The site's builder runs cells that import, and no others; a cell that does more may lack what cells before it made"
    for path in NBS:
        code = code_cells(path)
        setup = next(i for i,o in enumerate(code) if o.startswith('#| hide'))
        for o in code[setup+1:]:
            if re.match(r'#\|\s*export', o): continue
            python = re.sub(r'(?m)^[!%].*', '', o)
            kinds = {isinstance(d, (ast.Import, ast.ImportFrom)) for d in ast.parse(python).body}
            assert kinds != {True, False}, f'{path.name}: {o[:80]}'

def test_notebooks_that_are_tested_leave_no_temporary_files(tmp_path):
    notebook = str(ROOT/'nbs/base/01_files.ipynb') # makes a folder for its examples
    assert 'mkdtemp' in Path(notebook).read_text(encoding='utf-8')
    subprocess.run(['nbdev-test', notebook], env={**os.environ, 'TMPDIR': str(tmp_path)}, check=True, cwd=ROOT)
    assert not list(tmp_path.iterdir())
