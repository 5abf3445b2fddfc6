"Kills a benchmark at random moments, interrupts it, fills its disk: nothing that was finished is lost, and the outcome is that of a benchmark that nobody disturbed."
import json, os, signal, subprocess, sys

import numpy as np
import pandas as pd
import pytest
from fashion_bench.base.files import claim

# One process imports everything once; each start of the benchmark is a fork of it, so that 30 kills take a minute.
DRIVER = '''
import json, os, random, signal, sys, time, warnings
warnings.simplefilter('ignore')
from pathlib import Path
from fastai.vision.all import Callback
from fashion_bench.training.clock import DRIVER

home, kills = Path(sys.argv[1]), int(sys.argv[2])
table = load_table('wardrobe', subset='top=4,per_class=16')

class Trace(Callback):
    "A line for every epoch that begins"
    order = 72
    def before_train(self):
        with open(home/'trace.txt', 'a') as f: f.write(f'{self.run_recorder.folder.parent.name} {self.run_recorder.folder.name} {len(self.run_recorder.history)+1}\\n')

class Silent(BenchProgress):
    def say(self, text): pass

def start(out):
    "A process that runs the benchmark in `out`"
    if pid := os.fork(): return pid
    try: bench(table, 'fastai/xresnet18', home/out, weights='scratch', recipe=Recipe(3, 1, bs=8), size=32, seeds=6, num_workers=0, isolate=False, keep_model=False, progress=Silent(), cbs=Trace())
    finally: os._exit(0)

rng, n, begun = random.Random(4), 0, time.perf_counter()
os.waitpid(start('whole'), 0)
longest = (time.perf_counter() - begun)/9 # two thirds of what a run takes, on a machine as busy as this one
while n < kills:
    pid = start('killed')
    time.sleep(rng.uniform(.05, longest))
    os.kill(pid, signal.SIGKILL)
    n += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    for f in (home/'killed').glob('*/run.json'): json.loads(f.read_text()) # whole at every moment
    done = sum(json.loads(f.read_text())['status'] == 'finished' for f in (home/'killed').glob('*/run.json'))
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
    for name in runs:
        killed, whole = (json.loads((tmp_path/o/name/'run.json').read_text()) for o in ('killed', 'whole'))
        assert killed['status'] == whole['status'] == 'finished'
        a, b = (np.load(tmp_path/o/name/'predictions.npz') for o in ('killed', 'whole'))
        assert (a['image'] == b['image']).all() and (a['probs'] == b['probs']).all(), name
        ha, hb = (pd.read_csv(tmp_path/o/name/'history.csv') for o in ('killed', 'whole'))
        cols = ['epoch', 'phase', 'train_loss', 'valid_loss', 'valid_accuracy', 'train_accuracy', 'images']
        assert ha[cols].equals(hb[cols]), name
        sa, sb = (pd.read_csv(tmp_path/o/name/'steps.csv') for o in ('killed', 'whole'))
        assert sa.equals(sb), name
        assert not (tmp_path/'killed'/name/'checkpoint.pt').exists()
    begun = [o.split() for o in (tmp_path/'trace.txt').read_text().splitlines()]
    begun = pd.DataFrame(begun, columns=['out', 'run', 'epoch']).astype(dict(epoch=int)).query("out == 'killed'")
    assert all(g.epoch.is_monotonic_increasing for _,g in begun.groupby('run')) # no epoch before the one in progress was trained again
    assert 24 < len(begun) <= 24 + kills
    assert sum(len(json.loads((tmp_path/'killed'/o/'run.json').read_text())['resumed']) for o in runs) >= 3 # the kills did hit runs in their middle

def start(ask):
    "A command as a terminal starts it: one that Ctrl-C reaches, also where this test runs in the background of a shell, which ignores it"
    return subprocess.Popen(ask, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

def command(*args): return [sys.executable, '-c', 'from fashion_bench.cli.main import main; main()', *map(str, args)]

def until(p, words):
    "Lines of `p`'s output until one holds `words`"
    for line in p.stdout:
        if words in line: return line
    raise AssertionError(f'{words} was not said: {p.stderr.read()}')

def test_ctrl_c_and_kill_end_cleanly_and_the_same_command_goes_on(tmp_path):
    ask = command('run', 'wardrobe', '--subset', 'top=4,per_class=30', '--models', 'fastai/xresnet18', '--allow-scratch', '--size', 64, '--bs', 8, '--epochs', 3, '--num-workers', 0, '--out', tmp_path/'runs')
    p = start(ask)
    until(p, 'epoch 1/4')
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=60)
    assert p.returncode == 130 and 'the same command goes on from there' in err and 'Traceback' not in err, err
    p = start(ask)
    assert 'epoch 2/4' in until(p, 'valid accuracy') # the first is not trained again
    p.kill()
    p.communicate()
    r = subprocess.run(ask, capture_output=True, text=True, timeout=300) # its worker went with it, else it would wait for the claim
    assert r.returncode == 0 and 'being done by another process' not in r.stdout, r.stdout + r.stderr
    record = json.loads(next((tmp_path/'runs').glob('*/run.json')).read_text())
    assert record['status'] == 'finished' and record['resumed'][0] >= 1 and record['resumed'] == sorted(record['resumed'])
    assert pd.read_csv(next((tmp_path/'runs').glob('*/history.csv'))).epoch.tolist() == [1, 2, 3, 4]

def test_ctrl_c_ends_several_runs_at_once_and_calls_none_of_them_failed(tmp_path):
    ask = command('run', 'wardrobe', '--subset', 'top=4,per_class=30', '--models', 'fastai/xresnet18', '--allow-scratch', '--size', 64, '--bs', 8, '--epochs', 50, '--seeds', 3, '--jobs', 2, '--num-workers', 0, '--out', tmp_path/'runs')
    p = start(ask)
    seen = {until(p, 'epoch 1/51').count('epoch') for _ in range(2)} # of both
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=60)
    assert seen == {1} and p.returncode == 130 and 'Traceback' not in err, err
    assert [json.loads(o.read_text())['status'] for o in (tmp_path/'runs').glob('*/run.json')] == ['running']*2
    with claim(next((tmp_path/'runs').glob('*/run.json')).parent) as ours: assert ours

def test_two_commands_on_one_folder_share_the_work(tmp_path):
    ask = command('run', 'wardrobe', '--subset', 'top=4,per_class=20', '--models', 'fastai/xresnet18', '--allow-scratch', '--size', 32, '--bs', 8, '--epochs', 2, '--seeds', 3, '--num-workers', 0, '--drop-models', '--in-process', '--out', tmp_path/'runs')
    both = [start(ask) for _ in range(2)]
    said = [p.communicate(timeout=300) for p in both]
    assert [p.returncode for p in both] == [0, 0], said
    trained = sum(o.count('epoch 3/3') for o,_ in said)
    assert trained == 3, said # each run once, by one of them
    assert all(o.count('valid accuracy') >= 3 for o,_ in said)
