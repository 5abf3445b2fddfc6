"""Runs as jobs: what is killed, put back into the queue or left alone by its benchmark comes to what an undisturbed run
does. With submitit's own processes on this machine, and with a real Slurm where there is one: `tools/slurm.sh` sets
one up."""
import json, os, re, shutil, signal, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_faults import assert_same, record, start, until

pytest.importorskip('submitit', reason='needs the extra slurm: submitit')

from fashion_bench.all import *
from fashion_bench.base.errors import InputError
from fashion_bench.data.table import fingerprint
from fashion_bench.runs.engines.slurm import Slurm
from fashion_bench.runs.run import make_spec, run_model

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='looks at processes as Linux shows them')

def answers():
    "Is there a Slurm?"
    return bool(shutil.which('sinfo')) and subprocess.run('sinfo', capture_output=True).returncode == 0

def with_slurm(test):
    return pytest.mark.slurm(pytest.mark.skipif(not answers(), reason='no Slurm: sinfo does not answer')(test))

DRIVER = '''
import sys
from fashion_bench.all import *
from fashion_bench.runs.engines.slurm import Slurm
out, seeds, cluster, options = sys.argv[1:]
bench(load_table('wardrobe', subset='top=4,per_class=16'), 'fastai/xresnet18', out, weights='scratch', size=32,
      recipe=Recipe(2, 1, bs=8), seeds=int(seeds), num_workers=0, keep_model=False, cache=False,
      engine=Slurm(options, cluster=cluster or None))
'''
def driver(out, seeds, cluster='', options='partition=main,time=10'):
    return [sys.executable, '-c', DRIVER, str(out), str(seeds), cluster, options]

@pytest.fixture(scope='module')
def table(): return load_table('wardrobe', subset='top=4,per_class=16')

@pytest.fixture(scope='module')
def specs(table):
    "As the driver has them"
    known = fingerprint(table), 'fastai/xresnet18', 'scratch', Recipe(2, 1, bs=8)
    return [make_spec(*known, size=32, seed=42 + i) for i in range(3)]

@pytest.fixture(scope='module')
def whole(table, specs, tmp_path_factory):
    "The folder of undisturbed runs"
    out = tmp_path_factory.mktemp('whole')
    for o in specs: run_model(o, table, out, bars=False, num_workers=0, keep_model=False)
    return out

def job_of(folder): return json.loads((folder/'slurm.json').read_text())['job']

def nothing_is_left(out):
    return not (out/'.slurm').exists() and not list(out.glob('*/slurm.json'))

def below(pid):
    "The processes that `pid` has started, and those that they have"
    parents = {}
    for o in Path('/proc').glob('[0-9]*/stat'):
        try: parents[int(o.parent.name)] = int(o.read_text().rpartition(')')[2].split()[1])
        except OSError: pass # it has just ended
    found = [pid]
    for o in found: found += [child for child, parent in parents.items() if parent == o]
    return found[1:]

def wait_for(what, seconds=180):
    "What `what()` gives when it is true"
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, 'it did not come'
        time.sleep(.2)
    return found

class Disturbed:
    "Calls something once, when a run has an accuracy"
    def __init__(self, do): self.do, self.heard = do, []

    def __call__(self, event):
        self.heard.append(event)
        if event['event'] == 'accuracy' and self.do:
            do, self.do = self.do, None
            do()

def run(engine, spec, table, out, on_event=lambda event: None):
    found = engine.run(spec, table, out, on_event, num_workers=0, keep_model=False)
    engine.close()
    return found

def killed_and_picked_up(tmp_path, specs, whole, seeds, *how):
    "Kill a benchmark when its jobs are submitted and start it again; gives their ids"
    out = tmp_path/'runs'
    p = start(driver(out, seeds, *how))
    assert f'{seeds} jobs submitted' in until(p, 'submitted')
    p.kill()
    p.wait() # its jobs go on, and on this machine print where it printed
    ids = [job_of(out/o.folder) for o in specs[:seeds]]
    r = subprocess.run(driver(out, seeds, *how), capture_output=True, text=True, timeout=400)
    assert r.returncode == 0 and 'submitted' not in r.stdout, r.stdout + r.stderr
    for o in ids: assert f'job {o} is there already' in r.stdout
    for o in specs[:seeds]:
        assert_same(out/o.folder, whole/o.folder)
        assert record(out/o.folder)['environment']['command'].startswith('-c') # the driver's, not submitit's
        assert (out/o.folder/'log.txt').exists()
    assert nothing_is_left(out)
    return ids

def test_a_grid_goes_on_when_its_benchmark_is_killed_and_the_next_one_picks_it_up(tmp_path, specs, whole):
    killed_and_picked_up(tmp_path, specs, whole, 2, 'local', 'time=1h')

def test_a_run_that_is_killed_has_failed_and_one_that_is_put_back_goes_on(tmp_path, table, specs, whole, monkeypatch):
    (tmp_path/'fashion_bench').mkdir() # as beside a clone of this repository; it is not taken for the package
    monkeypatch.chdir(tmp_path)
    spec, out, engine = specs[0], tmp_path/'runs', Slurm('time=1h', cluster='local')
    folder = out/spec.folder
    def kill(): os.kill(below(int(job_of(folder)))[-1], signal.SIGKILL) # the run itself
    found = run(engine, spec, table, out, Disturbed(kill))
    assert (found['status'], found['failure']['type']) == ('failed', 'ProcessDied'), found
    assert 'SIGKILL' in found['failure']['message'] and found['failure']['epochs'] >= 1
    assert list((out/'.slurm').glob('*/*.err')) and not (folder/'slurm.json').exists() # to see why
    def put_back(): os.kill(below(int(job_of(folder)))[0], signal.SIGUSR2) # as Slurm does it
    disturbed = Disturbed(put_back)
    found = run(engine, spec, table, out, disturbed)
    assert found['status'] == 'finished' and len(found['resumed']) == 2, found
    assert sum(o['event'] == 'epoch' for o in disturbed.heard) >= 2
    assert_same(folder, whole/spec.folder)
    assert nothing_is_left(out)

def test_jobs_on_this_machine_end_with_the_benchmark(tmp_path, table, specs):
    engine = Slurm('time=1h', cluster='local')
    spec, heard = specs[0], threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(engine.run, spec, table, tmp_path/'runs', lambda event: heard.set(), num_workers=0)
        assert heard.wait(180)
        processes = below(int(job_of(tmp_path/'runs'/spec.folder)))
        engine.close()
        with pytest.raises(InterruptedError): running.result()
    engine.close()
    wait_for(lambda: not any(Path(f'/proc/{o}/cmdline').exists() and Path(f'/proc/{o}/cmdline').read_bytes()
                             for o in processes), 30)

def squeue(*args): return subprocess.run(['squeue', '--noheader', *args], capture_output=True, text=True).stdout

@with_slurm
def test_a_grid_is_one_array_which_the_next_benchmark_picks_up(tmp_path, specs, whole):
    ids = killed_and_picked_up(tmp_path, specs, whole, 3)
    array = ids[0].partition('_')[0]
    assert sorted(ids) == [f'{array}_{i}' for i in range(3)]
    jobs = squeue('--states=all', '--array', '--format=%i %T', '--name=fashion-bench').splitlines()
    assert [o for o in jobs if int(o.split('_')[0]) > int(array)] == [] # nothing was submitted after it

def restarts(job):
    said = subprocess.run(['scontrol', 'show', 'job', job], capture_output=True, text=True).stdout
    return int(re.search(r'Restarts=(\d+)', said)[1])

@with_slurm
def test_a_job_that_gets_slurms_signal_is_put_back_and_goes_on(tmp_path, table, specs, whole):
    spec, out, jobs = specs[0], tmp_path/'runs', []
    def signal_it():
        jobs.append(job_of(out/spec.folder))
        subprocess.run(['scancel', '--signal=USR2', jobs[0]], check=True)
    found = run(Slurm('partition=main,time=20'), spec, table, out, Disturbed(signal_it))
    assert found['status'] == 'finished' and len(found['resumed']) == 1 and found['resumed'][0] >= 1, found
    assert restarts(jobs[0]) == 1
    assert_same(out/spec.folder, whole/spec.folder)
    assert nothing_is_left(out)

@with_slurm
def test_a_job_that_must_make_room_is_put_back_and_goes_on(tmp_path, table, specs, whole):
    spec = make_spec(fingerprint(table), 'fastai/xresnet18', 'scratch', Recipe(12, 1, bs=8), size=32)
    out, jobs = tmp_path/'runs', []
    def push_out():
        jobs.append(job_of(out/spec.folder))
        urgent = ['sbatch', '--partition=urgent', '--ntasks=2', '--time=1', '--output=/dev/null', '--wrap=sleep 2']
        subprocess.run(urgent, check=True, capture_output=True)
    found = run(Slurm('partition=spare,time=20'), spec, table, out, Disturbed(push_out))
    assert found['status'] == 'finished' and len(found['resumed']) == 1 and found['resumed'][0] >= 1, found
    assert restarts(jobs[0]) == 1
    run_model(spec, table, tmp_path/'whole', bars=False, num_workers=0, keep_model=False)
    assert_same(out/spec.folder, tmp_path/'whole'/spec.folder)

@with_slurm
def test_a_job_that_slurm_ends_is_a_run_that_failed(tmp_path, table, specs):
    spec, out = specs[0], tmp_path/'runs'
    def end_it(): subprocess.run(['scancel', job_of(out/spec.folder)], check=True)
    found = run(Slurm('partition=main,time=20'), spec, table, out, Disturbed(end_it))
    assert (found['status'], found['failure']['type']) == ('failed', 'ProcessDied'), found
    assert 'CANCELLED' in found['failure']['message'] and found['failure']['epochs'] >= 1, found
    assert 'CANCELLED' in (out/spec.folder/'log.txt').read_text()

@with_slurm
def test_time_that_is_over_puts_a_run_back_unless_it_got_nowhere(tmp_path, table):
    data, out = fingerprint(table), tmp_path/'runs'
    quick, slow = (make_spec(data, 'fastai/xresnet18', 'scratch', Recipe(epochs, 1, bs=8), size=size)
                   for epochs, size in ((40, 32), (1, 1536)))
    engine = Slurm('partition=main,time=2,signal_delay_s=20')
    with ThreadPoolExecutor(2) as pool:
        quick, slow = pool.map(lambda o: engine.run(o, table, out, num_workers=0, keep_model=False), (quick, slow))
    engine.close()
    assert quick['status'] == 'finished' and quick['resumed'] and quick['resumed'] == sorted(quick['resumed']), quick
    assert (slow['status'], slow['failure']['type']) == ('failed', 'TimeLimit'), slow
    assert 'ask for more' in slow['failure']['message'], slow
    assert nothing_is_left(out) is False and not list(out.glob('*/slurm.json')) # the files of the one that failed

@with_slurm
def test_what_slurm_does_not_take_is_said_before_anything_is_submitted():
    with pytest.raises(InputError, match='(?i)invalid partition'): Slurm('partition=nowhere,time=1h')

@with_slurm
def test_ctrl_c_leaves_the_jobs_in_slurm_and_says_so(tmp_path, specs):
    out = tmp_path/'runs'
    p = start(driver(out, 2))
    until(p, 'submitted')
    p.send_signal(signal.SIGINT)
    said, err = p.communicate(timeout=60)
    ids = [job_of(out/o.folder) for o in specs[:2]]
    array = ids[0].partition('_')[0]
    assert '2 jobs go on in Slurm' in said and f'`scancel {array}`' in said, said + err
    assert all(o in squeue('--array', '--format=%i') for o in ids)
    subprocess.run(['scancel', array], check=True)
