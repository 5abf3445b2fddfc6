"What CONTRIBUTING says of adding a thing: its diff touches one file, applies as it stands, and the thing then works."
import json, os, re, shutil, subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CLOTHING = ROOT/'nbs/tutorials/real_photos/clothing'
TEXT = (ROOT/'CONTRIBUTING.md').read_text(encoding='utf-8')
# By the words in bold that stand before them
DIFFS = dict(re.findall(r'\*\*An? ([a-z ]+)\*\*(?:(?!\*\*An? ).)*?```diff\n(.*?)```', TEXT, flags=re.S))

def files(diff):
    "The files that a diff names, before and after"
    return [o[4:] for o in diff.splitlines() if o.startswith(('--- ', '+++ '))]

def sides(diff):
    "What stands in the file before the change, and after it"
    lines = [o for o in diff.splitlines() if not o.startswith(('--- ', '+++ '))]
    return tuple('\n'.join(o[1:] for o in lines if o[:1] != sign) for sign in '+-')

def make_change(diff, root):
    "Apply a diff to the copy in `root`"
    _, file = files(diff)
    before, after = sides(diff)
    text = (root/file).read_text(encoding='utf-8') if before else ''
    assert not before or text.count(before) == 1, f'{file} has this {text.count(before)} times:\n{before}'
    (root/file).write_text(text.replace(before, after) if before else after, encoding='utf-8')

@pytest.fixture(scope='module')
def copy(tmp_path_factory):
    "A folder with the package, in which all is added"
    root = tmp_path_factory.mktemp('copy')
    shutil.copytree(ROOT/'fashion_bench', root/'fashion_bench')
    for o in DIFFS.values(): make_change(o, root)
    return root

def python(code, root, *args):
    "What `code` prints last, as JSON, with the package in `root`"
    env = os.environ | dict(PYTHONPATH=str(root))
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', code, *map(str, args)], capture_output=True, text=True,
                       cwd=root, env=env, timeout=280)
    assert r.returncode == 0, r.stdout + r.stderr
    *_, home, found = r.stdout.splitlines()
    assert Path(home).parent.parent == root
    return json.loads(found)

def exported_cells(notebook):
    "The text of the cells that go into the module"
    cells = [''.join(c['source']) for c in json.loads(notebook.read_text(encoding='utf-8'))['cells']]
    return [o for o in cells if re.match(r'#\|\s*export', o)]

def test_all_that_is_counted_is_there():
    assert {'suite', 'schedule', 'data source', 'option of data', 'metric', 'tracker', 'engine'} <= set(DIFFS)

@pytest.mark.parametrize('thing', DIFFS)
def test_a_diff_touches_one_file_and_one_cell_of_its_notebook(thing):
    diff = DIFFS[thing]
    assert DIFFS[thing].count('+++ ') == DIFFS[thing].count('--- ') == 1
    old, new = files(diff)
    if old == '/dev/null': return # a file of one's own
    assert old == new
    source = re.search(r'File to edit: [./]*nbs/(.*)\.ipynb', (ROOT/new).read_text(encoding='utf-8'))[1]
    said = re.search(rf'\*\*An? {thing}\*\*(.*?)```', TEXT, flags=re.S)[1]
    assert f'`{source}`' in said, 'the notebook is not named'
    changed = [o for o in exported_cells(ROOT/f'nbs/{source}.ipynb') if sides(diff)[0] in o]
    assert len(changed) == 1

ADDED = """
import json, sys, fashion_bench
from inspect import signature
from pathlib import Path
from PIL import Image
from fashion_bench.cli.main import main, run
from fashion_bench.cli.options import _grid
from fashion_bench.data.sources import load_table
from fashion_bench.models.registry import expand_models
from fashion_bench.results.leaderboard import leaderboard
from fashion_bench.runs.bench import bench, estimate
from fashion_bench.runs.grid import plan_bench
from fashion_bench.training.rates import schedule_rates
from fashion_bench.training.recipes import expand_recipes, parse_recipe
from pretend import Pretend

def suite():
    try: expand_models('')
    except ValueError as e: listed = str(e)
    return dict(models=expand_models('pocket,resnet34'), listed=listed)

def schedule():
    text = 'ep3_bs32_lr1e-3_down'
    recipe = parse_recipe(text)
    kinds = [o.schedule for o in expand_recipes('kinds')]
    return dict(same=str(recipe) == text, rates=schedule_rates(text).lr_2.tolist(), kinds=kinds)

def data():
    photos = Path('named')
    photos.mkdir()
    for i in range(12): Image.new('RGB', (8, 8)).save(photos/f'{"coat" if i % 2 else "tee"}-{i}.jpg')
    table = load_table(photos, mark='-')
    Path('grid.toml').write_text('data = "named"\\nmodels = "small"\\nmark = "-"')
    try: load_table(photos, mark='-', label='kind')
    except ValueError as e: refused = str(e)
    return dict(labels=sorted(set(table.label)), load=table.attrs['load'], refused=refused,
                help=signature(run).parameters['mark'].default.help, grid=_grid('grid.toml', run)['mark'])

def engine():
    table, grid = load_table('wardrobe', subset='top=2,per_class=16'), dict(recipe='ep1_bs8_lr1e-3', seeds=2)
    bench(table, 'resnet18', 'pretended', engine=Pretend(), cache=False, budget='1h', **grid)
    again = bench(table, 'resnet18', 'pretended', engine=Pretend(), cache=False, **grid) # from their records
    costs = estimate(plan_bench(table, 'resnet18', **grid), table, Pretend())
    board = leaderboard('pretended')
    return dict(status=[o['status'] for o in again], minutes=costs.minutes.tolist(), seeds=board.seeds.tolist(),
                accuracy=board.accuracy.tolist())

def tracker():
    ask = '--models timm/test_resnet --weights scratch --recipe ep1_bs8_lr1e-3_down --subset top=2,per_class=16'
    how = '--size 32 --num-workers 0 --in-process --drop-models --out runs --track lines=epochs.txt'
    sys.argv = ['fashion-bench', 'run', 'wardrobe', *ask.split(), *how.split()]
    try: main()
    except SystemExit as e: return e.code

found = {f.__name__: f() for f in (suite, schedule, data, engine, tracker)}
print('', fashion_bench.__file__, json.dumps(found), sep='\\n')
"""

@pytest.fixture(scope='module')
def added(copy): return python(ADDED, copy)

def test_a_suite_is_expanded_and_listed(added):
    models = ['timm/tf_efficientnet_lite0', 'timm/mobilenetv3_small_050', 'torchvision/resnet34']
    assert added['suite']['models'] == models
    assert 'pocket' in added['suite']['listed'].partition('suites: ')[2].split(', ')

def test_a_schedule_is_parsed_listed_and_drawn(added):
    found = added['schedule']
    assert found['same'] and 'down' in found['kinds']
    falls = found['rates'][50:] # after the epoch with the backbone frozen
    assert falls == sorted(falls, reverse=True) and falls[-1] < .01*falls[0]

def test_a_data_source_is_read_with_its_option_wherever_data_is_asked_for(added):
    found = added['data']
    assert found['labels'] == ['coat', 'tee'] and found['load'] == dict(data='named', mark='-')
    assert found['refused'].startswith('named is a folder of photos with their class in their names, which does not')
    assert found['help'].startswith('For photos with their class in their names') and found['grid'] == '-'

def test_an_engine_runs_a_bench_without_training(added, copy):
    found = added['engine']
    assert found == dict(status=['finished']*2, minutes=[.1], seeds=[2], accuracy=[.5])
    assert len(list((copy/'pretended').glob('*/run.json'))) == 2

SCORED = """
import json, re, sys, fashion_bench
from fashion_bench.results.board import summarize
from fashion_bench.results.report import report_html
df = summarize(sys.argv[1])
page = report_html(sys.argv[2:])
heads = {name: how for how,name in re.findall('<th scope="col"(.*?)><button type="button">(.*?)</button>', page)}
less = re.search('Less is better for (.*?)[.]', page)[1]
found = dict(figures=df[['accuracy', 'valid_doubt', 'doubt']].values.tolist(), heads=heads, less=less)
print('', fashion_bench.__file__, json.dumps(found), sep='\\n')
"""

def test_a_metric_is_computed_of_kept_predictions_and_sorted_by_its_direction(copy):
    one_run = next(CLOTHING.glob('*xresnet18*'))
    found = python(SCORED, copy, CLOTHING, one_run)
    doubts = [o[2] for o in found['figures']]
    assert len(doubts) == 4 and all(0 < x < 1 for o in found['figures'] for x in o)
    assert doubts[-1] == max(doubts) # of the model from scratch
    assert 'doubt' in re.split(', | and ', found['less'])
    assert ('descending' in found['heads']['macro f1'], 'descending' in found['heads']['doubt']) == (True, False)

def test_a_tracker_is_found_by_its_name_on_the_command_line(added, copy):
    "By the way, the schedule is trained by, and the metric is in the record"
    assert added['tracker'] == 0
    [record] = [json.loads(o.read_text()) for o in (copy/'runs').glob('*/run.json')]
    assert record['recipe']['schedule'] == 'down' and 0 < record['figures']['valid_doubt'] < 1
    steps = len((copy/'runs'/record['folder']/'steps.csv').read_text().splitlines()) - 1
    told = [o.rpartition(' ')[0] for o in (copy/'epochs.txt').read_text().splitlines()]
    assert told == [f'test_resnet ep1_bs8_lr1e-3_down seed 42 {k}' for k in (steps//2, steps)]

def test_a_tracker_of_another_package_is_found_by_its_entry_point(tmp_path, monkeypatch):
    from fashion_bench.follow.tracking import as_trackers
    (tmp_path/'brought-1.0.dist-info').mkdir()
    (tmp_path/'brought-1.0.dist-info/METADATA').write_text('Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n')
    (tmp_path/'brought-1.0.dist-info/entry_points.txt').write_text(
        '[fashion_bench.trackers]\nslate = brought_slate:Board\nlost = brought_slate:Lost\ngone = brought_gone:Gone\n')
    (tmp_path/'brought_slate.py').write_text('class Board:\n    def follow(self, out): return self\n')
    monkeypatch.syspath_prepend(tmp_path)
    [found] = as_trackers('slate')
    assert type(found).__name__ == 'Board'
    for name, why in (('lost', "has no attribute 'Lost'"), ('gone', "No module named 'brought_gone'")):
        with pytest.raises(ValueError, match=f'the tracker {name} .*cannot be imported: .*{why}'): as_trackers(name)
    with pytest.raises(ValueError, match="unknown tracker 'no'; there are .*gone, .*slate, .*wandb"): as_trackers('no')
