"""A choice that is killed, interrupted, computed two runs at a time and watched comes to what an undisturbed one does,
and the pages and commands that read runs read its."""
import json, os, signal, subprocess, sys
from pathlib import Path

import pandas as pd
import pytest
from fashion_bench.cli.main import app
from test_faults import assert_same, start, until
from typer.testing import CliRunner

MODELS = 'timm/test_resnet', 'timm/test_efficientnet', 'timm/test_convnext'

# One process imports everything once; each start of the choice is a fork of it.
DRIVER = '''
import json, os, random, resource, signal, sys, warnings
warnings.simplefilter('ignore')
from pathlib import Path
from fashion_bench.all import *
from fashion_bench.follow.progress import BenchProgress
import fashion_bench.runs.choose as module

module.FEW = 2 # so that three of them have a short training
home, kills, models = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
table = load_table('wardrobe', subset='top=4,per_class=16')

class Silent(BenchProgress):
    def say(self, text): pass

def start(out, seconds=0.):
    "A process that chooses in `out`, and is killed after so many seconds of computing, if not 0"
    if pid := os.fork(): return pid
    signal.setitimer(signal.ITIMER_PROF, seconds)
    how = dict(recipe=Recipe(1, 1, bs=8), size=64, seeds=2, num_workers=0, isolate=False, keep_model=False)
    try: choose(table, models, out=home/out, weights='scratch', progress=Silent(), **how)
    finally: os._exit(0)

rng, n = random.Random(4), 0
os.waitpid(start('whole'), 0)
whole = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
while n < kills: # nearly so often that it ends by itself
    n += os.WIFSIGNALED(os.waitpid(start('killed', rng.uniform(.2, 1.3)*whole/kills), 0)[1])
    if json.loads((home/'killed/choice.json').read_text()).get('finished'): break
print(n, flush=True)
os.waitpid(start('killed'), 0)
'''

def choice(folder): return json.loads((folder/'choice.json').read_text(encoding='utf-8'))

def rows(folder):
    "What became of each candidate at each stage, but for what it took"
    return pd.DataFrame(choice(folder)['rows']).drop(columns='minutes')

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks its processes')
def test_a_choice_that_is_killed_six_times_comes_to_the_same(tmp_path):
    r = subprocess.run([sys.executable, '-c', DRIVER, str(tmp_path), '6', *MODELS], capture_output=True, text=True,
                       timeout=600)
    assert r.returncode == 0, r.stderr[-2000:]
    assert int(r.stdout) >= 4
    whole, killed = tmp_path/'whole', tmp_path/'killed'
    runs = sorted(o.parent.name for o in whole.glob('*/run.json'))
    assert runs == sorted(o.parent.name for o in killed.glob('*/run.json')) and len(runs) >= 12
    for name in runs:
        a, b = (json.loads((o/name/'run.json').read_text())['figures']['valid_accuracy'] for o in (whole, killed))
        assert a == b
        if (whole/name/'history.csv').exists(): assert_same(killed/name, whole/name)
    pd.testing.assert_frame_equal(rows(killed), rows(whole))
    a, b = choice(killed), choice(whole)
    assert a['winners'] == b['winners'] and a['given'] == b['given'] == [] # nothing was there before
    assert abs(a['minutes'] - b['minutes']) < .5*b['minutes'] # what was computed before a kill counts

def ask(what, *args):
    "A command in a process of its own"
    return [sys.executable, '-c', 'from fashion_bench.cli.main import main; main()', what, *map(str, args)]

def said(what, *args):
    "What a command prints that ends well"
    r = CliRunner().invoke(app, [what, *map(str, args)])
    assert r.exit_code == 0, r.output
    return r.output

def test_ctrl_c_in_two_stages_two_runs_at_a_time_and_a_tracker(tmp_path):
    out, told = tmp_path/'runs', tmp_path/'told'
    grid = ('wardrobe', '--subset', 'top=4,per_class=16', '--models', ','.join(MODELS), '--weights', 'scratch', '--bs',
            8, '--epochs', 1, '--size', 64, '--num-workers', 0, '--out', out)
    command = ask('choose', *grid, '--seeds', 1, '--margin', 90, '--jobs', 2, '--track', f'tensorboard={told}')
    for stage in ('A look at every photo', '3 of 3 still in'):
        p = start(command)
        until(p, stage)
        p.stdout.readline() # a run of this stage begins
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=120)
        assert p.returncode == 130 and 'the same command goes on from there' in err and 'Traceback' not in err, err
        assert not choice(out).get('finished')
    r = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert r.returncode == 0 and 'It took' in r.stdout, r.stdout + r.stderr
    assert choice(out)['finished'] and choice(out)['given'] == []
    runs = {o.parent.name for o in out.glob('*/run.json')}
    assert [o.parent.name for o in sorted(told.glob('*/events*'))] == sorted(runs) # each is told once
    assert '3 runs, 3 of them on disk already' in said('run', *grid, '--dry-run')
    board, everything = said('show', out), said('show', out, '--stages')
    assert 'It took' in board and 'linear_probe' not in board and 'linear_probe' in everything
    said('report', out, '--out', tmp_path/'report.html')
    assert 'How it was chosen' in (tmp_path/'report.html').read_text(encoding='utf-8')

def test_the_benchmark_replays_a_grid_that_is_kept():
    root = Path(__file__).parent.parent/'benchmarks'
    grid = root/'choosing_grids/clothing.zip'
    command = [sys.executable, str(root/'choosing.py'), 'replay', str(grid), '--replays', '2']
    r = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert r.returncode == 0, r.stderr[-2000:]
    cost, holds, *_ = next(o for o in r.stdout.splitlines() if o.startswith('choose')).split()[1:]
    assert float(cost) < .25 and float(holds) == 1
