"""What goes wrong with people's data, a test of each kind: no KeyError in a late batch, no figure that is too good,
nothing left unsaid."""
import json, os, subprocess, sys, warnings
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from fashion_bench.data.audit import audit, handle_bad, look_at_images
from fashion_bench.data.cache import PixelCache, build_cache, planes, shrink
from fashion_bench.data.loaders import PixelReader, fashion_dls
from fashion_bench.base.pixels import BACKGROUND, read_rgb
from fashion_bench.data.sources import load_table
from fashion_bench.data.splits import split_hash
from fashion_bench.data.subsets import crop_to_boxes
from fashion_bench.data.table import check_table, classes, fingerprint, image_paths, image_table
from fashion_bench.results.details import image_results
from fashion_bench.results.records import load_runs
from fashion_bench.runs.run import make_spec, run_model

@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch): monkeypatch.setenv('FASHION_BENCH_CACHE', str(tmp_path/'cache'))

def photo(path, size=(40, 40), colour=(90, 120, 60)):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(path)) + sum(map(ord, path.name)))
    noise = rng.integers(0, 60, (size[1], size[0], 3))
    Image.fromarray((noise + colour).clip(0, 255).astype(np.uint8)).save(path)
    return path

def tree(root, counts):
    for c,n in counts.items():
        for i in range(n): photo(root/c/f'{i}.jpg')
    return root

RECIPE = 'fine_tune(1, freeze_epochs=0, base_lr=0.001), bs=4'

def short_run(table, out):
    "The record of a run of one epoch in this process"
    spec = make_spec(fingerprint(table), 'fastai/xresnet18', 'scratch', RECIPE, 32)
    return run_model(spec, table, out, bars=False, num_workers=0)

def epoch(table, **kwargs):
    "Every batch of an epoch, train and valid"
    dls = fashion_dls(table, size=32, bs=4, num_workers=0, **kwargs)
    return [b for dl in (dls.train, dls.valid) for b in dl]

@pytest.mark.parametrize('seed', range(12))
def test_a_class_of_one_image_is_trained_on_and_said(tmp_path, seed):
    root = tree(tmp_path/'photos', dict(dress=8, jeans=8, tee=8, cape=1))
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always')
        table = load_table(root, split_seed=seed)
    assert any('1 class(es) with one image' in str(o.message) and 'cape' in str(o.message) for o in w)
    assert table.split[table.label == 'cape'].tolist() == ['train']
    assert len(epoch(table)) > 4
    # an official split that puts it into validation is refused before a model is built
    official = table.assign(split=np.where(table.label == 'cape', 'valid', table.split))
    with pytest.raises(ValueError, match='cape'): check_table(official)

def test_directory_order_decides_nothing(tmp_path):
    root, walk = tree(tmp_path/'photos', dict(dress=9, jeans=7)), os.walk
    def backwards(*args, **kwargs):
        for d, dirs, files in walk(*args, **kwargs):
            dirs.sort(reverse=True)
            yield d, dirs, sorted(files, reverse=True)
    here = load_table(root)
    with patch('os.walk', backwards): there = load_table(root)
    assert here.equals(there)
    assert split_hash(here) == split_hash(there) and fingerprint(here) == fingerprint(there)

@pytest.mark.parametrize('name', ['valid', 'val', 'validation', 'Val', 'dev'])
def test_validation_folders_of_any_usual_name(tmp_path, name):
    root = tmp_path/'photos'
    for part in ('train', name): tree(root/part, dict(dress=4, jeans=4))
    assert (load_table(root).split == 'valid').sum() == 8

def test_a_folder_beside_train_that_is_no_split_is_not_overlooked(tmp_path):
    for part in ('train', 'holdout'): tree(tmp_path/'photos'/part, dict(dress=4, jeans=4))
    with pytest.raises(ValueError, match='holdout'): load_table(tmp_path/'photos')

def test_hidden_files_capitals_links_and_odd_names(tmp_path):
    root = tree(tmp_path/'photos', {'dress': 4, 'été #1': 4})
    photo(root/'dress/a b#é.JPG')
    (root/'dress/.hidden.jpg').write_bytes(b'no image')
    tree(tmp_path/'elsewhere', dict(linked=4))
    (root/'linked').symlink_to(tmp_path/'elsewhere/linked')
    table = load_table(root)
    assert (len(table), classes(table)) == (13, ['dress', 'linked', 'été #1'])
    assert 'dress/a b#é.JPG' in set(table.image)
    assert not table.image.str.contains('\\\\|^/', regex=True).any()
    assert len(epoch(table)) > 2

def modes(root):
    "A file of every mode that a photo of clothes may have, by name"
    root.mkdir()
    rgb, blue = Image.new('RGB', (48, 40), (200, 40, 40)), Image.new('RGB', (48, 40), 'blue')
    alpha = rgb.copy()
    alpha.putalpha(0)
    deep = Image.fromarray(np.full((40, 48), 65535//2, np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6 # turned by a quarter
    names = ['rgb.png', 'alpha.png', 'deep.png', 'grey.jpg', 'print.jpg', 'palette.png', 'moving.gif', 'turned.jpg']
    files = {Path(o).stem: root/o for o in names}
    rgb.save(files['rgb'])
    alpha.save(files['alpha'])
    deep.save(files['deep'])
    rgb.convert('L').save(files['grey'])
    rgb.convert('CMYK').save(files['print'])
    alpha.quantize().save(files['palette'], transparency=0)
    rgb.save(files['moving'], save_all=True, append_images=[blue])
    Image.new('RGB', (40, 20)).save(files['turned'], exif=exif)
    return files

def test_pixels_are_the_same_in_training_prediction_cache_and_audit(tmp_path):
    files = modes(tmp_path/'photos')
    table = image_table(files.values(), ['a', 'b']*4, ['train', 'train', 'valid', 'valid']*2, root='/')
    cached, plain = PixelReader(32, cache=build_cache(table, 32, n_workers=0), table=table), PixelReader(32)
    for k,f in files.items():
        want = planes(shrink(read_rgb(f), 32))
        in_table = table[table.image == f.as_posix()].image.map(Path).iloc[0]
        assert (plain(f) == want).all() and (cached(in_table) == want).all(), k
    def pixel(k): return read_rgb(files[k]).getpixel((5, 5))
    assert pixel('alpha') == BACKGROUND and pixel('palette') == BACKGROUND
    assert read_rgb(files['turned']).size == (20, 40)
    assert abs(pixel('deep')[0] - 127) <= 1
    assert pixel('moving')[0] > 150
    seen = look_at_images(table, n_workers=0)
    assert (seen.reason == '').all() and seen.height[table.image.str.endswith('turned.jpg')].tolist() == [40]

BOXES = [
    ((5, 5, 30, 30), None),
    ((30, 5, 5, 30), 'no area'),
    ((5, 5, 99, 30), 'past the edge'),
    ((5, 5, 5, 5), 'no area'),
    ((90, 90, 180, 180), 'no area')]

@pytest.mark.parametrize('box,outcome', BOXES)
def test_boxes(tmp_path, box, outcome):
    tree(tmp_path, dict(a=6, b=6))
    table = load_table(tmp_path).assign(bbox=[box]*12)
    found, file = audit(table, n_workers=0), image_paths(table)[0]
    details = found.findings.detail[found.findings.kind == 'box']
    assert found.counts().get('box', 0) == (12 if outcome else 0) and all(outcome in o for o in details)
    if outcome is None: assert read_rgb(file, box).size == (25, 25)
    elif outcome == 'past the edge': assert read_rgb(file, box).size == (35, 25)
    elif box[0] < box[2]:
        with pytest.raises(ValueError, match='no area inside'): read_rgb(file, box)
    else:
        with pytest.raises(ValueError, match='have no area'): crop_to_boxes(table)

@pytest.mark.parametrize('label', [None, '', float('nan')])
def test_a_missing_label(tmp_path, label):
    tree(tmp_path, dict(a=6, b=6))
    table = load_table(tmp_path)
    table.loc[3, 'label'] = label
    with pytest.raises(ValueError, match='have no label'): fashion_dls(table, size=32, bs=4)

def test_numbered_classes_keep_their_names(tmp_path):
    tree(tmp_path/'photos', {str(i): 4 for i in range(12)})
    table = load_table(tmp_path/'photos')
    record = short_run(table, tmp_path/'runs')
    names = record['data']['classes']
    assert names == [str(i) for i in range(12)]
    kept = np.load(tmp_path/'runs'/record['folder']/'predictions.npz')
    assert [names[i] for i in kept['target']] == table.label[table.split == 'valid'].tolist()

@pytest.mark.parametrize('lost', [['jeans'], ['jeans', 'tee']])
def test_classes_that_are_absent_from_validation_leave_a_row(tmp_path, lost):
    tree(tmp_path/'photos', dict(dress=6, jeans=6, tee=6))
    table = load_table(tmp_path/'photos')
    table['split'] = np.where(table.label.isin(lost), 'train', table.split)
    tags = table.assign(label=[(o, 'new') if i % 3 == 0 else (o,) for i,o in enumerate(table.label)])
    for t in (table, tags):
        r = short_run(t, tmp_path/'runs')
        assert r['status'] == 'finished' and 0 <= r['figures']['valid_accuracy'] <= 1
    in_valid = tags.label[tags.split == 'valid'].explode().nunique()
    assert r['figures']['valid_classes_measured'] == in_valid < 4

def test_several_labels_train_score_and_rank_by_the_same_command(tmp_path):
    tree(tmp_path/'photos', dict(dress=10, jeans=10))
    files = sorted((tmp_path/'photos').rglob('*.jpg'))
    names = [o.relative_to(tmp_path).as_posix() for o in files]
    tags = [f"{o.parent.name};{'blue' if i % 2 else 'red'}" for i,o in enumerate(files)]
    pd.DataFrame(dict(file=names, tags=tags)).to_csv(tmp_path/'tags.csv', index=False)
    ask = ['run', tmp_path/'tags.csv', '--label-col', 'tags', '--label-delim', ';', '--models', 'fastai/xresnet18',
           '--weights', 'scratch', '--size', 32, '--epochs', 1, '--bs', 4, '--out', tmp_path/'runs']
    r = subprocess.run([sys.executable, '-m', 'fashion_bench', *map(str, ask)], capture_output=True, text=True)
    assert r.returncode == 0, r.stdout + r.stderr
    assert 'Mean average precision' in r.stdout and '4 classes' in r.stdout
    assert 0 < load_runs(tmp_path/'runs').valid_map.iloc[0] <= 1

UTF8 = f"""
import warnings
warnings.filterwarnings('error', category=EncodingWarning, module='fashion_bench')
from fashion_bench.all import *
from fashion_bench.cli.main import app
from fashion_bench.data.deepfashion import deepfashion_table
from fashion_bench.data.wardrobe import draw_wardrobe
import sys
root, out = sys.argv[1:]
table = load_table(root + '/é.csv', label='category')
app(['audit', root + '/é.csv', '--out', out + '/audit'], standalone_mode=False)
bench(table, 'fastai/xresnet18', out + '/runs', weights='scratch', recipe={RECIPE!r}, size=32,
      num_workers=0, isolate=False)
print(load_runs(out + '/runs').status.tolist(), len(deepfashion_table(draw_wardrobe(out + '/wardrobe'))))
"""

def test_text_is_utf8_whatever_the_machine_thinks(tmp_path):
    tree(tmp_path/'photos', {'été': 6, 'dress': 6})
    photo(tmp_path/'photos/été/a b#é.jpg')
    files = sorted(o.relative_to(tmp_path/'photos').as_posix() for o in (tmp_path/'photos').rglob('*.jpg'))
    pd.DataFrame(dict(file=files, label=[o.split('/')[0] for o in files])).to_csv(tmp_path/'photos/é.csv', index=False)
    ask = [sys.executable, '-X', 'warn_default_encoding', '-c', UTF8, str(tmp_path/'photos'), str(tmp_path/'out')]
    env = os.environ | dict(PYTHONIOENCODING='utf-8')
    r = subprocess.run(ask, capture_output=True, text=True, env=env)
    assert "['finished'] 600" in r.stdout, r.stdout + r.stderr
    record = next((tmp_path/'out/runs').glob('*/run.json')).read_text(encoding='utf-8')
    assert json.loads(record)['data']['classes'] == ['dress', 'été'] and '\\u00e9' not in record
    assert 'été' in np.load(next((tmp_path/'out/runs').glob('*/predictions.npz')))['image'][-1]

CACHE = """
import sys
from fashion_bench.data.cache import build_cache
from fashion_bench.data.sources import load_table
print(build_cache(load_table(sys.argv[1]), 32, n_workers=1).folder)
"""

SLOW_CACHE = """
import sys, time
from fashion_bench.data.cache import build_cache
from fashion_bench.data.sources import load_table
def slowly(it, n):
    for o in it:
        time.sleep(.2)
        print('on', flush=True)
        yield o
build_cache(load_table(sys.argv[1]), 24, n_workers=0, progress=slowly)
"""

def test_two_processes_build_one_cache_and_a_kill_leaves_none(tmp_path):
    tree(tmp_path/'photos', dict(dress=60, jeans=60))
    env = os.environ | dict(FASHION_BENCH_CACHE=str(tmp_path/'cache'))
    def start(code, **kwargs):
        ask = [sys.executable, '-c', code, str(tmp_path/'photos')]
        return subprocess.Popen(ask, stdout=subprocess.PIPE, text=True, env=env, **kwargs)
    both = [start(CACHE, stderr=subprocess.PIPE) for _ in range(2)]
    out = {o.communicate()[0].strip().splitlines()[-1] for o in both}
    assert len(out) == 1 and len(PixelCache(out.pop())) == 120
    p = start(SLOW_CACHE)
    p.stdout.readline()
    p.kill()
    p.wait()
    assert not list((tmp_path/'cache').glob('pixels-24-*'))
    assert len(build_cache(load_table(tmp_path/'photos'), 24, n_workers=0)) == 120

def of_two_folders(tmp_path):
    "A table of two folders whose images have the same names, and other pixels"
    old, new = tree(tmp_path/'old', dict(dress=8, jeans=8)), tree(tmp_path/'new', dict(dress=8, jeans=8))
    for o in new.rglob('*.jpg'): photo(o, colour=(10, 20, 150))
    return pd.concat([load_table(old), load_table(new)]) # with numbers of rows that come twice

def test_images_of_one_name_in_two_folders_stay_two(tmp_path):
    both = of_two_folders(tmp_path)
    table = load_table(both, subset='per_class=15', split='random')
    cache = build_cache(table, 32, n_workers=0)
    assert len(cache) == len(table) == 30 and (table.split == 'valid').sum() < 8
    cached, plain = PixelReader(32, cache=cache, table=table), PixelReader(32)
    for f in image_paths(table): assert (cached(f) == plain(f)).all(), f
    plan = make_spec(fingerprint(table), 'fastai/xresnet18', 'scratch', RECIPE, 32)
    record = run_model(plan, table, tmp_path/'runs', cache=cache, bars=False, num_workers=0)
    assert record['status'] == 'finished' and record['data']['root'].count(',') == 1
    shown = image_results(tmp_path/'runs')
    files = {Path(root)/image for root,image in zip(shown.root, shown.image)}
    assert files == set(image_paths(table[table.split == 'test']))

def test_what_is_missing_is_left_out_of_one_folder_and_not_of_both(tmp_path):
    table = of_two_folders(tmp_path)
    image_paths(table)[-1].unlink()
    (tmp_path/'new/dress/0.jpg').write_bytes(b'')
    with pytest.raises(ValueError, match='1 of 32 listed images'): load_table(table)
    kept = handle_bad(audit(table, n_workers=0), 'skip')
    assert len(kept) == 30 and (kept.root == str(tmp_path/'old')).sum() == 16
    assert set(kept.attrs['left_out'].values()) == {'missing', 'empty'}

def test_a_written_table_is_read_where_it_lies_and_elsewhere(tmp_path):
    table = of_two_folders(tmp_path).reset_index(drop=True).assign(group='007')
    (tmp_path/'tables').mkdir()
    for k,t in dict(both=table, one=table[table.root.str.endswith('new')].reset_index(drop=True)).items():
        t.to_csv(tmp_path/f'tables/{k}.csv', index=False)
        pd.testing.assert_frame_equal(load_table(tmp_path/f'tables/{k}.csv'), t)
    (tmp_path/'new').rename(tmp_path/'moved')
    for k in ('one', 'both'):
        with pytest.raises(FileNotFoundError, match=r'\(--root\)'): load_table(tmp_path/f'tables/{k}.csv')
    found = load_table(tmp_path/'tables/one.csv', root=tmp_path/'moved')
    assert found.root.unique().tolist() == [str(tmp_path/'moved')] and found.image.equals(t.image)
