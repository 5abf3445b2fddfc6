"Files from the wild: what is certain is understood, the rest is refused or counted; nothing is guessed in silence."
import json, os, re, shutil, struct, sys, unicodedata, warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fashion_bench.base.errors import DiskError, InputError
from fashion_bench.base.files import whole_file
from fashion_bench.base.gridfile import read_grid
from fashion_bench.base.pixels import image_suffixes, pillow_heif, read_rgb
from fashion_bench.base.record import record_problem, seal
from fashion_bench.data.audit import audit, audit_html, audit_json, handle_bad
from fashion_bench.data.cache import build_cache
from fashion_bench.data.sources import load_table
from fashion_bench.data.table import check_out, classes, summary
from fashion_bench.results.leaderboard import board_text, leaderboard, write_board
from fashion_bench.results.records import load_runs, runs_frame
from fashion_bench.results.report import report_html
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image, PngImagePlugin

ROOT = Path(__file__).parent.parent

def photo(path, colour='teal', **kwargs):
    "A small photo, with noise, so that no two are one picture"
    path.parent.mkdir(parents=True, exist_ok=True)
    im = Image.effect_noise((72, 72), 90).convert('RGB')
    im.paste(colour, (0, 0, 20, 72))
    im.save(path, **kwargs)
    return path

def photos(root, *names):
    for o in names: photo(root/o)
    return root

def some(*folders, n=5): return [f'{folder}/{i}.jpg' for folder in folders for i in range(n)]

def refused(where, *said, **options):
    "The message with which `where` is refused, in which all that is `said` stands"
    with pytest.raises(InputError) as e: load_table(where, **options)
    assert [o for o in said if o not in str(e.value)] == []
    return str(e.value)

# A guess where there are several answers, or none

SPLIT_NAMES = [('seg_train', 'seg_test'), ('Training Data', 'Test Data'), ('TRAIN', 'TEST'), ('train2017', 'val2017'),
               ('clothes-training', 'clothes-validation'), ('train', 'dev')]

@pytest.mark.parametrize('train,other', SPLIT_NAMES)
@pytest.mark.parametrize('inside', ['', 'archive/'])
def test_splits_in_any_spelling(tmp_path, train, other, inside):
    root = photos(tmp_path/'shop', *some(*[f'{inside}{s}/{c}' for s in (train, other) for c in ('coat', 'tee')]))
    table = load_table(root)
    assert classes(table) == ['coat', 'tee'] and (table.split == 'train').sum() <= 10 < len(table)

def test_only_valid_and_test_are_splits_without_training(tmp_path):
    root = photos(tmp_path/'shop', *some('valid/coat', 'valid/tee', 'test/coat', 'test/tee'))
    refused(root, 'no image is in train')
    assert classes(load_table(root, split='random')) == ['coat', 'tee']

def test_kinds_above_classes_are_asked_about(tmp_path):
    root = photos(tmp_path/'shop', *some('upper/coat', 'upper/tee', 'lower/jeans'))
    said = refused(root, 'cannot be told which folders are the classes', '--class-level 1', '--class-level 2')
    assert said.splitlines()[1:4] == ['shop/', '  lower/  jeans  (5 photos)', '  upper/  coat, tee  (10 photos)']
    assert classes(load_table(root, class_level=2)) == ['coat', 'jeans', 'tee']
    assert classes(load_table(root, class_level=1)) == ['lower', 'upper']

def test_splits_without_classes_are_no_classes(tmp_path):
    refused(photos(tmp_path/'shop', *some('images/train', 'images/val')), 'in folders for splits (train, val)')

def test_which_column_was_taken_is_said(tmp_path):
    file = listed(tmp_path, ['coat', 'tee']*5, category=['upper']*10)
    assert 'label from label, not category' in summary(load_table(file))

def test_two_folders_of_one_split_are_refused(tmp_path):
    refused(photos(tmp_path, *some('train/a', 'train/b', 'val/a', 'valid/b')), 'are both called valid')

@pytest.mark.parametrize('values', [['False', 'True'], ['0', '1'], ['no', 'yes']])
def test_fastais_column_is_taken(tmp_path, values):
    photos(tmp_path, *some('p', n=8))
    df = pd.DataFrame(dict(image=some('p', n=8), label=['coat', 'tee']*4, is_valid=[values[0]]*6 + [values[1]]*2))
    df.to_csv(tmp_path/'t.csv', index=False)
    for options in ({}, dict(split_col='is_valid')):
        table = load_table(tmp_path/'t.csv', **options)
        assert table.image[table.split == 'valid'].tolist() == ['p/6.jpg', 'p/7.jpg']

def listed(root, labels, names=None, file='t.csv', **columns):
    "A list of photos in `root`"
    names = names or [f'{i}.jpg' for i in range(len(labels))]
    photos(root, *names)
    pd.DataFrame(dict(image=names, label=labels, **columns)).to_csv(root/file, index=False)
    return root/file

def test_labels_that_look_alike(tmp_path):
    file = listed(tmp_path, ['coat', 'coat ', 'Coat', ' tee']*5)
    with pytest.warns(UserWarning, match='differ in case alone: coat .10., Coat .5.'): table = load_table(file)
    assert classes(table) == ['Coat', 'coat', 'tee']
    assert classes(load_table(file, ignore_case=True)) == ['coat', 'tee']

def test_a_name_for_several_files_is_refused(tmp_path):
    photos(tmp_path, 'train/coat/1.jpg', 'test/coat/1.jpg', 'train/tee/2.jpg')
    (tmp_path/'t.csv').write_text('image,label\n1,coat\n2,tee\n')
    refused(tmp_path/'t.csv', "'1' for test/coat/1.jpg, train/coat/1.jpg")

def test_one_name_in_two_spellings_of_its_accent(tmp_path):
    nfc, nfd = (unicodedata.normalize(o, 'été') for o in ('NFC', 'NFD'))
    photos(tmp_path, *[f'{nfd}{i}.jpg' for i in range(4)])
    pd.DataFrame(dict(image=[f'{nfc}{i}.jpg' for i in range(4)], label=[nfc, nfd, 'b', 'b'])).to_csv(
        tmp_path/'t.csv', index=False)
    assert classes(load_table(tmp_path/'t.csv', check=False)) == ['b', nfc]

def test_a_name_that_is_no_text_is_shown_escaped(tmp_path):
    root = photos(tmp_path/'shop', *some('coat', 'tee'))
    try: shutil.copy(root/'coat/0.jpg', root/'coat'/os.fsdecode(b'\xe9.jpg'))
    except OSError: pytest.skip('this disk takes no such names')
    assert '1 with names that are no UTF-8 (coat/\\xe9.jpg)' in summary(load_table(root))

def test_links_are_followed_once(tmp_path):
    root = photos(tmp_path/'photos', *some('coat', 'tee', n=3))
    (tmp_path/'photos2').mkdir()
    (tmp_path/'photos2/train').symlink_to('../photos')
    assert len(load_table(tmp_path/'photos2', check=False)) == 6
    (root/'coat/more').symlink_to(root/'tee')
    (root/'tee/more').symlink_to(root/'coat')
    assert len(load_table(root)) == 6

@pytest.mark.parametrize('name', ['None', 'NA', 'null', 'nan', 'N/A', '007', '1.0', 'True'])
def test_a_class_may_be_called_anything(tmp_path, name):
    assert classes(load_table(listed(tmp_path, [name, 'tee']*5))) == sorted([name, 'tee'])

LABELS = [(1, 2), (1., 2.), (.5, 1.5), (True, False), (Path('a'), Path('b')), (['a'], ['b', 'a'])]

@pytest.mark.parametrize('a,b', LABELS)
def test_a_frame_works_as_its_file_does(tmp_path, a, b):
    listed(tmp_path, ['x']*10)
    df = pd.DataFrame(dict(image=[Path(f'{i}.jpg') for i in range(10)], label=pd.Series([a, b]*5, dtype=object)))
    table = load_table(df, root=tmp_path)
    assert len(classes(table)) == 2 and all(isinstance(o, str) for o in classes(table))
    assert classes(load_table(table)) == classes(table)
    with pytest.raises(InputError, match='a class is a text, a number, or several in a list'):
        load_table(df.assign(label=[b'a', {}]*5), root=tmp_path)

# Left out and not counted

def test_every_photo_that_pillow_reads_is_found_and_the_rest_is_counted(tmp_path):
    root = photos(tmp_path/'shop', *some('coat', 'tee'))
    for suffix in ('jfif', 'webp', 'bmp', 'avif'):
        if f'.{suffix}' in image_suffixes(): photo(root/f'coat/x.{suffix}')
    (root/'tee/x.heic').write_bytes(b'')
    (root/'tee/x.nef').write_bytes(b'')
    (root/'notes').write_text('x')
    table = load_table(root)
    assert {Path(o).suffix for o in table.image} >= {'.jpg', '.jfif', '.webp', '.bmp'}
    assert '1 .nef (raw files of a camera: save them as JPEG) (tee/x.nef)' in summary(table)
    assert '1 without a suffix (notes)' in summary(table)
    if pillow_heif is None: assert '.heic (pip install pillow-heif reads them) (tee/x.heic)' in summary(table)

def test_a_class_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    from fashion_bench.data import folders
    monkeypatch.setattr(folders, 'image_suffixes', lambda: ['.jpg']) # as without pillow-heif
    root = photos(tmp_path/'shop', *some('coat', 'tee'))
    (root/'hat').mkdir()
    for i in range(3): (root/f'hat/{i}.HEIC').write_bytes(b'')
    said = summary(load_table(root))
    assert '3 .heic (pip install pillow-heif reads them) (hat/0.HEIC); no photo can be read in hat' in said

@pytest.mark.skipif(pillow_heif is None, reason='pillow-heif is not installed')
def test_photos_of_phones_are_read(tmp_path):
    assert read_rgb(photo(tmp_path/'x.heic')).size == (72, 72)

def test_junk_of_other_programs_is_left_out(tmp_path):
    folders = '@eaDir/coat', '$RECYCLE.BIN', '__MACOSX/coat', '.ipynb_checkpoints'
    junk = [*[f'{o}/0.jpg' for o in folders], 'coat/._0.jpg']
    root = photos(tmp_path/'shop', *some('coat', 'tee'), *junk)
    (root/'coat/Thumbs.db').write_text('')
    table = load_table(root)
    assert classes(table) == ['coat', 'tee'] and '6 hidden or of other programs (' in summary(table)
    assert str(tmp_path) not in summary(table)

def test_every_loader_ends_in_a_sentence(tmp_path):
    folder = photos(tmp_path/'shop', *some('coat', 'tee'))
    list_ = listed(tmp_path/'list', ['coat', 'tee']*5)
    photo(tmp_path/'list/more.jpg')
    with open(list_, 'a') as f: f.write(',\n')
    for o in (folder, list_, 'wardrobe'): assert re.search(r'[\d,]+ \w.* found, [\d,]+ used, ', summary(load_table(o)))
    said = summary(load_table(list_))
    assert '11 rows found, 10 used, 1 left out: 1 empty (line 12); 1 photo beside them not listed (more.jpg)' in said

def test_a_record_says_what_was_left_out(tmp_path):
    from fashion_bench.runs.record import describe_table
    root = photos(tmp_path/'shop', *some('coat', 'tee'))
    (root/'notes.txt').write_text('x')
    files = describe_table(load_table(root), '')['files']
    assert (files['found'], files['used'], files['left_out'][0]['first']) == (11, 10, 'notes.txt')

# Too narrow around foreign files

def odd_exif():
    "An orientation beside a width that is a fraction and a resolution that is text"
    entries = [(0x0100, 11, 1, struct.pack('>f', 40.5)), (0x0112, 3, 1, struct.pack('>HH', 6, 0)),
               (0x011a, 2, 4, b'72\0\0')]
    body = b''.join(struct.pack('>HHI', *o[:3]) + o[3] for o in entries)
    return b'Exif\0\0MM\0*' + struct.pack('>IH', 8, len(entries)) + body + struct.pack('>I', 0)

def test_notes_in_a_photo_never_decide_whether_it_is_read(tmp_path):
    root = photos(tmp_path/'shop', *some('coat', 'tee'))
    Image.effect_noise((80, 72), 90).convert('RGB').save(root/'coat/odd.jpg', exif=odd_exif())
    Image.effect_noise((80, 72), 90).convert('RGB').save(root/'coat/none.jpg', exif=b'Exif\0\0XX\0*no header')
    remarks = PngImagePlugin.PngInfo()
    remarks.add_text('Comment', 'x'*3_000_000, zip=True)
    photo(root/'tee/remarks.png', pnginfo=remarks)
    assert read_rgb(root/'coat/odd.jpg').size == (72, 80)
    found = audit(load_table(root), n_workers=0)
    assert found.unreadable == [] and len(handle_bad(found)) == 13

def test_notes_that_pillow_fails_at_turn_nothing(tmp_path, monkeypatch):
    def raises(self): raise struct.error('required argument is not an integer') # as versions of Pillow do
    file = photo(tmp_path/'a.jpg')
    monkeypatch.setattr(Image.Image, 'getexif', raises)
    assert read_rgb(file).size == (72, 72)

def table_text(*rows): return '\n'.join(['image,label', *rows])

BAD_TABLES = {
    'comma': (table_text('a.jpg,coat', 'b,c.jpg,tee').encode(), 'line 3: expected 2 values (image, label), found 3'),
    'short': (table_text('a.jpg').encode(), 'line 2: expected 2 values'),
    'cp1252': (table_text('é.jpg,coat').encode('cp1252'), "line 2: b'\\xe9' is no text in UTF-8; save the file"),
    'utf-16 without mark': (table_text('a.jpg,coat').encode('utf-16-le'), 'line 1: there is a zero in the text'),
    'open quote': (table_text('a.jpg,"coat', 'b.jpg,tee').encode(), 'line 2: a quote is opened there'),
    'header only': (b'image,label\n', 'holds the names of columns (image, label) and no rows'),
    'empty': (b'', 'is empty; expected a line with the names of columns'),
    'twice': (b'image,label,label\na,b,c\n', "several columns are called 'label'")}

@pytest.mark.parametrize('kind', BAD_TABLES)
def test_a_table_that_cannot_be_read_is_refused_with_its_line(tmp_path, kind):
    data, said = BAD_TABLES[kind]
    (tmp_path/'t.csv').write_bytes(data)
    refused(tmp_path/'t.csv', 't.csv', said)

@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
@pytest.mark.parametrize('sep', [',', ';', '\t'])
def test_what_excel_writes_is_read(tmp_path, encoding, sep):
    photos(tmp_path, *some('p', n=8))
    named = zip(some('p', n=8), ['été', 'tee']*4, ['']*8, ['']*8)
    rows = [f'sep={sep}', *map(sep.join, [('image', 'label', '', ''), *named, ('', '', '', '')])]
    (tmp_path/'t.csv').write_text('\r\n'.join(rows), encoding=encoding)
    table = load_table(tmp_path/'t.csv')
    assert classes(table) == ['tee', 'été'] and '1 empty (line 11)' in summary(table)

def test_a_grid_file_may_begin_with_a_mark(tmp_path):
    (tmp_path/'g.toml').write_text('data = "photos"\nmodels = ["timm/resnet18"]\n', encoding='utf-8-sig')
    assert read_grid(tmp_path/'g.toml')['data'] == 'photos'

def test_a_full_disk_is_said_whatever_the_writer_raises(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda o: SimpleNamespace(free=0, total=1, used=1))
    with pytest.raises(OSError, match='No space left'), whole_file(tmp_path/'x.pt'):
        raise RuntimeError('[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0')

class Full:
    "An engine whose disk is full, or is not"
    workers = 1
    def __init__(self, full=True): self.runs, self.full = 0, full
    def probe(self, spec, table, **kwargs): return {}
    def close(self): pass
    def run(self, spec, *args, **kwargs):
        self.runs += 1
        failure = dict(type='DiskError', phase='training', message='No space left on device')
        if self.full: return dict(status='failed', failure=failure)
        figures = dict(valid_accuracy=.5, minutes_per_epoch=.1, wait_share=0.)
        return dict(status='finished', seconds=6., source=dict(weights='none'), figures=figures)

def test_a_full_disk_ends_the_grid_before_the_next_model_and_it_goes_on_with_room(tmp_path):
    from fashion_bench.runs.bench import bench
    table, full, free = load_table(photos(tmp_path/'shop', *some('coat', 'tee'))), Full(), Full(full=False)
    def run(engine): return bench(table, ['torchvision/resnet18', 'torchvision/resnet34'], out=tmp_path/'runs',
                                  engine=engine, cache=False, size=32, recipe='ep1_bs4_lr1e-3')
    with pytest.raises(DiskError, match='the disk is full: No space left on device.*start again'): run(full)
    assert full.runs == 1
    assert [o['status'] for o in run(free)] == ['finished']*2 and free.runs == 2

def test_what_may_not_be_read_is_no_full_disk():
    from fashion_bench.runs.record import describe_failure
    recorder = SimpleNamespace(history=[])
    assert describe_failure(PermissionError(13, 'Permission denied'), recorder)['type'] == 'PermissionError'
    assert describe_failure(OSError(28, 'No space left on device'), recorder)['type'] == 'DiskError'

def test_room_is_looked_at_before_a_grid(tmp_path, monkeypatch):
    from fashion_bench.runs import bench
    table = load_table(photos(tmp_path/'shop', *some('coat', 'tee')))
    monkeypatch.setattr(bench, 'room_left', lambda out: 10**6)
    with pytest.raises(InputError, match='will write about .* GB into .*, where 0.001 GB are free'):
        bench.bench(table, 'torchvision/resnet18', out=tmp_path/'runs', size=32, recipe='ep1_bs4_lr1e-3')

DAMAGE = {'cut': lambda o: o[:len(o)//2], 'empty': lambda o: b'', 'zeroed': lambda o: b'\0'*len(o),
          'one bit': lambda o: o[:len(o)//2] + bytes([o[len(o)//2] ^ 1]) + o[len(o)//2 + 1:],
          'another': lambda o: b'epoch,phase\n9,unfrozen\n'}

@pytest.mark.parametrize('how', DAMAGE)
def test_a_damaged_cache_is_made_anew(tmp_path, monkeypatch, how):
    monkeypatch.setenv('FASHION_BENCH_CACHE', str(tmp_path/'cache'))
    table = load_table(photos(tmp_path/'shop', *some('coat', 'tee', n=2)), check=False)
    pixels = build_cache(table, 32, n_workers=0)
    whole = [pixels[o].copy() for o in table.image]
    for name in ('pixels.bin', 'index.npz'):
        file = pixels.folder/name
        file.write_bytes(DAMAGE[how](file.read_bytes()))
        with pytest.warns(UserWarning, match='is made anew'): again = build_cache(table, 32, n_workers=0)
        assert all((again[o] == a).all() for o,a in zip(table.image, whole))

@pytest.mark.parametrize('how', DAMAGE)
def test_a_damaged_checkpoint_is_not_gone_on_from(tmp_path, how):
    import torch
    from fashion_bench.training.checkpoint import read_checkpoint
    file = tmp_path/'checkpoint.pt'
    torch.save(dict(weights=torch.randn(5000)), file)
    assert len(read_checkpoint(file)['weights']) == 5000
    file.write_bytes(DAMAGE[how](file.read_bytes()))
    with pytest.warns(UserWarning, match='starts over'): assert read_checkpoint(file) is None

@pytest.mark.parametrize('how', DAMAGE)
def test_a_damaged_model_predicts_nothing(tmp_path, how):
    import torch
    from fashion_bench.base.files import file_digest
    from fashion_bench.runs.predictor import _check_tensors
    from safetensors.torch import save_file
    file = tmp_path/'model.safetensors'
    save_file(dict(weights=torch.randn(5000)), file, metadata=dict(size='32'))
    facts = dict(size=32, digest=file_digest(file))
    _check_tensors(file, facts)
    file.write_bytes(DAMAGE[how](file.read_bytes()))
    with pytest.raises(InputError, match='is damaged, or of another model'): _check_tensors(file, facts)

def a_run(root, name='timm/resnet18', seed=42, acc=.75, **more):
    "A finished run, as it is written"
    from fashion_bench.base.record import kept_files, write_record
    folder = root/f"{re.sub('[^a-z0-9]', '-', name)}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    target = np.arange(40) % 2
    said = np.where(np.arange(40) < acc*40, target, 1 - target)
    np.savez(folder/'predictions.npz', image=np.array([f'{i}.jpg' for i in range(40)]), split=np.array(['valid']*40),
             target=target, probs=np.eye(2)[said]*.8 + .1)
    (folder/'history.csv').write_text('epoch,phase,train_loss,valid_loss,valid_accuracy\n1,unfrozen,1,1,.5\n')
    spec = dict(data='f00d', model=name, weights='pretrained', recipe='ep1_bs8', size=32, seed=seed)
    record = dict(id=folder.name, folder=folder.name, status='finished', spec=spec, seconds=9.,
                  data=dict(source='a shop', classes=['coat', 'tee'], images=dict(train=9, valid=40)),
                  environment=dict(device='cpu'), source=dict(weights='pretrained'),
                  figures=dict(valid_accuracy=acc, minutes_per_epoch=.1, compute_minutes_per_epoch=.1, wait_share=0.,
                               parameters=1e6, multiply_adds=1e9))
    write_record(folder, record | more | dict(files=kept_files(folder)))
    return folder

@pytest.mark.parametrize('how', DAMAGE)
@pytest.mark.parametrize('name', ['run.json', 'predictions.npz'])
def test_a_damaged_run_is_a_row_that_says_so(tmp_path, how, name):
    a_run(tmp_path, 'timm/good')
    folder = a_run(tmp_path, 'timm/damaged')
    (folder/name).write_bytes(DAMAGE[how]((folder/name).read_bytes()))
    runs = load_runs(tmp_path)
    assert dict(zip(runs.folder, runs.status)) == {'timm-good-42': 'finished', 'timm-damaged-42': 'damaged'}
    assert 'timm-damaged-42' in board_text(leaderboard(tmp_path)) and report_html(tmp_path)

def test_curves_that_were_changed_are_left_out_and_said(tmp_path):
    from fashion_bench.results.details import read_histories
    folder = a_run(tmp_path)
    assert len(read_histories(tmp_path)) == 1
    (folder/'history.csv').write_text('epoch,phase,train_loss,valid_loss,valid_accuracy\n1,unfrozen,1,1,.9\n')
    with pytest.warns(UserWarning, match='not the file that the run wrote'): assert len(read_histories(tmp_path)) == 0
    assert load_runs(tmp_path).status.tolist() == ['finished']

def test_a_file_that_ends_too_early_is_not_aborted(monkeypatch, capsys):
    from fashion_bench.cli import main, records
    def raises(*args): raise EOFError('No data left in file')
    monkeypatch.setattr(records, 'run_files', list)
    monkeypatch.setattr(records, 'print_board', raises)
    monkeypatch.setattr(sys, 'argv', ['fashion-bench', 'show'])
    with pytest.raises(SystemExit): main.main()
    said = capsys.readouterr().err
    assert 'No data left in file' in said and 'Aborted' not in said

# A second reader

READERS = { # how a kind of file is opened, and the one module that does
    r'Image\.open\(': 'base/pixels.py', r'csv\.reader|utf-8-sig': 'base/texts.py',
    r"np\.load\(.*'predictions\.npz'": 'base/answers.py'}

@pytest.mark.parametrize('pattern', READERS)
def test_there_is_one_reader_for_each_kind_of_file(pattern):
    code = {o.relative_to(ROOT/'fashion_bench').as_posix(): o.read_text(encoding='utf-8')
            for o in (ROOT/'fashion_bench').rglob('*.py') if o.name != '_modidx.py'}
    assert [name for name, text in code.items() if re.search(pattern, text)] == [READERS[pattern]]

def test_nobody_reads_a_record_but_by_its_reader():
    reads = re.compile(r'(loads?|read_json|read_text|open)\([^\n]*run\.json')
    for o in (ROOT/'fashion_bench').rglob('*.py'): assert not reads.search(o.read_text(encoding='utf-8')), o.name

# Text of others goes unescaped into a language

EVIL = ['<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', '$_$', '$50-$100', '\\frac{', '[red]x[/red]',
        'a|b', 'a_b & c%', '${HOME} `id`; rm -rf x', "it's", '"quoted"', 'a\nb', '# x', '[c](d)', '名前 été']

def evil_runs(root):
    for i, name in enumerate(EVIL):
        classes_ = dict(classes=[name, EVIL[i-1]], source=name, images={name: 9, 'valid': 40}, kinds={name: name})
        a_run(root/'runs', f'timm/{i}', data=classes_, environment=dict(device='cpu', cpu=name, command=name))
    failure = dict(type=EVIL[0], phase=EVIL[1], message=' '.join(EVIL), log=EVIL)
    lost = a_run(root/'runs', 'timm/lost', status='failed', failure=failure)
    record = json.loads((lost/'run.json').read_text())
    record['spec'] |= dict(model=f'timm/{EVIL[0]}', recipe=EVIL[1])
    record.pop('digest')
    (lost/'run.json').write_text(json.dumps(seal(record)))
    return root/'runs'

def test_a_report_of_evil_names_runs_nothing(tmp_path):
    page = report_html(evil_runs(tmp_path))
    assert page.count('<script') == 1 and '<img src=x' not in page
    assert "script-src 'sha256-" in page and "default-src 'none'" in page

KEYED = ('data', 'images'), ('environment',), ('source',)

def all_evil(v, path=()):
    "A record with an evil text in the place of every text, and an evil key in every part"
    if isinstance(v, dict):
        kept = {k: all_evil(o, (*path, k)) for k,o in v.items()}
        return kept | ({EVIL[0]: kept[min(kept)]} if path in KEYED else {})
    if isinstance(v, list): return [all_evil(o, (*path, i)) for i,o in enumerate(v)]
    return f"{path} {' '.join(EVIL)}" if isinstance(v, str) and path not in (('status',), ('spec', 'data')) else v

def test_no_field_of_a_record_runs_anything_in_a_report(tmp_path):
    inputs = dict(size=32, train_crop='a', valid_crop='b', mean=[.5], interpolation='x')
    failure = dict(type='a', phase='b', message='c', log=['d'], places=['e'])
    for name, more in (('timm/done', {}), ('timm/lost', dict(status='failed', failure=failure))):
        folder = a_run(tmp_path, name, inputs=inputs, network=dict(pooling='x'), machines=['a', 'b'], **more)
        record = {k: v for k,v in json.loads((folder/'run.json').read_text()).items() if k not in ('digest', 'files')}
        (folder/'run.json').write_text(json.dumps(all_evil(record)))
    assert set(load_runs(tmp_path).status) == {'finished', 'failed'}
    page = report_html(tmp_path, title=EVIL[0])
    assert page.count('<script') == 1 and '<img src=x' not in page and page.count('&lt;script') > 10

PARTS = ['spec', 'data', 'environment', 'source', 'figures', 'inputs', 'network', 'batch', 'failure']
TEXTS = st.one_of(st.sampled_from(EVIL), st.text(max_size=8))
VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
                      lambda o: st.lists(o, max_size=2) | st.dictionaries(TEXTS, o, max_size=2), max_leaves=4)

@pytest.fixture(scope='module')
def two_runs(tmp_path_factory):
    "A good run, and one whose record is to be changed"
    home = tmp_path_factory.mktemp('fuzz')
    a_run(home, 'timm/good')
    return home, a_run(home, 'timm/odd')

MUTATIONS = dict(part=st.sampled_from(PARTS), key=st.integers(0, 30), value=VALUES, whole=st.booleans())
FUZZ = dict(deadline=None, suppress_health_check=list(HealthCheck))

def mutated(odd, part, key, value, whole):
    "The record of the run in `odd` with another value somewhere"
    record = {k: v for k,v in json.loads((odd/'run.json').read_text()).items() if k not in ('digest', 'files')}
    inside = record.get(part, {})
    keys = [*sorted(inside), EVIL[key % len(EVIL)]]
    return record | {part: value if whole else inside | {keys[key % len(keys)]: value}}

def beside(two_runs, record):
    "The runs, one of which has another record"
    home, odd = two_runs
    text = (odd/'run.json').read_text()
    try:
        (odd/'run.json').write_text(json.dumps(record))
        return load_runs(home)
    finally: (odd/'run.json').write_text(text)

@settings(max_examples=1000, **FUZZ)
@given(**MUTATIONS)
def test_what_fits_the_schema_is_a_row(two_runs, **mutation):
    record = json.loads(json.dumps(mutated(two_runs[1], **mutation)))
    assert record_problem(record) or len(runs_frame([record])) == 1

@settings(max_examples=100, **FUZZ)
@given(**MUTATIONS)
def test_any_record_is_a_row_and_no_good_one_is_lost(two_runs, **mutation):
    runs = beside(two_runs, mutated(two_runs[1], **mutation))
    assert len(runs) == 2 and runs.status[runs.folder == 'timm-good-42'].tolist() == ['finished']

@settings(max_examples=20, **FUZZ)
@given(**MUTATIONS)
def test_any_record_leaves_the_rest_of_the_board(two_runs, **mutation):
    runs = beside(two_runs, mutated(two_runs[1], **mutation))
    assert 'good' in board_text(leaderboard(runs[runs.fingerprint.isin(['f00d', ''])]))

ODD_PARTS = [('figures.valid_accuracy', '0.7'), ('data', None), ('data.images', [1]), ('environment', 'a text'),
             ('environment.device', ['a']), ('failure', 'lost'), ('failure', dict(type='X', message='y')),
             ('spec.recipe', {}), ('figures.parameters', '11M'), ('spec.seed', '1'), ('spec.seed', None)]

@pytest.mark.parametrize('path,value', ODD_PARTS)
def test_an_odd_part_of_a_record_ends_no_report(tmp_path, path, value):
    a_run(tmp_path, 'timm/good')
    odd = a_run(tmp_path, 'timm/odd')/'run.json'
    record = {k: v for k,v in json.loads(odd.read_text()).items() if k not in ('digest', 'files')}
    if path == 'failure': record['status'] = 'failed'
    part, _, key = path.partition('.')
    odd.write_text(json.dumps(record | {part: record.get(part, {}) | {key: value} if key else value}))
    runs = load_runs(tmp_path)
    assert runs.status[runs.folder == 'timm-good-42'].tolist() == ['finished']
    why = runs.note[runs.folder != 'timm-good-42'].iloc[0]
    assert 'good' in report_html(runs) and (value is None or path in why or 'failure.phase' in why)

def test_half_a_letter_in_a_record_ends_no_report(tmp_path):
    a_run(tmp_path, 'timm/good')
    odd = a_run(tmp_path, 'timm/odd')/'run.json'
    record = {k: v for k,v in json.loads(odd.read_text()).items() if k not in ('digest', 'files')}
    odd.write_text(json.dumps(record | dict(environment=dict(command='\ud83d'))))
    assert sorted(load_runs(tmp_path).status) == ['damaged', 'finished']
    assert 'half a letter' in report_html(tmp_path)

def test_a_strangers_record_shows_none_of_your_pictures(tmp_path):
    own = photos(tmp_path, 'own/secret.jpg', 'photos/0.jpg')
    folder = a_run(tmp_path/'runs', data=dict(classes=['a', 'b'], root=str(own/'photos'), images=dict(valid=40)))
    with np.load(folder/'predictions.npz') as f: arrays = dict(f)
    arrays['image'] = np.array(['../own/secret.jpg', str(own/'own/secret.jpg'), *[f'{i}.jpg' for i in range(38)]])
    np.savez(folder/'predictions.npz', **arrays)
    record = json.loads((folder/'run.json').read_text())
    for k in ('files', 'digest'): record.pop(k)
    (folder/'run.json').write_text(json.dumps(record))
    assert '--photos FOLDER' in report_html(tmp_path/'runs')
    from fashion_bench.results.photos import shown_below
    assert shown_below(arrays['image'][:3], own/'photos') == [False, False, True]

def test_no_name_commands_the_terminal(tmp_path):
    a_run(tmp_path, 'timm/clear\x1b[2J')
    text = board_text(leaderboard(tmp_path))
    assert '\x1b' not in text and 'clear\\x1b[2J' in text

ODD_FACTS = [[], None, dict(size='x'), dict(classes=[1]), dict(mean=[1]), dict(head='none'), dict(multilabel='no')]

@pytest.mark.parametrize('odd', ODD_FACTS)
def test_an_odd_model_is_refused(tmp_path, odd):
    from fashion_bench.runs.predictor import load_predictor
    facts = dict(model='timm/x', network='timm/x', head='fastai', size=32, interpolation='bilinear', mean=[0]*3,
                 std=[1]*3, classes=['a', 'b'], multilabel=False)
    (tmp_path/'model.json').write_text(json.dumps(facts | odd if isinstance(odd, dict) else odd), encoding='utf-8-sig')
    (tmp_path/'model.safetensors').write_bytes(b'')
    with pytest.raises(InputError, match='model.json'): load_predictor(tmp_path)

def test_evil_names_come_through_every_table(tmp_path):
    board = pd.DataFrame(dict(model=EVIL, accuracy=np.linspace(0, 1, len(EVIL))))
    for suffix in ('csv', 'md', 'tex'): write_board(board, tmp_path/f'board.{suffix}')
    assert pd.read_csv(tmp_path/'board.csv').model.tolist() == EVIL
    lines = (tmp_path/'board.md').read_text(encoding='utf-8').splitlines()
    assert len(lines) == 2 + len(EVIL) and all(len(re.findall(r'(?<!\\)\|', o)) == 3 for o in lines)
    assert '$50-$100' not in (tmp_path/'board.tex').read_text(encoding='utf-8')

def test_evil_names_are_drawn_as_they_are(tmp_path):
    import matplotlib
    matplotlib.use('Agg')
    from fashion_bench.data.pictures import plot_dataset
    from fashion_bench.results import plots
    n = len(EVIL)
    df = pd.DataFrame(dict(model=EVIL, accuracy=np.linspace(.1, .9, n), minutes_per_epoch=np.linspace(1, 2, n),
                           parameters=1e6*np.arange(1, n+1), low=.1, high=.9, split='test', library='timm'))
    df['rank'] = [str(i+1) for i in range(n)]
    drawn = [f(df) for f in (plots.plot_efficiency, plots.plot_accuracy, plots.plot_pareto, plots.plot_weights)]
    drawn += [plots.plot_pareto(df, 'parameters'), plots.plot_confusion(pd.DataFrame(1, index=EVIL, columns=EVIL))]
    for i, o in enumerate(drawn): o.figure.savefig(tmp_path/f'{i}.png')
    table = load_table(listed(tmp_path/'shop', [o for o in EVIL for _ in range(3)]), check=False)
    plot_dataset(table).savefig(tmp_path/'d.png')

def test_evil_names_come_back_from_a_grid_file_and_the_shell(tmp_path):
    import shlex
    from fashion_bench.base.gridfile import rerun, write_grid
    for file in ('g.toml', 'g.yaml'):
        write_grid(tmp_path/file, dict(data=EVIL[8], models=EVIL, keep=EVIL[2]))
        assert read_grid(tmp_path/file)['models'] == EVIL
    spec = dict(data='f00d', model='timm/resnet18', weights='pretrained', recipe='ep1_bs8', size=32, seed=1, protocol=2)
    line, _ = rerun([dict(spec=spec, data=dict(load=dict(data=EVIL[8], label=EVIL[9])))])
    assert EVIL[8] in shlex.split(line) and EVIL[9] in shlex.split(line)

def plain(o): return unicodedata.normalize('NFC', o).strip()

NAMES = st.text(st.characters(blacklist_categories=['Cs', 'Cc'], blacklist_characters='/\\'), min_size=1, max_size=12)

@settings(max_examples=60, **FUZZ)
@given(st.lists(NAMES.filter(lambda o: o.strip()), min_size=2, max_size=4, unique_by=plain))
def test_any_text_may_be_a_class(tmp_path_factory, labels):
    home = tmp_path_factory.mktemp('labels')
    file = home/'t.csv'
    pd.DataFrame(dict(image=[f'{i}.jpg' for i in range(8*len(labels))], label=labels*8)).to_csv(file, index=False)
    for i in range(8*len(labels)): (home/f'{i}.jpg').write_bytes(b'')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        table = load_table(file)
    assert set(table.label) == set(map(plain, labels))
    shutil.rmtree(home)

@settings(max_examples=40, **FUZZ)
@given(st.lists(NAMES.filter(lambda o: o.strip(' .') == o), min_size=2, max_size=4,
                unique_by=lambda o: plain(o).casefold()))
def test_any_text_may_be_the_name_of_a_file(tmp_path_factory, names):
    home = tmp_path_factory.mktemp('names')
    names = [f'{o}.jpg' for o in names]
    for o in names: (home/o).write_bytes(b'')
    df = pd.DataFrame(dict(image=names, label=['a', 'b', 'a', 'b'][:len(names)]))
    df.to_csv(home/'t.csv', index=False)
    if all(not o.startswith('.') for o in names):
        assert {plain(o) for o in load_table(home/'t.csv', check=False).image} == set(map(plain, names))
    shutil.rmtree(home)

def test_a_progress_bar_shows_names_as_they_are(tmp_path):
    import io
    from fashion_bench.base.specs import RunSpec
    from fashion_bench.follow.progress import BarProgress
    from fashion_bench.training.recipes import parse_recipe
    from rich.console import Console
    out = io.StringIO()
    bar, spec = BarProgress(Console(file=out, force_terminal=True, width=200)), RunSpec(
        'f00d', f'timm/{EVIL[5]}', recipe=parse_recipe('ep1_bs4_lr1e-3'))
    bar.before_bench([spec], load_table(photos(tmp_path/'shop', *some('coat', 'tee'))))
    bar.before_run(spec)
    bar.bar.refresh()
    bar.say(EVIL[5])
    bar.after_bench()
    assert f'timm/{EVIL[5]}' in out.getvalue() and out.getvalue().count(EVIL[5]) >= 2

# And

def test_results_may_lie_where_they_are_not_among_the_photos(tmp_path):
    file = listed(tmp_path/'project', ['a', 'b']*4, [f'{s}/{i}.jpg' for s in ('train', 'test') for i in range(4)])
    assert check_out(tmp_path/'project/runs', load_table(file)).is_dir()
    inside = pytest.raises(InputError, match="inside the data's folder")
    with inside: check_out(tmp_path/'project/train/runs', load_table(file))
    disks = [tmp_path/o for o in ('disk1', 'disk2')]
    names = [str(photo(d/f'{i}.jpg')) for d in disks for i in range(4)]
    absolute = pd.DataFrame(dict(image=names, label=['a', 'b']*4, split=['train']*6 + ['valid']*2, root='/'))
    assert check_out(tmp_path/'runs', load_table(absolute)).is_dir()
    folder = photos(tmp_path/'shop', *some('coat', 'tee'))
    with inside: check_out(folder/'runs', load_table(folder))

def test_many_copies_make_few_findings(tmp_path):
    from fashion_bench.data.audit import Audit, find_problems
    n = 3000
    names = [f'{i}.jpg' for i in range(n)]
    table = pd.DataFrame(dict(image=names, label=['a', 'b']*(n//2), split='train', root='.'))
    colours = [bytes([90 + i % 2]*192) for i in range(n)]
    seen = pd.DataFrame(dict(width=99, height=99, mode='RGB', digest=names, phash=[i % 2 for i in range(n)],
                             colours=colours, reason='', detail=''))
    found = find_problems(table, seen)
    assert found.kind.isin(['duplicate', 'other label']).sum() == n - 1
    assert len(audit_json(Audit(table, seen, found))) < 500_000

def test_a_photo_given_twice_is_predicted_once(tmp_path):
    from fashion_bench.runs.predictor import image_files
    root = photos(tmp_path, 'a.jpg', 'b.jpg')
    (root/'link.jpg').symlink_to(root/'a.jpg')
    assert len(image_files(root, root/'a.jpg', root/'*.jpg')) == 2

def test_an_audit_of_evil_names_runs_nothing(tmp_path):
    table = load_table(listed(tmp_path, [o for o in EVIL[:2] for _ in range(2)], source=EVIL[0]), check=False)
    table.attrs['source'] = EVIL[0]
    page = audit_html(audit(table, n_workers=0))
    assert '<script' not in page and "default-src 'none'" in page
