"Photos of the same product, from a table to a page: who asks whom, what is kept, and what everybody makes of it."
import shutil

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner
from fashion_bench.base.answers import read_predictions, read_ranks
from fashion_bench.base.errors import InputError
from fashion_bench.base.gridfile import grid_of
from fashion_bench.base.record import read_record
from fashion_bench.cli.main import app
from fashion_bench.data.deepfashion import inshop_table
from fashion_bench.data.frames import csv_table
from fashion_bench.data.sources import load_table
from fashion_bench.data.table import image_paths
from fashion_bench.results.board import summarize
from fashion_bench.results.compare import compare_runs
from fashion_bench.results.confidence import accuracy_interval
from fashion_bench.results.leaderboard import board_text, leaderboard
from fashion_bench.results.records import by_data, correct_answers, load_runs
from fashion_bench.results.report import report_html
from fashion_bench.results.verdict import verdict
from fashion_bench.runs.bench import bench
from fashion_bench.runs.grid import plan_bench
from fashion_bench.runs.predictor import load_predictor
from fashion_bench.training.recipes import Recipe

LITE = 'timm/tf_efficientnet_lite0' # whose weights a package brings
HOW = dict(size=64, precision='fp32', isolate=False, num_workers=0)

@pytest.fixture(scope='module')
def table(): return load_table('wardrobe', subset='top=4')

@pytest.fixture(scope='module')
def runs(table, tmp_path_factory):
    "Frozen features and fine-tuned ones, by retrieval; and the same training by classes"
    out = tmp_path_factory.mktemp('runs')
    once = Recipe(1, 1, lr=1e-2, bs=16)
    bench(table, LITE, out, recipe=['frozen', once], task='retrieval', **HOW)
    bench(table, LITE, out, recipe=once, **HOW)
    return out

def folder_of(out, **spec):
    "The folder of the run that has these parts in its spec"
    records = {o: read_record(o) for o in out.iterdir() if o.is_dir()}
    found = [o for o,r in records.items() if r and all(r['spec'].get(k) == v for k,v in spec.items())]
    assert len(found) == 1
    return found[0]

EPS = 1e-5 # that rounding may change a similarity by, and so the order of photos that are this near

def by_hand(x, products, q, found):
    "Least and most place of each photo of `q`'s product, by counting what is more like `q`; the nearest first"
    alike = {o: float(x[o]@x[q]) for o in found if o != q}
    right = [v for o,v in alike.items() if products[o] == products[q]]
    def places(off): return sorted(sum(o > v + off for o in alike.values()) for v in right)
    return np.array(places(EPS)) + 1, np.array(places(-EPS))

def held_against(ranks, x, products, asks, found):
    "`ranks` are what counting by hand gives with the features of a predictor"
    for q, first, precision in zip(asks, ranks['first'], ranks['average_precision']):
        least, most = by_hand(x, products, q, found)
        nth = np.arange(1, len(least) + 1)
        assert least[0] <= first <= most[0]
        assert (nth/most).mean() - 1e-6 <= precision <= (nth/least).mean() + 1e-6

def test_what_a_run_kept_is_a_plain_search_with_the_features_of_its_model(runs, table):
    run = folder_of(runs, task='retrieval', recipe=str(Recipe(1, 1, lr=1e-2, bs=16)))
    for split in ('valid', 'test'):
        rows = table[table.split == split].reset_index(drop=True)
        x, products = load_predictor(run).features(image_paths(rows)), rows.group.to_numpy()
        asks = [i for i,o in enumerate(products) if (products == o).sum() > 1]
        ranks = read_ranks(run, split)
        assert ranks['image'].tolist() == rows.image[asks].tolist()
        held_against(ranks, x, products, asks, range(len(rows)))
    figures = read_record(run)['figures']
    assert figures['test_recall_at_5'] == pytest.approx((ranks['first'] <= 5).mean())
    assert figures['test_mrr'] == pytest.approx((1/ranks['first']).mean())
    assert figures['test_map'] == pytest.approx(ranks['average_precision'].mean(), abs=1e-6)
    assert figures['test_queries'] == len(asks) < len(rows)
    assert read_predictions(run, 'test') is None

def test_runs_of_another_task_are_other_data_and_other_entries(runs):
    parts = by_data(runs)
    assert sorted(len(o) for o in parts.values()) == [1, 2]
    board = summarize(next(o for o in parts.values() if len(o) == 2))
    assert set(board.rank_by) == {'recall_at_1'} and (board.accuracy == board.recall_at_1).all()
    with pytest.raises(InputError, match='retrieval'): leaderboard(runs)
    with pytest.raises(InputError, match='measured by accuracy, and the second by Recall@1'):
        compare_runs(*sorted(parts.values(), key=len))

@pytest.fixture(scope='module')
def searched(runs):
    "The runs by retrieval alone"
    return next(o for o in by_data(runs).values() if len(o) == 2)

def test_intervals_of_recall_are_over_products(searched, table):
    correct = correct_answers(searched)
    board = summarize(searched)
    counts = table[table.split == 'test'].group.value_counts()
    assert correct.clusters is not None and (board.products == (counts > 1).sum()).all()
    assert ((board.low < board.recall_at_1) & (board.recall_at_1 < board.high)).all()
    for entry, row in board.set_index('entry').iterrows():
        others = [v for k,v in correct.items() if k != entry]
        def ends(clusters): return accuracy_interval(correct[entry], clusters=clusters, others=others)
        by_photo, by_product = ends(None), ends(correct.clusters)
        assert (row.low, row.high) == (by_product['low'], by_product['high']) != (by_photo['low'], by_photo['high'])

def test_the_board_and_the_verdict_say_what_they_are_of(searched):
    text = board_text(leaderboard(searched))
    for o in ('Recall@1', '@5', '@10', 'MRR', 'mAP', 'taken at random', 'products'): assert o in text
    assert 'Accuracy is' not in text
    assert ' a Recall@1 of ' in verdict(searched)[0]

def test_the_report_shows_what_is_nearest(searched, table):
    page = report_html(searched, photos=table.root.iloc[0])
    assert 'Nearest photos' in page and 'A tick and a blue frame' in page and 'Recall@1 on the test split' in page
    assert 'Photos are shown where their folder is named' in report_html(searched)

def test_a_search_can_be_run_again_from_its_records(searched, table):
    records = [read_record(o) for o in searched.path]
    again = grid_of(records)
    assert again['task'] == 'retrieval'
    kept = {k: again[k] for k in ('models', 'recipe', 'size', 'seeds', 'precision', 'task')}
    assert {o.id for o in plan_bench(table, **kept)} == {o['id'] for o in records}

def test_other_products_are_other_runs_and_the_classes_alone_are_not(table):
    def id(table, **how): return plan_bench(table, LITE, recipe=Recipe(bs=16), size=64, **how)[0].id
    merged = table.assign(group=table.group.replace(table.group.iloc[0], table.group.iloc[-1]))
    assert id(table) == id(merged)
    assert id(table, task='retrieval') != id(merged, task='retrieval') != id(table)

def test_frozen_features_are_looked_at_once_for_choosing_and_for_searching(table, tmp_path, monkeypatch):
    monkeypatch.setenv('FASHION_BENCH_CACHE', str(tmp_path/'cache'))
    bench(table, LITE, tmp_path/'runs', recipe='knn(5)', **HOW)
    looks = sorted((tmp_path/'cache').glob('features-*'))
    bench(table, LITE, tmp_path/'runs', recipe='frozen', task='retrieval', **HOW)
    assert len(looks) == 1 and sorted((tmp_path/'cache').glob('features-*')) == looks

@pytest.fixture(scope='module')
def shop(table, tmp_path_factory):
    "Photos of the wardrobe laid out as the In-shop benchmark, and the same as a CSV with its own columns"
    root = tmp_path_factory.mktemp('shop')
    rows, lines = table[table.group.duplicated(keep=False)].reset_index(drop=True), []
    of_product = rows.groupby('group').cumcount()
    for o, nth, file in zip(rows.itertuples(), of_product, image_paths(rows)):
        name = f'img/WOMEN/{o.label}/{o.group}/{nth:02d}.jpg'
        role = 'train' if o.split != 'test' else 'query' if nth == 0 else 'gallery'
        (root/'Img'/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root/'Img'/name)
        lines.append((name, o.group, role))
    (root/'Eval').mkdir()
    text = ''.join(f'{n:<60} {i} {s}\n' for n,i,s in lines)
    head = f'{len(lines)}\nimage_name item_id evaluation_status\n'
    (root/'Eval/list_eval_partition.txt').write_text(head + text)
    frame = pd.DataFrame(lines, columns=['image', 'product', 'split'])
    frame.assign(label=frame.image.str.split('/').str[2]).to_csv(root/'shop.csv', index=False)
    return root

@pytest.mark.parametrize('read', [inshop_table, lambda root: csv_table(root/'shop.csv', root/'Img')])
def test_queries_ask_and_the_gallery_is_found(shop, tmp_path, read):
    found = read(shop)
    record, = bench(found, LITE, tmp_path, recipe='frozen', task='retrieval', **HOW)
    ranks = read_ranks(tmp_path/record['folder'], 'test')
    role = found.set_index('image').role
    assert set(role[ranks['image']]) == {'query'} and len(ranks['image']) == (role == 'query').sum()
    near = ranks['nearest'][ranks['nearest'] >= 0]
    assert set(role[ranks['photo'][near]]) == {'gallery'}
    assert (ranks['shown'] == (role == 'gallery').sum()).all()
    assert record['figures']['valid_queries'] > 0 # of which each asks among all others

def test_the_command_does_it_and_shows_it(shop, tmp_path):
    said = CliRunner().invoke(app, ['run', str(shop), '--task', 'retrieval', '--recipe', 'frozen', '--models', LITE,
                                    '--size', '64', '--out', str(tmp_path/'runs'), '--in-process'])
    assert said.exit_code == 0 and 'Recall@1' in said.output
    run, = [o for o in (tmp_path/'runs').iterdir() if (o/'run.json').is_file()]
    asked = ['nearest', str(run), '--photos', str(shop/'Img/img'), '--out', str(tmp_path/'near.html')]
    assert CliRunner().invoke(app, asked).exit_code == 0
    assert '<figure' in (tmp_path/'near.html').read_text()
    first = read_ranks(run, 'test')['image'][0]
    assert CliRunner().invoke(app, [*asked, '--image', first]).exit_code == 0

@pytest.mark.parametrize('change, how, said', [
    (lambda t: t.drop(columns='group'), {}, 'has no column `group`'),
    (lambda t: t.assign(group=t.image), {}, 'no product of .* has two photos in the valid split'),
    (lambda t: t, dict(recipe='knn'), 'knn tells classes apart'),
    (lambda t: t, dict(recipe='projected'), 'has no text tower'),
    (lambda t: t, dict(task='classification', recipe='frozen'), 'for --task retrieval'),
    (lambda t: t, dict(task='search'), 'unknown task')])
def test_what_cannot_be_searched_is_said_before_anything_is_trained(table, tmp_path, change, how, said):
    asked = dict(recipe='frozen', task='retrieval') | how
    with pytest.raises(InputError, match=said): bench(change(table), LITE, tmp_path/'runs', **asked, **HOW)
    assert not (tmp_path/'runs').exists()

def test_damaged_ranks_are_no_ranks(searched, tmp_path):
    home = tmp_path/'runs'
    for o in searched.path: shutil.copytree(o, home/o.rpartition('/')[2])
    file = next(home.glob('*/predictions.npz'))
    file.write_bytes(file.read_bytes()[:-500])
    assert read_ranks(file.parent, 'test') is None
    assert (load_runs(home).status == 'damaged').sum() == 1
