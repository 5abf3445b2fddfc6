"""Kills a benchmark at random moments, interrupts it, fills its disk: nothing that was finished is lost, and the
outcome is that of a benchmark that nobody disturbed."""
import json, os, signal, subprocess, sys

import numpy as np
import pandas as pd
import pytest
from fashion_bench.base.files import claim

# One process imports everything once; each start of the benchmark is a fork of it, so that 30 kills take a minute.
DRIVER = '''
import json, os, random, resource, signal, sys, warnings
warnings.simplefilter('ignore')
from pathlib import Path
from fastai.vision.all import Callback
from fashion_bench.all import *
from fashion_bench.follow.progress import BenchProgress

home, kills = Path(sys.argv[1]), int(sys.argv[2])
table = load_table('wardrobe', subset='top=4,per_class=16')

class Trace(Callback):
    "A line for every epoch that begins"
    order = 72
    def before_train(self):
        folder, epoch = self.run_recorder.folder, len(self.run_recorder.history) + 1
        with open(home/'trace.txt', 'a') as f: print(folder.parent.name, folder.name, epoch, file=f)

class Silent(BenchProgress):
    def say(self, text): pass

def start(out, seconds=0.):
    "A process that runs the benchmark in `out`, and is killed after so many seconds of computing, if not 0"
    if pid := os.fork(): return pid
    signal.setitimer(signal.ITIMER_PROF, seconds) # nobody handles its signal, which kills
    how = dict(recipe=Recipe(3, 1, bs=8), size=32, seeds=6, num_workers=0, isolate=False, keep_model=False)
    try: bench(table, 'timm/test_resnet', home/out, weights='scratch', progress=Silent(), cbs=Trace(), **how)
    finally: os._exit(0)

def cpu_seconds(pid):
    "What a process computes until it ends: how busy the machine is does not matter"
    os.waitpid(pid, 0)
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])

rng, n = random.Random(4), 0
longest = cpu_seconds(start('whole'))/9 # two thirds of what a run takes
while n < kills:
    n += os.WIFSIGNALED(os.waitpid(start('killed', rng.uniform(.05, longest)), 0)[1])
    records = [json.loads(f.read_text()) for f in (home/'killed').glob('*/run.json')] # whole at every moment
    done = sum(o['status'] == 'finished' for o in records)
    if done == 6: break
print(n, done, flush=True)
os.waitpid(start('killed'), 0)
'''

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks its processes')
def test_thirty_kills_lose_nothing_but_the_epoch_in_progress(tmp_path):
    r = subprocess.run([sys.executable, '-c', DRIVER, str(tmp_path), '30'], capture_output=True, text=True, timeout=600)
    assert r.returncode == 0, r.stderr[-2000:]
    kills, done = map(int, r.stdout.split())
    assert kills == 30, f'the benchmark was over after {kills} kills'
    runs = sorted(o.parent.name for o in (tmp_path/'whole').glob('*/run.json'))
    assert len(runs) == 6
    for name in runs: assert_same(tmp_path/'killed'/name, tmp_path/'whole'/name)
    begun = [o.split() for o in (tmp_path/'trace.txt').read_text().splitlines()]
    begun = pd.DataFrame(begun, columns=['out', 'run', 'epoch']).astype(dict(epoch=int)).query("out == 'killed'")
    # no epoch before the one in progress was trained again
    assert all(g.epoch.is_monotonic_increasing for _,g in begun.groupby('run'))
    assert 24 < len(begun) <= 24 + kills
    resumed = [len(record(tmp_path/'killed'/o)['resumed']) for o in runs]
    assert sum(resumed) >= 3 # the kills did hit runs in their middle

def record(folder): return json.loads((folder/'run.json').read_text())

def assert_same(killed, whole):
    "Two folders of a run: figures, predictions and curves are the same, and no checkpoint is left"
    assert record(killed)['status'] == record(whole)['status'] == 'finished'
    a, b = (np.load(o/'predictions.npz') for o in (killed, whole))
    assert (a['image'] == b['image']).all() and (a['probs'] == b['probs']).all(), killed.name
    a, b = (pd.read_csv(o/'history.csv') for o in (killed, whole))
    cols = ['epoch', 'phase', 'train_loss', 'valid_loss', 'valid_accuracy', 'train_accuracy', 'images']
    assert a[cols].equals(b[cols]), killed.name
    a, b = (pd.read_csv(o/'steps.csv') for o in (killed, whole))
    assert a.equals(b), killed.name
    assert not (killed/'checkpoint.pt').exists()

def start(ask):
    """A command as a terminal starts it: one that Ctrl-C reaches, also where this test runs in the background of a
    shell, which ignores it"""
    def heed_ctrl_c(): signal.signal(signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(ask, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c)

def command(out, photos, *args):
    "A benchmark of a small network on so many photos a class"
    ask = ('run', 'wardrobe', '--subset', f'top=4,per_class={photos}', '--models', 'fastai/xresnet18',
           '--allow-scratch', '--bs', 8, '--num-workers', 0, '--out', out, *args)
    return [sys.executable, '-c', 'from fashion_bench.cli.main import main; main()', *map(str, ask)]

def until(p, words):
    "Lines of `p`'s output until one holds `words`"
    for line in p.stdout:
        if words in line: return line
    raise AssertionError(f'{words} was not said: {p.stderr.read()}')

def test_ctrl_c_and_kill_end_cleanly_and_the_same_command_goes_on(tmp_path):
    ask = command(tmp_path/'runs', 30, '--size', 64, '--epochs', 3)
    p = start(ask)
    until(p, 'epoch 1/4')
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=60)
    assert p.returncode == 130 and 'the same command goes on from there' in err and 'Traceback' not in err, err
    p = start(ask)
    assert 'epoch 2/4' in until(p, 'valid accuracy') # the first is not trained again
    p.kill()
    p.communicate()
    # its worker went with it, else it would wait for the claim
    r = subprocess.run(ask, capture_output=True, text=True, timeout=300)
    assert r.returncode == 0 and 'being done by another process' not in r.stdout, r.stdout + r.stderr
    folder = next((tmp_path/'runs').glob('*/run.json')).parent
    status, resumed = record(folder)['status'], record(folder)['resumed']
    assert status == 'finished' and resumed[0] >= 1 and resumed == sorted(resumed)
    assert pd.read_csv(folder/'history.csv').epoch.tolist() == [1, 2, 3, 4]

def test_ctrl_c_ends_several_runs_at_once_and_calls_none_of_them_failed(tmp_path):
    ask = command(tmp_path/'runs', 30, '--size', 64, '--epochs', 50, '--seeds', 3, '--jobs', 2)
    p = start(ask)
    seen = {until(p, 'epoch 1/51').count('epoch') for _ in range(2)} # of both
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=60)
    assert seen == {1} and p.returncode == 130 and 'Traceback' not in err, err
    folders = [o.parent for o in (tmp_path/'runs').glob('*/run.json')]
    assert [record(o)['status'] for o in folders] == ['running']*2
    with claim(folders[0]) as ours: assert ours

def test_two_commands_on_one_folder_share_the_work(tmp_path):
    how = '--size', 32, '--epochs', 2, '--seeds', 3, '--drop-models', '--in-process'
    ask = command(tmp_path/'runs', 20, *how)
    both = [start(ask) for _ in range(2)]
    said = [p.communicate(timeout=300) for p in both]
    assert [p.returncode for p in both] == [0, 0], said
    trained = sum(o.count('epoch 3/3') for o,_ in said)
    assert trained == 3, said # each run once, by one of them
    assert all(o.count('valid accuracy') >= 3 for o,_ in said)
