"""A Ray cluster of several nodes on this machine: nodes come, die and lack things, and the outcome is that of one
machine."""
import os, shutil, subprocess, sys, threading, time

os.environ |= dict(RAY_USAGE_STATS_ENABLED='0', RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER='0') # this machine alone
import numpy as np
import psutil
import pytest
ray = pytest.importorskip('ray', reason='Ray is not installed: pip install "fashion-bench[ray]"')
from ray.cluster_utils import Cluster

from fashion_bench.base.record import read_record
from fashion_bench.data.sources import load_table
from fashion_bench.follow.progress import BenchProgress
from fashion_bench.runs.bench import bench
from fashion_bench.runs.engines.ray import Ray
from fashion_bench.training.recipes import Recipe

pytestmark = pytest.mark.ray
SMALL = dict(models='timm/test_resnet', weights='scratch', recipe=Recipe(7, 1, bs=8), size=32, num_workers=0,
             keep_model=False)

@pytest.fixture(scope='module')
def cluster():
    "A head that takes no runs; each test adds nodes"
    found = Cluster(initialize_head=True, head_node_args=dict(num_cpus=0, include_dashboard=False))
    ray.init(found.address, log_to_driver=False, logging_level='error')
    yield found
    ray.shutdown()
    found.shutdown()

@pytest.fixture(scope='module')
def table(): return load_table('wardrobe', subset='top=4,per_class=16')

@pytest.fixture(scope='module')
def undisturbed(table, tmp_path_factory):
    "The same runs by the local engine"
    out = tmp_path_factory.mktemp('undisturbed')
    bench(table, out=out, seeds=6, progress=Told(), **SMALL)
    return out

class Told(BenchProgress):
    "Keeps what is said, and calls when an epoch of another run is over"
    def __init__(self, on_epoch=lambda runs: None): self.lines, self.runs, self.on_epoch = [], [], on_epoch
    def say(self, text): self.lines.append(text)
    def on_event(self, spec, event):
        super().on_event(spec, event)
        if event['event'] != 'accuracy' or spec.id in self.runs: return
        self.runs.append(spec.id)
        self.on_epoch(len(self.runs))

def hidden(folders):
    "A command that gives what follows a disk on which `folders` are empty; skips where that cannot be had"
    command = ' && '.join([f'mount -t tmpfs none {o}' for o in folders])
    if os.name == 'nt' or subprocess.run(['unshare', '-m', 'sh', '-c', command], capture_output=True).returncode:
        pytest.skip('a node with a disk of its own needs Linux and its administrator')
    return ['unshare', '-m', 'sh', '-c', f'{command} && exec "$@"', 'sh']

# `ray start`, which refuses to start a second node that listens to this machine alone
START = '''
from types import SimpleNamespace
from ray._private import ray_constants
from ray.scripts import scripts
scripts.ray_constants = SimpleNamespace(**vars(ray_constants) | dict(ENABLE_RAY_CLUSTER=True))
scripts.main()
'''

class Node:
    "A node with one processor, on whose disk some folders are empty; of its GPUs nothing is true but their number"
    def __init__(self, cluster, *folders, gpus=0):
        start = [sys.executable, '-c', START, 'start', f'--address={cluster.address}', '--num-cpus=1',
                 f'--num-gpus={gpus}', '--block']
        before = len(ray.nodes())
        self.process = subprocess.Popen([*(hidden(folders) if folders else []), *start], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        until(lambda: len(ray.nodes()) > before)

    def kill(self):
        "As a machine dies: its Ray is gone at once"
        for p in [*psutil.Process(self.process.pid).children(recursive=True), self.process]: p.kill()
        self.process.wait()

def until(what, seconds=120):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, 'it never happened'
        time.sleep(.2)

def assert_same(records, out, undisturbed):
    assert [o['status'] for o in records] == ['finished']*len(records), [o.get('failure') for o in records]
    for o in records:
        a, b = (np.load(folder/o['folder']/'predictions.npz') for folder in (out, undisturbed))
        assert (a['image'] == b['image']).all() and (a['probs'] == b['probs']).all(), o['folder']
        assert not (out/o['folder']/'checkpoint.pt').exists()

def test_a_node_comes_and_one_dies_and_nothing_is_lost(cluster, table, undisturbed, tmp_path):
    nodes = [Node(cluster)]
    def on_epoch(n):
        if n == 1: threading.Thread(target=lambda: nodes.append(Node(cluster))).start()
        if n == 4: nodes[0].kill() # each of the two has a run then
    told = Told(on_epoch)
    records = bench(table, out=tmp_path/'runs', engine=Ray(cpus_per_run=1), seeds=6, progress=told,
                    **SMALL)
    nodes[1].kill()
    assert_same(records, tmp_path/'runs', undisturbed)
    assert any(o['resumed'] for o in records), told.lines
    assert sum('goes on elsewhere, from its last checkpoint' in o for o in told.lines) == 1, told.lines
    assert len(nodes) == 2 and not (tmp_path/'runs/.token').exists()

@pytest.fixture
def photos(tmp_path):
    "Photos in folders, on the disk of this machine"
    wardrobe = load_table('wardrobe', subset='top=4,per_class=16')
    for root, image, split, label in wardrobe[['root', 'image', 'split', 'label']].itertuples(index=False):
        to = tmp_path/'photos'/split/label
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(f'{root}/{image}', to)
    return tmp_path/'photos'

def test_a_node_with_a_disk_of_its_own_sends_home_what_it_does(cluster, photos, tmp_path, monkeypatch):
    for o in ('cache', 'runs'): (tmp_path/o).mkdir()
    monkeypatch.setenv('FASHION_BENCH_CACHE', str(tmp_path/'cache'))
    table, nodes = load_table(photos), [Node(cluster, tmp_path/'cache', tmp_path/'runs')]
    def change_nodes():
        until(lambda: list((tmp_path/'runs').glob('*/checkpoint.pt'))) # it was sent home
        nodes[0].kill()
        nodes.append(Node(cluster))
    told = Told(lambda n: threading.Thread(target=change_nodes).start())
    longer = SMALL | dict(recipe=Recipe(11, 1, bs=8))
    record, = bench(table, out=tmp_path/'runs', engine=Ray(cpus_per_run=1), progress=told, **longer)
    nodes[1].kill()
    bench(table, out=tmp_path/'here', progress=Told(), **longer)
    assert_same([record], tmp_path/'runs', tmp_path/'here')
    assert record['resumed'] and record['resumed'][0] >= 1, told.lines

def test_a_node_without_the_photos_is_named_and_gets_no_runs(cluster, photos, tmp_path, monkeypatch):
    (tmp_path/'cache').mkdir()
    monkeypatch.setenv('FASHION_BENCH_CACHE', str(tmp_path/'cache'))
    table, told = load_table(photos), Told()
    elsewhere, node = Node(cluster, tmp_path/'cache', photos), Node(cluster)
    records = bench(table, out=tmp_path/'runs', engine=Ray(cpus_per_run=1), seeds=3, progress=told, **SMALL)
    assert [o['status'] for o in records] == ['finished']*3
    said = [o for o in told.lines if 'lacks the photos' in o]
    assert len(said) == 1 and 'no run is given to it' in said[0] and str(photos) in said[0], told.lines
    node.kill()
    record, = bench(table, out=tmp_path/'none', engine=Ray(cpus_per_run=1), progress=Told(), **SMALL)
    elsewhere.kill()
    assert 'no machine of the Ray cluster can do this run' in record['failure']['message']

def test_the_driver_is_killed_and_the_same_command_goes_on(cluster, tmp_path):
    node = Node(cluster)
    ask = ('run', 'wardrobe', '--subset', 'top=4,per_class=16', '--models', 'timm/test_resnet', '--weights', 'scratch',
           '--bs', 8, '--size', 32, '--epochs', 12, '--num-workers', 0, '--out', tmp_path/'runs', '--engine', 'ray')
    start = [sys.executable, '-m', 'fashion_bench', *map(str, ask)]
    env = os.environ | dict(RAY_ADDRESS=cluster.address)
    p = subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    assert next((o for o in p.stdout if 'epoch 1/13' in o), None), p.stderr.read()
    p.kill()
    p.wait()
    until(lambda: ray.available_resources().get('CPU') == 1) # its task ended with it
    r = subprocess.run(start, capture_output=True, text=True, env=env, timeout=300)
    node.kill()
    assert r.returncode == 0 and 'epoch 1/13' not in r.stdout, r.stdout + r.stderr
    record = read_record(next((tmp_path/'runs').glob('*/run.json')).parent)
    assert record['status'] == 'finished' and record['resumed'][0] >= 1

def test_a_run_takes_several_gpus_of_a_node_and_is_followed(cluster, table, tmp_path):
    node, told = Node(cluster, gpus=2), Told()
    record, = bench(table, out=tmp_path/'runs', engine=Ray(gpus_per_run=2), progress=told,
                    track=f"tensorboard={tmp_path/'curves'}", **SMALL)
    node.kill()
    assert told.runs == [record['id']] and list((tmp_path/'curves').rglob('events.*')), told.lines
    assert record['status'] == 'finished', record
    assert (record['environment']['world'], record['parallel']) == (2, dict(world=2, sync_batch_norm=True))

def test_a_folder_with_the_name_of_the_package_is_not_taken_for_it(tmp_path):
    "As where somebody cloned the repository and works beside it; Ray is started by the command"
    (tmp_path/'fashion_bench').mkdir()
    ask = ('run', 'wardrobe', '--subset', 'top=2,per_class=12', '--models', 'timm/test_resnet', '--weights', 'scratch',
           '--recipe', 'ep1_bs8_lr1e-3', '--size', '32', '--engine', 'ray', '--out', 'runs')
    r = subprocess.run([os.path.join(os.path.dirname(sys.executable), 'fashion-bench'), *ask], cwd=tmp_path,
                       capture_output=True, text=True, timeout=280)
    assert r.returncode == 0, r.stdout[-2000:] + r.stderr[-2000:]
    assert len(list((tmp_path/'runs').glob('*/run.json'))) == 1
