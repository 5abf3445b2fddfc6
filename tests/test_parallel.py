"""Two processes that train one model, on a CPU, held against one: the same losses, every photo once, one record.
Killed, interrupted and short of memory, they end as one run does."""
import json, os, shutil, signal, subprocess, sys, time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fashion_bench.base.answers import read_ranks
from fashion_bench.base.specs import entry_hash
from fashion_bench.data.sources import load_table
from fashion_bench.data.table import fingerprint, image_paths
from fashion_bench.results.board import summarize
from fashion_bench.runs.bench import bench
from fashion_bench.runs.engines.local import Processes
from fashion_bench.runs.learner import load_run_learner
from fashion_bench.runs.predictor import load_predictor
from fashion_bench.runs.record import _predict
from fashion_bench.runs.run import make_spec
from fashion_bench.training.recipes import Recipe

pytestmark = pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks its processes')

# One process imports everything once; the processes of a run are forks of it.
DRIVER = '''
import json, os, sys, warnings
warnings.simplefilter('ignore')
from functools import partial
from pathlib import Path
import torch
from fastai.vision.all import Callback, noop
import fashion_bench.data.loaders as loaders, fashion_bench.runs.run as run
from fashion_bench.all import *
from fashion_bench.models.ranks import everyones, join_ranks, leave_ranks
from fashion_bench.data.table import fingerprint
from fashion_bench.runs.record import _predict
from fashion_bench.training.lr_finder import suggest_lr
from fashion_bench.training.parallel import DataParallel
from fashion_bench.training.recipes import train

home = Path(sys.argv[1])
to_batch = loaders._batch_tfms
loaders._batch_tfms = lambda mean, std, augment: to_batch(mean, std, False) # head and network have no dropout, either
table = load_table('wardrobe', subset='top=4,per_class=16')
odd = table.drop(table.index[(table.split == 'valid')][-1:]).drop(table.index[table.split == 'test'][1:])
odd = odd.reset_index(drop=True) # 48, 7 and 1 photos

def spec_of(recipe, table=odd, **kwargs):
    how = dict(size=32, head='linear', precision='fp32') | kwargs
    return run.make_spec(fingerprint(table), 'timm/test_resnet', 'scratch', recipe, **how)

def together(name, f, world=2):
    "What `f(rank)` gives in each of `world` forks, in files"
    children = []
    for rank in range(world):
        if pid := os.fork():
            children.append(pid)
            continue
        if world > 1: join_ranks(rank, world, home/f'{name}.store')
        (home/f'{name}.{rank}.json').write_text(json.dumps(f(rank)))
        leave_ranks()
        os._exit(0)
    for o in children: assert os.waitpid(o, 0)[1] == 0, name

def fit(rank, recipe=Recipe(1, 0, .04, bs=8), sync=True):
    "What an epoch tells, the photos that it saw, and the weights that it left"
    run.DataParallel = partial(DataParallel, sync=sync)
    seen, own = [], loaders.SquareDL._own
    def noted(self, rows):
        mine = own(self, rows)
        if self.dataset.split_idx == 0: seen.extend(mine)
        return mine
    loaders.SquareDL._own = noted
    learn = run.run_learner(spec_of(recipe), odd, num_workers=0, allow_scratch=True)
    facts = hasattr(learn, 'data_parallel') and learn.data_parallel.facts()
    with learn.no_bar(), learn.no_logging(): train(learn, recipe)
    values, losses = list(learn.recorder.values[-1]), [float(o) for o in learn.recorder.losses]
    probs, targets = _predict(learn, odd, 'test')
    total = sum(float(o.double().sum()) for o in learn.model.state_dict().values())
    return dict(values=values, losses=losses, seen=seen, weights=total, keys=list(learn.model.state_dict()),
                test=[probs.tolist(), targets.tolist()], facts=facts, noise=torch.rand(3).tolist())

def rate(rank):
    "What `lr_find` sees"
    learn = run.run_learner(spec_of(Recipe(1, 0, bs=8)), odd, num_workers=0, allow_scratch=True)
    lr, seen = suggest_lr(learn, False, 30)
    return dict(lr=lr, losses=seen.loss.tolist())

written = []
def note(event, args):
    "What is written or removed in the folder of runs"
    opened = event == 'open' and isinstance(args[1], str) and args[1] != 'r'
    if opened or event in ('os.rename', 'os.remove', 'os.mkdir'):
        path = str(args[1] if event == 'os.rename' else args[0])
        if str(home/'runs') in path: written.append(f'{event} {path}')

class Room(Callback):
    "Has no room for more than two images a process"
    def before_batch(self):
        if len(self.xb[0]) > 2 and self.training: raise torch.OutOfMemoryError('CUDA out of memory')

class Broken(Callback):
    "One of the processes gets a loss that is no number"
    def __init__(self, rank): self.broken = rank
    def before_batch(self):
        if self.broken and self.training: self.learn.xb = (self.xb[0]*float('nan'),)

class Stop(Callback):
    "Ends a run after its first epoch"
    order = 90
    def after_fit(self): raise InterruptedError('enough')

def whole(rank, recipe=Recipe(1, 1, bs=8), out='runs', cbs=None, **kwargs):
    "A run, and what this process wrote"
    sys.addaudithook(note)
    record = run.run_model(spec_of(recipe), odd, home/out, allow_scratch=True, num_workers=0, bars=False, cbs=cbs,
                           **kwargs)
    return dict(record=record, written=written)

together('one', fit, 1)
together('two', fit)
together('apart', partial(fit, sync=False))
parts = Recipe(1, 0, .04, bs=8, accumulate=2)
together('one_parts', partial(fit, recipe=parts), 1)
together('two_parts', partial(fit, recipe=parts))
together('whole', whole)
together('full', partial(whole, out='full', cbs=Room()))
together('smaller', partial(whole, out='full', cbs=Room(), too_large=[8]))
together('nan', lambda rank: whole(rank, out='nan', cbs=Broken(rank)))
together('stopped', partial(whole, out='stopped', cbs=Stop()))
together('alone', partial(whole, out='stopped'), 1)
together('rate', rate)
'''

@pytest.fixture(scope='module')
def told(tmp_path_factory):
    "What each process of each experiment said"
    home = tmp_path_factory.mktemp('ranks')
    r = subprocess.run([sys.executable, '-c', DRIVER, str(home)], capture_output=True, text=True, timeout=600)
    assert r.returncode == 0, r.stderr[-3000:]
    found = {}
    for file in sorted(home.glob('*.json')):
        found.setdefault(file.name.split('.')[0], []).append(json.loads(file.read_text()))
    return found

def furthest(a, b): return float(np.abs(np.array(a) - np.array(b)).max())

@pytest.mark.parametrize('parts', ['', '_parts'])
def test_two_processes_train_as_one(told, parts):
    [one], two = told[f'one{parts}'], told[f'two{parts}']
    for o in two:
        assert furthest(o['values'], one['values']) < 1e-4, (o['values'], one['values']) # losses and accuracy
        assert furthest(o['losses'], one['losses']) < 1e-4 and len(o['losses']) == len(one['losses'])
    assert two[0]['noise'] != two[1]['noise'] # their augmentation and dropout are not the same
    assert two[0]['weights'] == two[1]['weights'] and two[0]['keys'] == one['keys']
    assert two[0]['facts'] == dict(world=2, sync_batch_norm=True) and one['facts'] is False

def test_without_synchronized_batch_norm_it_is_another_training(told):
    [one], apart = told['one'], told['apart']
    assert furthest(apart[0]['values'][:2], one['values'][:2]) > 1e-3
    assert apart[0]['facts'] == dict(world=2, sync_batch_norm=False)

def test_every_training_photo_is_seen_once_an_epoch_and_one_test_photo_is_enough(told):
    [one], (a, b) = told['one'], told['two']
    assert sorted(a['seen'] + b['seen']) == sorted(one['seen']) == list(range(48))
    assert one['seen'][:8] == a['seen'][:4] + b['seen'][:4]
    for o in (a, b):
        assert furthest(o['test'][0], one['test'][0]) < 1e-4 and o['test'][1] == one['test'][1]
        assert len(o['test'][1]) == 1

def test_one_process_writes(told):
    first, second = told['whole']
    assert first['record']['status'] == second['record']['status'] == 'finished'
    assert second['written'] == []
    assert any('checkpoint.pt' in o for o in first['written']) and any('run.json' in o for o in first['written'])

def test_processes_without_room_say_so_and_begin_anew_with_less(told):
    for o in told['full']:
        batch = o['record']['batch']
        assert o['record']['failure']['type'] == 'OutOfMemoryError'
        assert batch == dict(asked=8, at_once=8, too_large=[8])
    for o in told['smaller']:
        assert o['record']['status'] == 'finished' and o['record']['batch'] == dict(asked=8, at_once=4, too_large=[8])

def test_a_loss_that_is_no_number_in_one_process_ends_all(told):
    messages = {o['record']['failure']['message'] for o in told['nan']}
    assert len(messages) == 1 and 'the loss became nan' in messages.pop()

def test_all_processes_find_the_same_learning_rate(told):
    a, b = told['rate']
    assert a == b and a['lr'] > 0

def test_a_checkpoint_of_two_goes_on_alone(told):
    assert {o['record']['status'] for o in told['stopped']} == {'failed'}
    [record] = [o['record'] for o in told['alone']]
    assert (record['status'], record['resumed'], record['environment']['world']) == ('finished', [1], 1)
    assert len(record['machines']) == 2 and record['machines'][0].endswith('2 processes')

# Through the engine, with processes of its own

@pytest.fixture(scope='module')
def table(tmp_path_factory):
    "48, 7 and 5 photos in a folder of their own"
    t = load_table('wardrobe', subset='top=4,per_class=16')
    photos = tmp_path_factory.mktemp('photos')/'photos'
    shutil.copytree(t.root.iloc[0], photos)
    counts = t.groupby('split').cumcount()
    return t[counts < t.split.map(dict(train=48, valid=7, test=5))].assign(root=str(photos)).reset_index(drop=True)

@pytest.fixture(scope='module')
def two():
    engine = Processes(gpus_per_run=2)
    yield engine
    engine.close()

def spec_of(table, recipe=Recipe(2, 1, bs=8), seed=1):
    return make_spec(fingerprint(table), 'timm/test_resnet', 'scratch', recipe, size=32, seed=seed, precision='fp32')

def lives(pid):
    "Is there such a process, and not only what its parent has still to hear of it?"
    r = subprocess.run(['ps', '-o', 'stat=', '-p', str(pid)], capture_output=True, text=True)
    return bool(r.stdout.strip()) and not r.stdout.startswith('Z')

HOW = dict(num_workers=0, allow_scratch=True)

@pytest.fixture(scope='module')
def undisturbed(table, two, tmp_path_factory):
    "A run of two processes: its folder of runs, and its record"
    out = tmp_path_factory.mktemp('undisturbed')
    return out, two.run(spec_of(table), table, out, **HOW)

def kept(out, record):
    with np.load(out/record['folder']/'predictions.npz') as f: return {k: f[k] for k in f.files}

def test_predictions_are_those_of_every_photo_once_and_in_order(undisturbed, table):
    out, record = undisturbed
    assert record['status'] == 'finished', record
    there = table[table.split != 'train'].sort_values('split', ascending=False, kind='stable')
    found = kept(out, record)
    assert found['image'].tolist() == there.image.tolist() and len(found['image']) == 12
    learn = load_run_learner(out/record['folder'], table, num_workers=0) # in one process
    probs = np.concatenate([_predict(learn, table, o)[0] for o in ('valid', 'test')])
    assert furthest(found['probs'], probs) < 1e-4
    history = pd.read_csv(out/record['folder']/'history.csv')
    assert history.images.tolist() == [48]*3

def test_products_are_looked_for_among_the_photos_of_all_processes(table, two, tmp_path):
    same = table.assign(group=table.label) # of which each split has several
    record = two.run(replace(spec_of(table), task='retrieval', products_hash='f00d'), same, tmp_path, **HOW)
    ranks, rows = read_ranks(tmp_path/record['folder'], 'valid'), same[same.split == 'valid'].reset_index(drop=True)
    x = load_predictor(tmp_path/record['folder']).features(image_paths(rows))
    asks = [rows.image.tolist().index(o) for o in ranks['image']]
    alike = (x @ x.T)[asks]
    alike[range(len(asks)), asks] = -1
    assert ranks['shown'].tolist() == [6]*len(asks) and len(asks) > 3
    nearest = [rows.image.tolist().index(ranks['photo'][o]) for o in ranks['nearest'][:, 0]]
    assert np.allclose(alike[range(len(asks)), nearest], alike.max(1), atol=1e-4)

def test_the_record_says_how_many_they_were_and_the_board_keeps_them_apart(undisturbed, table, tmp_path):
    out, record = undisturbed
    alone = Processes()
    try: single = alone.run(spec_of(table), table, tmp_path, **HOW)
    finally: alone.close()
    assert record['environment']['world'] == 2 and record['environment']['devices'] == ['cpu']*2
    assert record['parallel'] == dict(world=2, sync_batch_norm=True) and '2 processes' in record['machines'][0]
    assert single['environment']['world'] == 1 and 'parallel' not in single
    assert entry_hash(single) != entry_hash(record)
    assert len(summarize([out, tmp_path])) == 2

def test_processes_without_room_are_started_anew(table, monkeypatch, tmp_path):
    asked = []
    def ask(self, worker, more, job, on_event):
        asked.append(job['kwargs'].get('too_large'))
        status, at_once = ('failed', 8) if len(asked) == 1 else ('finished', 4)
        return dict(status=status, batch=dict(asked=8, at_once=at_once, too_large=[8])), 'it ended'
    monkeypatch.setattr(Processes, '_ask', ask)
    record = Processes(gpus_per_run=2).run(spec_of(table, seed=3), table, tmp_path, **HOW)
    assert asked == [None, [8]] and record['status'] == 'finished'

def test_what_cannot_be_shared_out_is_said_before_anything_starts(table, tmp_path):
    with pytest.raises(ValueError, match='9 images cannot be shared out evenly among 2 processes'):
        bench(table, 'timm/test_resnet', tmp_path/'runs', weights='scratch', recipe=Recipe(1, 0, bs=9), size=32,
              engine=Processes(gpus_per_run=2))
    assert not (tmp_path/'runs').exists() or not list((tmp_path/'runs').iterdir())

def test_nothing_is_shared_out_where_nothing_is_trained(table, two, tmp_path):
    record = two.run(spec_of(table, 'knn(3)'), table, tmp_path, **HOW)
    assert record['status'] == 'finished' and record['environment']['world'] == 1

def test_a_trial_is_that_of_both(table, two):
    found = two.probe(spec_of(table), table, **HOW)
    assert 'failure' not in found and found['minutes'] > 0

def test_a_process_that_is_killed_ends_the_run_which_goes_on_to_the_same_end(undisturbed, table, two, tmp_path):
    whole, begun = undisturbed, []
    def kill(event):
        if event['event'] != 'accuracy' or begun: return
        begun.extend(o.pid for o in two.working[0].members)
        os.kill(begun[1], signal.SIGKILL)
    start = time.perf_counter()
    died = two.run(spec_of(table), table, tmp_path, kill, **HOW)
    assert time.perf_counter() - start < 60
    assert (died['status'], died['failure']['type']) == ('failed', 'ProcessDied'), died['failure']
    assert died['failure']['message'].startswith('process 2 of 2: its process was ended by SIGKILL')
    assert not any(map(lives, begun))
    again = two.run(spec_of(table), table, tmp_path, **HOW)
    assert (again['status'], again['resumed']) == ('finished', [1])
    a, b = kept(*whole), kept(tmp_path, again)
    assert (a['image'] == b['image']).all() and (a['probs'] == b['probs']).all()
    names = ['train_loss', 'valid_loss', 'valid_accuracy', 'train_accuracy', 'images']
    a, b = (pd.read_csv(o/again['folder']/'history.csv')[names] for o in (whole[0], tmp_path))
    assert a.equals(b)
    assert not (tmp_path/again['folder']/'checkpoint.pt').exists()

def test_what_fails_in_the_second_process_is_the_runs_failure(table, two, tmp_path):
    photos = table[table.split == 'valid'].image.tolist()
    file = os.path.join(table.root.iloc[0], photos[-1]) # of seven, those from the fifth on are the second's
    text = open(file, 'rb').read()
    open(file, 'wb').write(b'no photo')
    try: failed = two.run(spec_of(table, seed=2), table, tmp_path, **HOW)
    finally: open(file, 'wb').write(text)
    assert failed['status'] == 'failed' and failed['failure']['message'].startswith('process 2 of 2: '), failed
    assert photos[-1] in failed['failure']['message']
    assert json.loads((tmp_path/failed['folder']/'run.json').read_text())['failure'] == failed['failure']
