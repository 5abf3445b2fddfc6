"What a user meets at the command line: bad input in a line, exit codes, and nothing half-written."
import io, json, os, subprocess, sys, warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from PIL import Image
from fashion_bench.data.wardrobe import draw_wardrobe
from fashion_bench.cli.main import main

SHARED = Path(__file__).parent.parent.parent/'shared'/'data'

def fashion_bench(*args, timeout=600, **kwargs):
    cmd = [sys.executable, '-c', 'from fashion_bench.cli.main import main; main()', *map(str, args)]
    return subprocess.run(cmd, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout, **kwargs)

def here(*args):
    "The same in this process, for what is refused before anything starts: imports would take most of the time"
    out, err, argv = io.StringIO(), io.StringIO(), ['fashion-bench', *map(str, args)]
    with (redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings(),
          patch.dict(os.environ), patch.object(sys, 'argv', argv)):
        try: main()
        except SystemExit as e: return SimpleNamespace(returncode=e.code, stdout=out.getvalue(), stderr=err.getvalue())
    raise AssertionError('it did not exit')

def run(data, out, *more, models='resnet34'):
    "The words of a `run` command"
    return 'run', data, '--models', models, '--out', out, *more

def record(out):
    "What the first run in `out` left in its run.json"
    return json.loads(next(Path(out).glob('*/run.json')).read_text())

def photos(root, classes=('dress', 'jeans'), n=12):
    for k,c in enumerate(classes):
        (root/c).mkdir(parents=True)
        for i in range(n): Image.new('RGB', (40, 40), (80*k, 20*i, 90)).save(root/c/f'{i}.jpg')
    return root

@pytest.fixture(scope='module')
def deepfashion(tmp_path_factory): return draw_wardrobe(tmp_path_factory.mktemp('df')/'wardrobe')

def tree(root): return sorted((o.relative_to(root).as_posix(), o.stat().st_mtime_ns) for o in Path(root).rglob('*'))

def refused(r, *words):
    "Exit code 2, one or two lines that hold `words`, no traceback"
    assert r.returncode == 2, r.stdout + r.stderr
    assert 'Traceback' not in r.stderr and len(r.stderr.strip().splitlines()) <= 2, r.stderr
    for o in words: assert o in r.stderr, r.stderr

IMPORTED = """
import sys
from fashion_bench.cli.main import app
print(sorted({'torch', 'fastai', 'timm', 'pandas', 'matplotlib'} & set(sys.modules)))
"""

def test_help_needs_no_heavy_import():
    r = subprocess.run([sys.executable, '-c', IMPORTED], capture_output=True, text=True)
    assert r.stdout.strip() == '[]', r.stdout + r.stderr
    assert 'demo' in fashion_bench('--help').stdout

def test_data_that_is_not_there(tmp_path):
    refused(fashion_bench(*run(tmp_path/'none', tmp_path/'runs')), 'there is no file or folder', 'none')
    assert not (tmp_path/'runs').exists()

def test_folder_without_images(tmp_path):
    (tmp_path/'photos').mkdir()
    refused(here(*run(tmp_path/'photos', tmp_path/'runs')), 'holds no images')
    assert not (tmp_path/'runs').exists()

def test_one_class_only(tmp_path):
    refused(here(*run(photos(tmp_path/'photos', ['dress']), tmp_path/'runs')), 'one class', 'dress')
    assert not (tmp_path/'runs').exists()

@pytest.mark.parametrize('name', [
    'Anno_coarse/list_category_cloth.txt', 'Anno_coarse/list_category_img.txt',
    'Eval/list_eval_partition.txt', 'Anno_coarse/list_bbox.txt'])
def test_deepfashion_with_a_list_missing(deepfashion, tmp_path, name):
    moved = (deepfashion/name).rename(tmp_path/'kept')
    try: refused(here(*run(deepfashion, tmp_path/'runs')), Path(name).name, 'Expected the lists in')
    finally: moved.rename(deepfashion/name)
    assert not (tmp_path/'runs').exists()

def test_deepfashion_with_a_wrong_count(deepfashion, tmp_path):
    file = deepfashion/'Anno_coarse/list_category_img.txt'
    text = file.read_text()
    file.write_text(text.replace('600\n', '599\n', 1))
    try: refused(here(*run(deepfashion, tmp_path/'runs')), 'list_category_img.txt, line 1', '599', '600')
    finally: file.write_text(text)

def test_deepfashion_with_images_absent(deepfashion, tmp_path):
    img = next((deepfashion/'Img/img').glob('*/*.jpg'))
    moved = img.rename(tmp_path/'kept.jpg')
    try: refused(here(*run(deepfashion, tmp_path/'runs')), '1 of 600 listed images', img.name)
    finally: moved.rename(img)

def test_unknown_model(tmp_path):
    ask = run(photos(tmp_path/'photos'), tmp_path/'runs', models='timm/effcientnet_b0')
    refused(here(*ask), 'did you mean timm/efficientnet_b0')
    assert not (tmp_path/'runs').exists()

def test_weights_of_another_architecture(tmp_path):
    import timm, torch
    torch.save(timm.create_model('resnet18').state_dict(), tmp_path/'resnet18.pth')
    weights = '--weights', tmp_path/'resnet18.pth'
    ask = run(photos(tmp_path/'photos'), tmp_path/'runs', *weights, '--bs', 8, models='timm/resnet34')
    refused(here(*ask), 'does not hold weights of timm/resnet34')
    assert not (tmp_path/'runs').exists()

def test_out_that_cannot_be_written(tmp_path):
    (tmp_path/'file').write_text('kept')
    data = photos(tmp_path/'photos')
    lite0 = dict(models='timm/tf_efficientnet_lite0')
    refused(here(*run(data, tmp_path/'file', '--bs', 8, **lite0)), 'cannot write to')
    assert (tmp_path/'file').read_text() == 'kept'
    refused(here(*run(data, data/'runs', '--bs', 8, **lite0)), "inside the data's folder")

def test_recipe_that_makes_no_sense(tmp_path):
    data = photos(tmp_path/'photos')
    one_model = 'run', data, '--models', 'resnet34'
    refused(here(*one_model, '--epochs', 0), 'at least 1 epoch')
    refused(here(*one_model, '--bs', 500, '--out', tmp_path/'runs'), 'batch size 500 does not fit')
    twice = '--recipe', 'ep1_bs8_lr1e-3', '--lr', 'auto', '--freeze-epochs', 2
    refused(here(*one_model, *twice), '--recipe says it all', 'leave out --freeze-epochs, --lr')
    schedules = 'schedules', data, '--model', 'resnet34'
    refused(here(*schedules, '--schedules', ''), 'names no recipe')
    refused(here(*schedules, '--schedules', 'ep1_bs8'), 'has no lr')
    refused(here(*schedules, '--schedules', 'ep1_bsx_lr1'), "'bsx' at character 5")
    refused(here(*schedules, '--seeds', 0), '--seeds takes how many')
    (data/'a.txt').touch()
    refused(here(*schedules, '--wandb', '', '--out', tmp_path/'runs'), 'a project is a name')
    refused(here(*schedules, '--wandb', 'a/b/c', '--out', tmp_path/'runs'), 'a project is a name')
    refused(here(*schedules, '--tensorboard', data/'a.txt', '--out', tmp_path/'runs'), 'cannot write to the folder')
    unknown = "unknown tracker 'mlflow'; there are tensorboard, wandb"
    boards = f"tensorboard={tmp_path/'boards'}"
    refused(here(*schedules, '--track', boards, '--track', 'mlflow', '--out', tmp_path/'runs'), unknown)
    refused(here(*schedules, '--track', 'wandb', '--out', tmp_path/'runs'), 'write wandb=PROJECT')
    (tmp_path/'g.toml').write_text('data = "wardrobe"\nmodels = "xresnet18"\ntrack = ["mlflow=here"]\n')
    refused(here('run', tmp_path/'g.toml', '--out', tmp_path/'runs'), unknown)

def test_grid_files_with_mistakes(tmp_path):
    (tmp_path/'g.toml').write_text('data = "wardrobe"\nmodels = "xresnet18"\nseedz = 3\n')
    refused(here('run', tmp_path/'g.toml', '--out', tmp_path/'runs'), "unknown setting 'seedz'", 'did you mean seed')
    refused(here('run', tmp_path/'none.toml'), 'there is no grid file')
    refused(here('run', 'wardrobe'), 'say which models')
    ask = run('wardrobe', tmp_path/'runs', '--bs', 8, models='xresnet18')
    refused(here(*ask, '--budget', 'soon'), "'soon' is no time")
    refused(here(*ask, '--jobs', 'many'), 'a number of runs at once')
    refused(here(*ask, '--precision', 'int8'), 'there are auto, fp32, bf16, fp16')
    assert not (tmp_path/'runs').exists()

def test_show_without_runs(tmp_path):
    refused(here('show', tmp_path), 'holds no runs')
    refused(here('models', 'zzzz'), 'no model')
    refused(here('models', 'resnet', '--max-params', 'few'), 'takes a number such as 30M')
    refused(here('models', '*', '--speed'), 'measures up to 20 models')

def test_a_model_is_timed_and_the_cache_is_dropped(tmp_path):
    r = fashion_bench('models', 'timm/test_resnet.r160_in1k', '--speed', '--size', 64, '--bs', 4, '--json')
    said = json.loads(r.stdout)
    assert len(said) == 1 and min(said[0][o] for o in ('forward_per_s', 'step_per_s')) > 0, r.stdout + r.stderr
    env = os.environ | dict(FASHION_BENCH_CACHE=str(tmp_path))
    (tmp_path/'decoded').mkdir()
    (tmp_path/'decoded/x.npy').write_bytes(bytes(3*2**20))
    assert '3.0 MB' in fashion_bench('cache', env=env).stdout
    assert '3 MB freed' in fashion_bench('cache', '--drop', env=env).stdout and not (tmp_path/'decoded').exists()
    tmp_path.mkdir(exist_ok=True)
    (tmp_path/'mine.txt').write_text('mine')
    with patch.dict(os.environ, FASHION_BENCH_CACHE=str(tmp_path/'mine.txt')):
        refused(here('cache', '--drop'), 'mine.txt is a file')
    assert (tmp_path/'mine.txt').read_text() == 'mine'
    refused(here('weights', 'fetch', 'timm/tf_efficientnet_lite0', '--to', tmp_path/'mine.txt'), 'mine.txt is a file')

def test_sizes_groups_and_heads_that_are_none(tmp_path):
    ask = run(photos(tmp_path/'photos'), tmp_path/'runs', '--bs', 8)
    refused(here(*ask, '--size', 'big'), "numbers of pixels or 'native'")
    refused(here(*ask, '--groups', 'two'), 'there are even, fastai, layerwise')
    refused(here(*ask, '--head', 'mlp'), 'there are fastai, linear')
    refused(here(*ask, '--weights-dir', tmp_path/'none'), 'there is no folder of weights')
    refused(here(*ask, '--split', 'mine'), 'there are official, random, product')
    refused(here(*ask, '--licence', 'commercial'), 'of none of these models is commercial', 'resnet34 (unknown)')
    refused(here(*ask, '--licence', 'free'), "unknown licence 'free'; there are commercial, unknown, permissive")
    assert not (tmp_path/'runs').exists()

def test_weights_are_fetched_and_found_without_a_network(tmp_path):
    r = fashion_bench('weights', 'fetch', 'timm/tf_efficientnet_lite0', '--to', tmp_path/'w')
    assert r.returncode == 0 and 'timm-tf_efficientnet_lite0.in1k.safetensors' in r.stdout, r.stderr
    how = '--weights-dir', tmp_path/'w', '--size', 32, '--epochs', 1, '--bs', 8, '--drop-models'
    two = 'timm/convnextv2_atto,timm/tf_efficientnet_lite0'
    ask = run(photos(tmp_path/'photos'), tmp_path/'runs', *how, '--licence', 'commercial', models=two)
    r = fashion_bench(*ask)
    assert r.returncode == 0, r.stdout + r.stderr
    assert '1 of 2 models are left out' in r.stderr and 'timm/convnextv2_atto (cc-by-nc-4.0)' in r.stderr
    found = record(tmp_path/'runs')['source'] # of the one that was trained
    assert found['licence'] == 'apache-2.0'
    assert found['source'].startswith(str(tmp_path/'w')) and found['weights'] == 'pretrained'
    assert len(found['digest']) == 16
    assert not list((tmp_path/'runs').glob('*/model.safetensors'))

def test_a_run_twice_trains_once_and_leaves_the_data_alone(tmp_path):
    data, out = photos(tmp_path/'photos'), tmp_path/'runs'
    before = tree(data)
    def records(): return {o: o.read_bytes() for o in out.glob('*/run.json')}

    how = '--size', 64, '--epochs', 1, '--bs', 8, '--allow-scratch', '--num-workers', 0
    ask = run(data, out, *how, models='timm/tf_efficientnet_lite0,fastai/xresnet18')
    first = fashion_bench(*ask)
    assert first.returncode == 0, first.stdout + first.stderr
    assert 'few images' in first.stdout # the audit that needs no decoding
    assert 'scratch' in first.stdout and 'there are 2; it takes at least 3' in first.stdout # no chart says nothing
    assert not (out/'efficiency.png').exists()
    once = records()
    second = fashion_bench(*ask)
    assert second.returncode == 0 and second.stdout.count('on disk already') == 2
    assert records() == once and len(once) == 2
    assert tree(data) == before

    # the records, turned into a file, are the same grid
    assert fashion_bench('grid', out, '--to', tmp_path/'grid.toml').returncode == 0
    ask = 'run', tmp_path/'grid.toml', '--num-workers', 0, '--out', out
    third = fashion_bench(*ask)
    assert third.returncode == 0 and third.stdout.count('on disk already') == 2, third.stdout + third.stderr
    plan = fashion_bench(*ask, '--seeds', 2, '--dry-run')
    assert plan.returncode == 0, plan.stdout + plan.stderr
    said = '4 runs, 2 of them on disk already', 'in all', 'GB are free'
    assert [o for o in said if o not in plan.stdout] == [], plan.stdout + plan.stderr
    assert records() == once

    # a run predicts
    folder, dress = next(out.glob('timm-*')), (data/'dress', '--top', 1, '--json')
    said = json.loads(fashion_bench('predict', folder, *dress).stdout)
    assert len(said) == 12 and {o['class'] for o in said} <= {'dress', 'jeans'}
    assert all(.5 <= o['probability'] <= 1 for o in said)
    (tmp_path/'bad.jpg').write_text('<html>')
    r = fashion_bench('predict', folder, data/'dress/1.jpg', tmp_path/'bad.jpg')
    assert r.returncode == 0 and 'not an image' in r.stdout and '1 image(s) cannot be read' in r.stderr

    # and so does its model in another place
    assert fashion_bench('export', folder, '--to', tmp_path/'model').returncode == 0
    assert sorted(o.name for o in (tmp_path/'model').iterdir()) == ['README.md', 'model.json', 'model.safetensors']
    moved = json.loads(fashion_bench('predict', tmp_path/'model', *dress, cwd=tmp_path).stdout)
    assert moved == said
    refused(here('predict', tmp_path, data/'dress'), 'has no model.json')
    refused(here('predict', folder, tmp_path/'none.jpg'), 'there is no file, folder or image that matches')

@pytest.mark.skipif(not SHARED.exists(), reason='needs the real photos beside the repository')
def test_weights_out_of_reach_are_a_failed_row_within_seconds(tmp_path):
    nowhere, how = 'http://127.0.0.1:9', ('--size', 96, '--epochs', 1)
    ask = run(SHARED/'deepfashion-mini', tmp_path/'runs', *how, models='torchvision/resnet18')
    env = os.environ | dict(TORCH_HOME=str(tmp_path/'torch'), HTTPS_PROXY=nowhere, https_proxy=nowhere)
    r = fashion_bench(*ask, env=env, timeout=90)
    assert r.returncode == 1 and 'cannot be reached' in r.stdout, r.stdout + r.stderr
    from fashion_bench.results.records import load_runs
    assert load_runs(tmp_path/'runs').status.tolist() == ['failed']

def test_an_audit_finds_every_kind_of_bad_file_and_changes_nothing(tmp_path):
    data = photos(tmp_path/'photos')
    files = sorted((data/'dress').iterdir())
    Image.effect_noise((64, 64), 80).save(files[0])
    files[0].write_bytes(files[0].read_bytes()[:-200])
    files[1].write_bytes(b'')
    files[2].write_text('<html>')
    files[3].write_bytes(files[4].read_bytes())
    Image.new('1', (20000, 9500)).save(data/'jeans/huge.png')
    before = tree(data)
    r = fashion_bench('audit', data, '--out', tmp_path/'audit')
    assert r.returncode == 0, r.stderr
    found = json.loads((tmp_path/'audit/audit.json').read_text())
    reasons = sorted(o['detail'].split(':')[0] for o in found['findings'] if o['kind'] == 'unreadable')
    assert reasons == ['empty', 'not an image', 'too large', 'truncated']
    assert found['counts']['duplicate'] + found['counts'].get('across splits', 0) >= 1
    refused(here('audit', data, '--out', data/'audit'), "inside the data's folder")
    assert tree(data) == before

def test_bad_files_are_left_out_or_refused(tmp_path):
    data = photos(tmp_path/'photos')
    (data/'dress/0.jpg').write_bytes(b'')
    how = '--size', 64, '--epochs', 1, '--bs', 8, '--num-workers', 0, '--audit'
    ask = run(data, tmp_path/'runs', *how, models='timm/tf_efficientnet_lite0')
    refused(here(*ask), '1 image(s) cannot be read', '0.jpg', '--on-bad skip')
    r = fashion_bench(*ask, '--on-bad', 'skip')
    assert r.returncode == 0, r.stdout + r.stderr
    assert record(tmp_path/'runs')['data']['images']['train'] == 19
    from fashion_bench.results.report import report_html
    assert 'Audit: 1 file that cannot be read' in report_html(tmp_path/'runs') # it was kept beside the runs

@pytest.mark.skipif(not SHARED.exists(), reason='needs the real photos beside the repository')
def test_the_audit_of_real_photos_counts_the_products_that_straddle_the_splits(tmp_path):
    assert fashion_bench('audit', SHARED/'deepfashion-mini', '--out', tmp_path).returncode == 0
    assert json.loads((tmp_path/'audit.json').read_text())['counts']['shared product'] == 197

def listed(root, absent=2):
    "A CSV of photos of which some are not there, in a folder with files that are called as Python's own modules are"
    photos(root/'photos', n=12)
    names = [o.relative_to(root/'photos').as_posix() for o in sorted((root/'photos').rglob('*.jpg'))]
    names += [f'dress/gone{i}.jpg' for i in range(absent)]
    rows = [f'{o},{o.split("/")[0]}' for o in names]
    (root/'photos.csv').write_text('\n'.join(['image,label', *rows]))
    for o in ('statistics', 'random', 'json'):
        (root/f'{o}.py').write_text('raise SystemExit("this is not Python\'s own")')
    return root

def test_photos_that_are_missing_are_found_left_out_and_named_in_a_folder_with_any_files(tmp_path):
    listed(tmp_path)
    script = Path(sys.executable).parent/'fashion-bench'
    def typed(*args):
        return subprocess.run([script, *map(str, args)], capture_output=True, text=True, cwd=tmp_path,
                              stdin=subprocess.DEVNULL, timeout=600)
    data = ('photos.csv', '--root', 'photos')
    r = typed('audit', *data)
    assert r.returncode == 0 and '2 unreadable' in r.stdout and 'dress/gone0.jpg' in r.stdout, r.stdout + r.stderr
    how = ('--models', 'fastai/xresnet18', '--weights', 'scratch', '--size', 32, '--bs', 4,
           '--epochs', 1, '--freeze-epochs', 0, '--num-workers', 0, '--seed', 7)
    refused(typed('run', *data, *how), '2 of 26 listed images are not on disk', '--on-bad skip')
    assert not (tmp_path/'runs').exists()
    r = typed('run', *data, *how, '--on-bad', 'skip')
    assert r.returncode == 0, r.stdout + r.stderr
    assert '2 of 26 images are left out' in r.stdout and 'were left out; run.json names them' in r.stdout, r.stdout
    assert 'No test split' in r.stdout and '--split random' in r.stdout
    found = record(tmp_path/'runs')
    gone = {'dress/gone0.jpg': 'missing', 'dress/gone1.jpg': 'missing'}
    assert found['data']['left_out'] == dict(count=2, images=gone)
    machine = found['environment']
    assert machine['cpu'] and machine['threads'] >= 1 and machine['jobs'] == 1
    assert found['inputs']['size'] == 32 and found['network']['dropout'] == 0
    assert 0 <= found['figures']['busy_share'] <= 1
    # the records as a grid file run the same again: there is nothing left to do
    assert typed('grid', 'runs').returncode == 0
    r = typed('run', 'grid.toml', '--num-workers', 0)
    assert r.returncode == 0 and r.stdout.count('(on disk already)') == 1, r.stdout + r.stderr

def test_settings_that_say_one_thing_twice(tmp_path):
    grid = 'data = "wardrobe"\nmodels = "small"\nrecipe = "ep10_bs64_lr2e-3"\nbs = 8\n'
    (tmp_path/'grid.toml').write_text(grid)
    ask = 'run', tmp_path/'grid.toml', '--out', tmp_path/'runs'
    refused(here(*ask), 'grid.toml: recipe says it all', 'leave out bs')
    assert not (tmp_path/'runs').exists()

@pytest.mark.parametrize('fault', [
    ValueError('operands could not be broadcast together'), KeyError('label'),
    FileNotFoundError(2, 'No such file', '/tmp/ours')])
def test_a_fault_of_ours_keeps_its_traceback(fault):
    with patch('fashion_bench.data.sources.load_table', side_effect=fault):
        r = here('run', 'wardrobe', '--models', 'resnet18')
    assert r.returncode == 1 and 'Traceback' in r.stderr and type(fault).__name__ in r.stderr
    assert 'log.txt' in r.stderr.splitlines()[-1]
