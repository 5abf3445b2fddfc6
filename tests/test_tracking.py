"Weights & Biases in offline mode, its run files read back; no key, no network, no question."
import json, os, struct, subprocess, sys
from pathlib import Path

import pytest

pytest.importorskip('wandb')

def records(file):
    "What a `.wandb` file holds: records in blocks of 32 KB, each with a header of checksum, length and kind"
    from wandb.proto import wandb_internal_pb2 as pb
    data, at, part, out = Path(file).read_bytes(), 7, b'', []
    while at + 7 <= len(data):
        left = 32768 - at % 32768 # of the block
        if left < 7:
            at += left
            continue
        n, kind = struct.unpack('<HB', data[at+4:at+7])
        part, at = part + data[at+7:at+7+n], at + 7 + n
        if kind in (1, 4): # whole, or the last part
            r = pb.Record()
            r.ParseFromString(part)
            out.append(r)
            part = b''
    return out

def values(items):
    "What a record says, by key"
    return {o.key or '.'.join(o.nested_key): json.loads(o.value_json) for o in items}

def facts(run):
    "Who a run is, and its configuration"
    config = {o.key: json.loads(o.value_json) for o in run.config.update}
    return dict(id=run.run_id, name=run.display_name, group=run.run_group, project=run.project, job=run.job_type,
                config=config)

def read_run(file):
    "A run's facts and history"
    out = dict(history=[], artifacts=[], summary={})
    for r in records(file):
        kind = r.WhichOneof('record_type')
        if kind == 'run': out |= facts(r.run)
        if kind == 'history': out['history'].append(values(r.history.item))
        if kind == 'artifact': out['artifacts'].append(r.artifact.name)
        if kind == 'summary': out['summary'] |= values(r.summary.update)
        if kind == 'exit': out['exit'] = r.exit.exit_code
    return out

def folder_of(out, recipe):
    "The folder of the run by a recipe"
    specs = {p.parent: json.loads(p.read_text())['spec'] for p in out.glob('*/run.json')}
    return next(k for k,v in specs.items() if v['recipe'] == recipe)

def steps_of(folder): return (folder/'steps.csv').read_text().splitlines()[1:]

def all_runs(folder, job=None):
    "All runs in the folder, or those of a job"
    runs = [read_run(o) for o in sorted(Path(folder).glob('wandb/offline-run-*/*.wandb'))]
    return [o for o in runs if job in (None, o['job'])]

def trained_rows(run): return [h for h in run['history'] if 'train_loss' in h]

UNREACHABLE = dict(WANDB_API_KEY='0'*40, WANDB_BASE_URL='http://127.0.0.1:9', WANDB_INIT_TIMEOUT='3')

def env(tmp, **more):
    "No key, wherever the machine may have one"
    return {k: v for k,v in os.environ.items() if not k.startswith('WANDB')} | dict(NETRC=str(tmp/'none'), **more)

def command(*args): return [sys.executable, '-c', 'from fashion_bench.cli.main import main; main()', *map(str, args)]

def shell(tmp, *args, **more):
    return subprocess.run(command(*args), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=280,
                          cwd=tmp, env=env(tmp, **more))

GRID = ('schedules', 'wardrobe', '--model', 'xresnet18', '--allow-scratch', '--subset', 'top=4,per_class=16',
        '--size', 32, '--num-workers', 0)

@pytest.fixture(scope='module')
def tracked(tmp_path_factory):
    "Two schedules, at once, without a key"
    tmp = tmp_path_factory.mktemp('tracked')
    schedules = '--schedules', 'ep2_bs8_lr1e-3,ep3_bs8_lr1e-3_lr1e-4', '--jobs', 2
    trackers = '--wandb', 'team/fashion', '--wandb-report', '--tensorboard', 'boards'
    return tmp, shell(tmp, *GRID, *schedules, *trackers, '--out', 'tops')

def test_no_key_is_one_warning_and_no_question(tracked):
    tmp, r = tracked
    assert r.returncode == 0, r.stderr
    assert r.stderr.count('no key for Weights & Biases') == 1 and len(r.stderr.splitlines()) == 1, r.stderr

def test_one_run_each_with_every_epoch_and_phase_at_steps_that_go_up(tracked):
    tmp, _ = tracked
    runs = all_runs(tmp/'tops', 'train')
    assert len(runs) == 2 and len({o['id'] for o in runs}) == 2
    assert {o['group'] for o in runs} == {'tops'} and {o['project'] for o in runs} == {'fashion'}
    for o in runs:
        steps = steps_of(folder_of(tmp/'tops', o['config']['recipe']))
        rows, at = trained_rows(o), [h['_step'] for h in o['history']]
        assert at == sorted(at) and [h['_step'] for h in rows] == list(range(1, len(steps)+1))
        assert {h['phase'] for h in rows} == {s.split(',')[1] for s in steps}
        epochs = {h['epoch'] for h in rows}
        assert epochs == {int(s.split(',')[2]) for s in steps}
        assert sum('accuracy' in h and 'valid_loss' in h for h in rows) == max(epochs)
        assert all('learning_rate' in h for h in rows)
        assert o['exit'] == 0 and any('confusion_test' in k for h in o['history'] for k in h)
        assert not any(isinstance(v, dict) for k,v in o['config'].items() if not k.startswith('_'))

def test_the_leaderboard_and_the_report_are_there(tracked):
    tmp, _ = tracked
    boards = all_runs(tmp/'tops', 'leaderboard')
    assert len(boards) == 1 and 'report' in boards[0]['artifacts']
    assert any('leaderboard' in k for h in boards[0]['history'] for k in h)
    assert (tmp/'tops/schedules-fastai-xresnet18.png').exists()
    assert (tmp/'tops/report.html').read_text(encoding='utf-8').startswith('<!DOCTYPE html>')

def test_tensorboard_has_the_same_series(tracked):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    tmp, _ = tracked
    for o in (tmp/'boards').iterdir():
        seen, steps = EventAccumulator(str(o), size_guidance=dict(scalars=0)).Reload(), steps_of(tmp/'tops'/o.name)
        assert {'learning_rate', 'train_loss', 'valid_loss', 'accuracy'} <= set(seen.Tags()['scalars'])
        assert [e.step for e in seen.Scalars('learning_rate')] == list(range(1, len(steps)+1))
    assert len(list((tmp/'boards').iterdir())) == 2

def test_tensorboard_has_a_row_for_each_run_and_no_curve_of_one_point(tracked):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    tmp, _ = tracked
    for o in (tmp/'boards').iterdir():
        record, seen = json.loads((tmp/'tops'/o.name/'run.json').read_text()), EventAccumulator(str(o)).Reload()
        figures = {k: v for k,v in record['figures'].items() if isinstance(v, (int, float))}
        metrics = {f'{split}_{k}' for split in ('valid', 'test') for k in ('accuracy', 'macro_f1')}
        assert metrics <= set(figures) and len(figures) > 20
        assert set(seen.Tags()['scalars']) == {'learning_rate', 'train_loss', 'valid_loss', 'accuracy', *metrics}
        assert all(seen.Scalars(k)[0].value == pytest.approx(figures[k], abs=1e-6) for k in metrics)
        told = {k: HParamsPluginData.FromString(v) for k,v in seen.PluginTagToContent('hparams').items()}
        assert set(told) == {'_hparams_/session_start_info', '_hparams_/session_end_info'}
        row = told['_hparams_/session_start_info'].session_start_info.hparams
        assert all(row[k].number_value == figures[k] for k in set(figures) - metrics)
        asked = record['spec']
        assert (row['model'].string_value, row['seed'].number_value) == (asked['model'], asked['seed'])

def test_runs_are_sent_later_from_their_records_alone(tracked):
    tmp, _ = tracked
    before = {o['id']: o for o in all_runs(tmp/'tops')}
    r = shell(tmp, 'wandb-sync', 'tops', '--project', 'fashion')
    assert r.returncode == 2 and 'there is no key' in r.stderr and len(r.stderr.splitlines()) == 1
    r = shell(tmp, 'wandb-sync', 'tops', '--project', 'fashion', WANDB_MODE='offline')
    assert r.returncode == 0, r.stderr
    assert '2 runs: fashion, written to tops/wandb as WANDB_MODE says; nothing was sent' in r.stdout, r.stderr
    after = {o['id']: o for o in all_runs(tmp/'tops')} # the same runs, with the same curves
    assert set(after) == set(before)
    def last_loss(run): return trained_rows(run)[-1]['train_loss']
    for k, o in after.items():
        if o['job'] == 'train': assert last_loss(o) == last_loss(before[k])
    r = shell(tmp, 'wandb-sync', 'tops', '--project', 'fashion', **UNREACHABLE)
    assert r.returncode == 2 and 'cannot be reached' in r.stderr.splitlines()[-1], r.stderr

def test_two_processes_that_share_a_grid_tell_each_run_once(tmp_path):
    ask = command(*GRID, '--schedules', 'ep1_bs8_lr1e-3,ep1_bs8_lr2e-3,ep1_bs8_lr3e-3',
                  '--wandb', 'fashion', '--tensorboard', 'boards', '--out', 'shared')
    how = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    both = [subprocess.Popen(ask, cwd=tmp_path, env=env(tmp_path), **how) for _ in range(2)]
    said = [o.communicate(timeout=280) for o in both]
    assert [o.returncode for o in both] == [0, 0], said
    assert all(len(e.splitlines()) == 1 for _,e in said), said
    assert all('being done by another process' in o for o,_ in said) or any('on disk already' in o for o,_ in said)
    runs = all_runs(tmp_path/'shared', 'train')
    assert len(runs) == 3 and len({o['id'] for o in runs}) == 3 and len(list((tmp_path/'boards').iterdir())) == 3
    for o in runs:
        steps = steps_of(folder_of(tmp_path/'shared', o['config']['recipe']))
        assert [h['_step'] for h in trained_rows(o)] == list(range(1, len(steps)+1)) and o['exit'] == 0
    assert len(all_runs(tmp_path/'shared', 'leaderboard')) == 1

def test_without_a_network_it_goes_on_offline_and_says_so(tmp_path):
    r = shell(tmp_path, *GRID, '--schedules', 'ep1_bs8_lr1e-3', '--wandb', 'fashion', '--out', 'runs', **UNREACHABLE)
    assert r.returncode == 0 and len(r.stderr.splitlines()) == 1, r.stderr
    assert 'cannot be reached' in r.stderr and 'wandb-sync runs' in r.stderr, r.stderr
    runs = {o['job']: o for o in all_runs(tmp_path/'runs')}
    steps = steps_of(next((tmp_path/'runs').glob('*/steps.csv')).parent)
    assert len(trained_rows(runs['train'])) == len(steps)

BAD = """
import os, time, warnings
from fashion_bench.follow.followers import Follower, Tracker
class Hangs(Tracker):
    def log(self, *args): time.sleep(999)
    def follow(self, out): return Follower(self, out, patience=3)
class Dies(Tracker):
    def begin(self, *args): os._exit(3)
class Fails(Tracker):
    def end(self, *args): raise RuntimeError('no room')
"""

TRACKED = """
from fashion_bench.all import *
import bad, pandas as pd
table = load_table('wardrobe', subset='top=4,per_class=16')
records = bench(table, 'xresnet18', 'runs', allow_scratch=True, recipe='ep1_bs8_lr1e-3', size=32, num_workers=0,
                track=[bad.Hangs(), bad.Dies(), bad.Fails()])
print([o['status'] for o in records])
"""

def test_a_tracker_that_hangs_or_dies_costs_nothing(tmp_path):
    (tmp_path/'bad.py').write_text(BAD)
    r = subprocess.run([sys.executable, '-c', TRACKED], capture_output=True, text=True, cwd=tmp_path,
                       env=env(tmp_path, PYTHONPATH=str(tmp_path)), timeout=200)
    assert "['finished']" in r.stdout, r.stderr
    assert 'Hangs: it was not done 3 seconds after' in r.stderr, r.stderr
    assert 'Dies: its process ended with exit code 3: it said nothing' in r.stderr and 'no room' in r.stderr, r.stderr

LOADED = """
import sys
sys.modules['wandb'] = None
from fashion_bench.runs.predictor import load_predictor
load_predictor(sys.argv[1])
print('loaded')
"""

def test_models_and_other_modules_do_not_know_of_it(tracked):
    tmp, _ = tracked
    run = next((tmp/'tops').glob('*/model.json')).parent
    assert shell(tmp, 'export', run, '--to', 'model').returncode == 0
    for o in (tmp/'model').iterdir(): assert b'wandb' not in o.read_bytes().lower()
    home = Path(__file__).parent.parent/'fashion_bench'
    assert [o.name for o in home.rglob('*.py') if 'import wandb' in o.read_text(encoding='utf-8')] == ['tracking.py']
    r = subprocess.run([sys.executable, '-c', LOADED, str(tmp/'model')], capture_output=True, text=True)
    assert r.stdout.strip() == 'loaded'

MISSING = """
import sys
sys.modules['wandb'] = None
import importlib.util as u
find = u.find_spec
u.find_spec = lambda n, *a: None if n in ('wandb', 'tensorboard') else find(n, *a)
sys.argv = ['fashion-bench', 'run', 'wardrobe', '--models', 'xresnet18', '--out', 'runs', *sys.argv[1:]]
from fashion_bench.cli.main import main
main()
"""

def test_what_is_missing_is_said_before_anything_starts(tmp_path):
    for flag, extra in (('--wandb', 'wandb'), ('--tensorboard', 'tensorboard')):
        r = subprocess.run([sys.executable, '-c', MISSING, flag, 'x'], capture_output=True, text=True, cwd=tmp_path,
                           env=env(tmp_path))
        assert r.returncode == 2 and f"pip install 'fashion-bench[{extra}]'" in r.stderr, r.stderr
        assert not (tmp_path/'runs').exists()
