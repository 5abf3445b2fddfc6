"The rules of the house, held against the code: who may import whom, and what a notebook may carry."
import ast, json, re, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
NBS = sorted((ROOT/'nbs').glob('[0-9]*.ipynb'))
ORDER = [re.sub(r'^\d+[a-z]?_', '', o.stem) for o in NBS]

# Module: those it may import
MAY = dict(
    errors=[], table=[], pixels=[], splits=['table'], subsets=['table', 'splits'], files=[], deepfashion=['table', 'splits'],
    wardrobe=['deepfashion'], attributes=['table', 'deepfashion'],
    sources=['table', 'splits', 'subsets', 'deepfashion', 'attributes', 'wardrobe'], audit=['table', 'splits', 'pixels'],
    pictures=['table', 'pixels', 'splits'], cache=['table', 'pixels', 'sources'], augment=[],
    loaders=['table', 'pixels', 'cache', 'augment'], catalogue=[], models=[], backbones=['models'], groups=[], regularization=[],
    learner=['models', 'backbones', 'groups', 'regularization'], speed=[], recipes=['precision'], scores=[], specs=[], gridfile=['files', 'specs'],
    precision=[], clock=['speed'], checkpoint=['files', 'recipes'], recorder=['clock', 'files', 'recipes'],
    predictor=['files', 'pixels', 'sources', 'loaders', 'models', 'backbones', 'learner'], environment=[], lr_finder=['checkpoint'],
    runs=['table', 'files', 'environment', 'lr_finder', 'splits', 'loaders', 'models', 'backbones', 'groups', 'learner', 'precision', 'clock',
          'specs', 'speed', 'recipes', 'scores', 'predictor', 'checkpoint', 'recorder'],
    probe=['splits', 'cache', 'models', 'clock', 'speed', 'recipes', 'runs'],
    worker=['cache', 'clock', 'recipes', 'runs', 'specs', 'probe'], engines=['files', 'cache', 'environment', 'runs', 'specs', 'probe', 'worker'], progress=['recipes', 'specs'],
    grid=['table', 'loaders', 'models', 'backbones', 'recipes', 'runs'],
    bench=['table', 'files', 'pixels', 'cache', 'models', 'recipes', 'runs', 'specs', 'engines', 'progress', 'grid'],
    confidence=[], reference=[], records=['scores', 'specs'], results=['confidence', 'records', 'specs'],
    compare=['confidence', 'records', 'reference', 'results'], details=['records', 'scores'], plots=['records', 'reference', 'results'],
    schedules=['confidence', 'details', 'plots', 'records', 'results'],
    verdict=['confidence', 'records', 'results'],
    report=['confidence', 'verdict', 'gridfile', 'scores', 'records', 'results', 'compare', 'details', 'plots', 'schedules'],
    followers=['files', 'details'], tracking=['files', 'followers', 'records', 'results', 'details', 'report'], options=None, tools=None, cli=None)
EVERYBODY = {'errors', 'files'} # may be imported by all

def imports(path):
    "Our modules and the foreign packages that the file at `path` imports, at any depth"
    ours, others = set(), set()
    for o in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        names = [a.name for a in o.names] if isinstance(o, ast.Import) else [o.module or ''] if isinstance(o, ast.ImportFrom) else []
        for n in names:
            if n == 'fashion_bench': ours |= {a.name for a in o.names}
            elif n.startswith('fashion_bench.'): ours.add(n.split('.')[1])
            else: others.add(n.split('.')[0])
    return ours, others

def test_a_module_imports_only_lower_ones_and_only_those_allowed():
    assert len(ORDER) >= 7
    for i,name in enumerate(ORDER):
        ours, _ = imports(ROOT/f'fashion_bench/{name}.py')
        higher = ours & set(ORDER[i:])
        assert not higher, f'{name} imports {higher}, which are not lower'
        if MAY[name] is not None: assert ours <= set(MAY[name]) | EVERYBODY, f'{name} imports {ours - set(MAY[name])}'

def test_results_plots_and_report_need_neither_torch_nor_fastai():
    for name in ('confidence', 'scores', 'specs', 'gridfile', 'reference', 'records', 'results', 'compare', 'details', 'plots', 'schedules', 'verdict', 'pictures', 'report'):
        assert not imports(ROOT/f'fashion_bench/{name}.py')[1] & {'torch', 'fastai', 'timm', 'torchvision'}, name

def test_a_report_is_made_without_torch():
    code = "import sys; from fashion_bench.results import report, compare; from fashion_bench.data import pictures; print(sorted({'torch', 'fastai', 'timm', 'torchvision'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'

def test_no_module_is_too_long():
    for name in ORDER: assert len((ROOT/f'fashion_bench/{name}.py').read_text(encoding='utf-8').splitlines()) <= 300, name

def test_notebooks_are_small_and_carry_no_warnings_or_paths():
    for path in (ROOT/'nbs').rglob('*.ipynb'):
        text = path.read_text(encoding='utf-8')
        assert len(text) < 150*1024 and len(json.loads(text)['cells']) < 80, path.name
        for c in json.loads(text)['cells']:
            for o in c.get('outputs', []): assert o.get('name') != 'stderr' and not re.search(r'site-packages|/(?:tmp|root|home)/', json.dumps([o.get('text'), {k: v for k,v in o.get('data', {}).items() if k != 'image/png'}])), f'{path.name}: {"".join(c["source"])[:60]}'

def test_the_public_api_is_all_of_it():
    listed = re.findall(r'from \.(\w+) import', (ROOT/'fashion_bench/all.py').read_text(encoding='utf-8'))
    assert listed == [o for o in ORDER if o not in ('options', 'tools', 'cli')]

def test_no_two_modules_export_one_name():
    "`from fashion_bench.all import *` must not hide one behind another; cli is not in it, and names commands after what they call"
    homes = {}
    for name in ORDER:
        tree = ast.parse((ROOT/f'fashion_bench/{name}.py').read_text(encoding='utf-8'))
        for o in tree.body:
            if isinstance(o, ast.Assign) and getattr(o.targets[0], 'id', '') == '__all__' and name not in ('options', 'tools', 'cli'):
                for n in ast.literal_eval(o.value): homes.setdefault(n, []).append(name)
    assert not {k: v for k,v in homes.items() if len(v) > 1} and len(homes) > 100

# Entry points of other processes, which every test of those processes runs
NOT_SHOWN = {'serve', 'watch'}

def test_every_public_function_is_shown_in_its_notebook():
    "In a cell that is run and seen; a command by its name on a command line"
    missing = []
    for path in NBS:
        code = [''.join(c['source']) for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'code']
        shown = '\n'.join(o for o in code if not re.match(r'#\|\s*(export|default_exp)', o))
        if path.stem.endswith('_tools'): shown += '\n'.join(''.join(c['source']) for c in json.loads((ROOT/'nbs/cli/02_main.ipynb').read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'code')
        for o in code:
            if not re.match(r'#\|\s*export', o): continue
            for d in ast.parse(o).body:
                if isinstance(d, (ast.FunctionDef, ast.ClassDef)) and not d.name.startswith('_') and d.name not in NOT_SHOWN:
                    names = rf"\b{d.name}\b|'{d.name.replace('_', '-')}'"
                    if not re.search(names, shown): missing.append(f'{path.stem}: {d.name}')
    assert not missing, missing

def test_imports_stand_in_the_first_cells():
    "The site's builder runs cells that import, and no others; a cell that does more may lack what cells before it made"
    for path in NBS:
        code = [''.join(c['source']) for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'code']
        setup = next(i for i,o in enumerate(code) if o.startswith('#| hide'))
        for o in code[setup+1:]:
            if re.match(r'#\|\s*export', o): continue
            kinds = {isinstance(d, (ast.Import, ast.ImportFrom)) for d in ast.parse(re.sub(r'(?m)^[!%].*', '', o)).body}
            assert kinds != {True, False}, f'{path.name}: {o[:80]}'
