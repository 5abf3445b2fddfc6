"""A model in use: what is exported says what torch says, on every photo, also where there is no torch; what is not
known is said; what was measured is kept, shown and believed only if it is whole."""
import io, json, os, subprocess, sys, warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from fashion_bench.base.errors import InputError
from fashion_bench.base.record import read_sealed
from fashion_bench.cli.main import main
from fashion_bench.data.sources import load_table
from fashion_bench.data.table import fingerprint
from fashion_bench.results.details import read_speeds
from fashion_bench.results.records import load_runs
from fashion_bench.runs.predictor import load_predictor
from fashion_bench.runs.run import make_spec, run_model
from fashion_bench.use.export import export_run
from fashion_bench.use.fidelity import fidelity
from fashion_bench.use.latency import measure_latency

for o in ('onnx', 'onnxscript', 'onnxruntime'): pytest.importorskip(o)

def typed(*args):
    "A command in this process: its exit code, and what it printed"
    out, err, argv = io.StringIO(), io.StringIO(), ['fashion-bench', *map(str, args)]
    with (redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings(), patch.object(sys, 'argv', argv)):
        try: main()
        except SystemExit as e: return SimpleNamespace(code=e.code, out=out.getvalue(), err=err.getvalue())

RNG = np.random.default_rng(0)
def noise(*shape): return RNG.integers(0, 256, shape, dtype=np.uint8)
ODD = {'rgba.png': lambda: Image.fromarray(noise(40, 30, 4)), 'grey.png': lambda: Image.fromarray(noise(30, 30)),
       'palette.gif': lambda: Image.fromarray(noise(50, 40, 3)).convert('P'),
       'deep.png': lambda: Image.fromarray(RNG.integers(0, 65536, (50, 40), dtype=np.uint16)),
       'ink.jpg': lambda: Image.fromarray(noise(60, 40, 4), 'CMYK'),
       'tiny.png': lambda: Image.fromarray(noise(5, 9, 3))}

def odd_photos(folder):
    "Photos of every odd kind, one of them on its side"
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in ODD.items(): make().save(folder/name)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(40, 60, 3)).save(folder/'turned.jpg', exif=exif)
    return sorted(folder.iterdir())

def draw(root, classes=('dress', 'jeans', 'tee'), n=14):
    "Photos of coloured noise, a folder a class in each split; those of a class differ in brightness"
    for split in ('train', 'valid', 'test'):
        for k, c in enumerate(classes):
            (root/split/c).mkdir(parents=True)
            for i in range(n):
                pixels = noise(40, 40 + i, 3)*.5 + 40*k
                Image.fromarray(pixels.astype(np.uint8)).save(root/split/c/f'{i}.jpg')
    odd_photos(root/'test'/'tee')
    return root

def trained(table, out, model='timm/test_resnet', seed=42):
    spec = make_spec(fingerprint(table), model, 'scratch', 'ep2_bs8_lr3e-3', size=32, seed=seed)
    record = run_model(spec, table, out, num_workers=0, bars=False)
    assert record['status'] == 'finished', record
    return out/record['folder']

@pytest.fixture(scope='module')
def home(tmp_path_factory):
    "Photos, two seeds of a run on them, and an export of the first"
    tmp = tmp_path_factory.mktemp('use')
    with pytest.MonkeyPatch.context() as m:
        m.setenv('FASHION_BENCH_CACHE', str(tmp/'cache'))
        table = load_table(draw(tmp/'photos'))
        runs = [trained(table, tmp/'runs', seed=o) for o in (1, 2)]
        said = typed('export', runs[0], '--to', tmp/'export', '--int8', '--program')
    assert said.code == 0, said.err
    return SimpleNamespace(tmp=tmp, photos=tmp/'photos', table=table, run=runs[0], runs=tmp/'runs', said=said.out,
                           export=tmp/'export')

def test_an_export_says_what_torch_says_on_every_photo(home):
    found = pd.read_csv(home.export/'fidelity.csv').set_index(['format', 'split'])
    assert found.loc['ONNX', 'valid'].photos == 42 and found.loc['ONNX', 'test'].photos == 49
    for o in ('ONNX', 'torch.export'): assert (found.loc[o].differ == 0).all() and (found.loc[o].off < 1e-4).all()
    assert (found.loc['ONNX int8'].off > 0).all()
    assert 'ONNX, test: accuracy' in home.said and 'all 49 answers are equal' in home.said
    recorded = json.loads((home.run/'run.json').read_text())['figures']['test_accuracy']
    assert abs(found.loc['ONNX', 'test'].torch - recorded) < 1e-9 # the squares are those that were measured

def test_an_export_that_differs_is_counted(home):
    model = load_predictor(home.run)
    def torch_side(squares): return model._forward(list(squares))
    def other(squares): return torch_side(squares)[:, [1, 0, 2]]
    df = fidelity(dict(torch=torch_side, other=other), home.table, model.facts)
    probs = model.probabilities([Path(home.table.root[0])/o for o in home.table.image[home.table.split == 'test']])
    assert df.set_index('split').differ['test'] == (probs.argmax(1) != 2).sum() and df.off.max() > .01

ALONE = """
import builtins, json, sys
asked = builtins.__import__
def only(name, *args, **kwargs):
    if name.partition('.')[0] in ('torch', 'fastai', 'timm', 'pandas', 'torchvision', 'fastcore', 'fashion_bench'):
        raise ImportError(f'{name} is not installed here')
    return asked(name, *args, **kwargs)
builtins.__import__ = only
sys.path.insert(0, sys.argv[1])
import numpy as np, predict
model = predict.Model(sys.argv[1])
files = sys.argv[3:]
np.savez(sys.argv[2], squares=[model.square(o) for o in files], probs=model.probabilities(files))
"""

def test_predict_py_works_without_torch_and_cuts_the_same_squares(home, tmp_path):
    files = [*map(str, odd_photos(tmp_path/'odd')), *map(str, sorted(home.photos.glob('test/dress/*'))[:3])]
    command = [sys.executable, '-c', ALONE, home.export, tmp_path/'out.npz', *files]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=os.environ | dict(PYTHONPATH=''))
    assert done.returncode == 0, done.stderr
    model, out = load_predictor(home.run), np.load(tmp_path/'out.npz')
    assert np.array_equal(out['squares'], np.stack([model.square(o) for o in files]))
    assert np.abs(out['probs'] - model.probabilities(files)).max() < 1e-4

def test_predict_py_on_a_command_line(home, tmp_path):
    odd_photos(tmp_path)
    (tmp_path/'bad.jpg').write_text('<html>')
    command = [sys.executable, home.export/'predict.py', tmp_path, '--json', '--min-confidence', '.99', '--top', '1']
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    rows = {Path(o['image']).name: o for o in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0 and len(rows) == 8 and rows['bad.jpg']['problem'] == 'not an image', done.stderr
    assert not rows['turned.jpg']['sure']
    wanted = load_predictor(home.run).predict(tmp_path/'turned.jpg', temperature=json.loads(
        (home.export/'model.json').read_text())['temperature'])
    assert rows['turned.jpg']['classes'][0][0] == wanted['class'][0]
    assert abs(rows['turned.jpg']['classes'][0][1] - wanted.probability[0]) < 1e-4

def test_the_card_holds_what_must_be_known(home):
    text = (home.export/'README.md').read_text(encoding='utf-8')
    said = ('dress, jeans, tee', 'accuracy (95 %)', '## Where it fails', 'ONNX int8, test:', 'random weights',
            '42 train', 'fashion-bench run', 'calibration error', 'predict.py', 'The run recorded')
    assert not [o for o in said if o not in text]

def test_photos_that_are_gone_or_changed_are_not_silence(home, tmp_path):
    with patch('fashion_bench.use.fidelity.load_table', side_effect=InputError('there is no folder photos')):
        said = typed('export', home.run, '--to', tmp_path/'gone', '--onnx')
        assert said.code == 0 and 'Not checked: there is no folder photos.' in said.out
        assert 'Not checked: there is no folder photos' in (tmp_path/'gone/README.md').read_text()
        assert typed('export', home.run, '--to', tmp_path/'none', '--int8').code == 2
    other = draw(tmp_path/'other', n=4)
    said = typed('export', home.run, '--to', tmp_path/'changed', '--program', '--photos', other)
    assert said.code == 0 and 'not the photos of the run' in said.out
    assert {o.name for o in tmp_path.iterdir()} == {'gone', 'other', 'changed'}

def test_a_failed_export_leaves_the_earlier_one(home, tmp_path):
    export_run(home.run, tmp_path/'model')
    before = {o.name: o.read_bytes() for o in (tmp_path/'model').iterdir()}
    with patch('fashion_bench.use.export.write_program', side_effect=RuntimeError), pytest.raises(RuntimeError):
        export_run(home.run, tmp_path/'model', ['program'])
    assert {o.name: o.read_bytes() for o in (tmp_path/'model').iterdir()} == before
    assert len(list(tmp_path.iterdir())) == 1

def test_what_is_missing_is_said_with_how_to_get_it(home, tmp_path):
    with patch.dict(sys.modules, onnxscript=None):
        said = typed('export', home.run, '--to', tmp_path/'model', '--onnx')
    assert said.code == 2 and 'pip install "fashion-bench[onnx]"' in said.err and not list(tmp_path.iterdir())

@pytest.mark.parametrize('where', ['run', 'export'])
def test_not_sure_is_said_with_what_the_threshold_came_to(home, where):
    folder, photo = getattr(home, where), home.photos/'test/dress'
    said = typed('predict', folder, photo, '--min-confidence', '1')
    assert said.code == 0 and said.out.count('not sure') == 15 # of 14 photos, and in the sentence
    assert '14 of 14 answers are not sure. From 1.00 on, ' in said.out and '49 test photos' in said.out
    said = typed('predict', folder, photo, '--min-confidence', '0', '--json')
    assert all(o['sure'] for o in json.loads(said.out)) and '100.0% of 49 test photos are answered' in said.err
    assert typed('predict', folder, photo, '--min-confidence', '80').code == 2

def test_several_labels(home, tmp_path):
    rows = [(f'{split}/{c}/{i}.jpg', split, 'dark' if c == 'dress' else f'{c} light')
            for split in ('train', 'valid', 'test') for c in ('dress', 'jeans', 'tee') for i in range(12)]
    pd.DataFrame(rows, columns=['image', 'split', 'label']).to_csv(home.photos/'several.csv', index=False)
    run = trained(load_table(home.photos/'several.csv', label_delim=' '), tmp_path/'runs')
    found = export_run(run, tmp_path/'model', ['onnx'])
    assert found.figure.tolist() == ['map']*2 and found.differ.tolist() == [0, 0] and found.off.max() < 1e-4
    assert typed('predict', run, home.photos/'test/tee', '--min-confidence', '.5').code == 2
    text = (tmp_path/'model/README.md').read_text()
    assert 'mean average precision' in text and '| map |' in text.replace('| split | photos | map |', '| map |')

def test_latencies_are_kept_shown_and_asked_for(home):
    said = typed('speed', home.runs, '--uses', 'torch fp32,ONNX,ONNX int8', '--repeats', 5)
    assert said.code == 0 and 'ONNX int8' in said.out and 'the median, and the 95th percentile, of 5 times' in said.out
    for o in home.runs.glob('*/run.json'): assert read_sealed(o.parent/'speed.json') # of both seeds
    df = load_runs(home.runs)
    assert (df.latency_ms > 0).all() and df.latency_ms.nunique() == 1 and (df.onnx_latency_ms > 0).all()
    assert len(read_speeds(home.runs)) == 6 # formats, one photo and 32
    shown = typed('show', home.runs, '--max-latency', '1000s')
    assert shown.code == 0 and 'All 1 models take at most' in shown.out and 'test_resnet' in shown.out
    slow = typed('show', home.runs, '--max-latency', '.0001ms')
    assert slow.code == 0 and '1 of 1 models take longer' in slow.out and 'rank' not in slow.out
    assert typed('show', home.runs, '--max-latency', 'fast').code == 2

def test_a_report_has_a_part_on_use(home):
    said = typed('report', home.runs, '--out', home.tmp/'report.html')
    assert said.code == 0, said.err
    page = (home.tmp/'report.html').read_text(encoding='utf-8')
    assert 'In use</h2>' in page and 'ONNX int8' in page and 'ms a photo' in page

def test_a_damaged_speed_is_named(home):
    file = home.run/'speed.json'
    whole = file.read_text()
    try:
        file.write_text(whole.replace('"median_ms": ', '"median_ms": 1'))
        df = load_runs(home.run)
        assert df.latency_ms.isna().all() and 'speed.json is damaged' in df.note[0]
    finally: file.write_text(whole)

def test_what_cannot_be_measured(home, tmp_path):
    with patch('fashion_bench.use.latency.write_onnx', side_effect=InputError('this needs onnx')):
        found, = measure_latency(home.run, ['torch fp32', 'ONNX'], repeats=5, keep=False)
    assert found['lost'] == {'ONNX': 'this needs onnx'} and {o['format'] for o in found['rows']} == {'torch fp32'}
    assert typed('speed', tmp_path).code == 2 and typed('speed', home.run, '--uses', 'tflite').code == 2

def test_choose_leaves_out_candidates_that_are_too_slow(home):
    models = 'timm/test_resnet,timm/test_vit,timm/resnet18'
    ask = 'choose', home.photos, '--models', models, '--allow-scratch', '--size', 32
    took = {'timm/test_resnet': 3., 'timm/test_vit': 4., 'timm/resnet18': 25.}
    with (patch('fashion_bench.use.latency.candidate_latencies', lambda names, *_: {k: took[k] for k in names}),
          patch('fashion_bench.cli.main.print_choice_plan') as plan):
        said = typed(*ask, '--max-latency', '20ms', '--dry-run')
        assert said.code == 0 and '1 of 3 take longer than 20 ms and are left out: timm/resnet18 (25.0 ms).' in said.out
        assert plan.call_args.kwargs['models'] == ['timm/test_resnet', 'timm/test_vit']
        none = typed(*ask, '--max-latency', '1ms', '--dry-run')
        assert none.code == 2 and 'timm/test_resnet is quickest, with 3.0 ms' in none.err
    assert typed(*ask, '--max-latency', 'soon').code == 2
