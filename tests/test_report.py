"The report in a real browser, at a phone's width and without a network, and from the command line."
import html, json, re, shutil, subprocess, sys
from base64 import b64decode

import fashion_bench
import numpy as np
import pandas as pd
import pytest
from fashion_bench.base.licences import LICENCES
from fashion_bench.results.page import html_page, html_table, table_tools
from fashion_bench.results.records import load_runs
from fashion_bench.results.report import report_html
from fashion_bench.results.standings import _place

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')

FINE_TUNE = 'fine_tune(3, freeze_epochs=1, base_lr=0.002), bs=32'

HISTORY = """epoch,phase,train_loss,valid_loss,valid_accuracy
1,frozen,1,1,.4
2,unfrozen,.8,.9,.5
"""

STEPS = """step,phase,epoch,loss,lr_0,lr_1
1,frozen,1,1,1e-5,1e-3
2,unfrozen,2,.8,1e-4,1e-2
"""

def figures(m, correct):
    "Of the model number `m`: every second image is of the test split"
    return dict(valid_accuracy=correct[::2].mean(), test_accuracy=correct[1::2].mean(),
                minutes_per_epoch=1. + .3*((m*7) % 5), compute_minutes_per_epoch=1., wait_share=.05,
                parameters=5e6*(m+1), multiply_adds=1e9*(m+1))

def record(folder, m, seed, recipe, images, classes, figures):
    "What its `run.json` holds"
    return dict(
        id=folder, folder=folder, status='finished',
        spec=dict(data='f00d', model=f'timm/model{m}', weights='pretrained', recipe=recipe, size=96, seed=seed),
        data=dict(source='a shop', load=dict(data='photos'), classes=[f'class {i}' for i in range(classes)],
                  images=dict(train=900, valid=images//2, test=images//2)),
        source=dict(weights='pretrained'), environment=dict(device='cpu'), figures=figures)

def make_runs(root, models, seeds, images=400, classes=8, recipe=FINE_TUNE):
    "Folders of runs, as a benchmark leaves them"
    rng, truth = np.random.default_rng(0), np.arange(images) % classes
    names, splits = [f'{i}.jpg' for i in range(images)], np.where(np.arange(images) % 2, 'test', 'valid')
    hard = rng.standard_normal(images)
    for m in range(models):
        for seed in range(seeds):
            d = root/f'timm-model{m}-{recipe[:16]}-seed{seed}'
            d.mkdir(parents=True)
            correct = hard + .5*rng.standard_normal(images) < np.quantile(hard, .5 + .02*m)
            said = np.where(correct, truth, (truth + 1) % classes)
            probs = .3*rng.dirichlet([1]*classes, images) + .7*np.eye(classes)[said]
            np.savez(d/'predictions.npz', image=np.array(names), split=splits, target=truth, probs=probs)
            found = record(d.name, m, seed, recipe, images, classes, figures(m, correct))
            (d/'run.json').write_text(json.dumps(found))
            (d/'history.csv').write_text(HISTORY)
            (d/'steps.csv').write_text(STEPS)
    return root

PROBE = """<script>
const errors = []
window.addEventListener('error', e => errors.push(e.message))
window.addEventListener('load', () => {
  const table = document.getElementById('board'), heads = [...table.tHead.rows[0].cells]
  const column = name => heads.findIndex(o => o.textContent === name)
  const shown = () => [...table.tBodies[0].rows].filter(r => !r.hidden)
  const values = name => shown().map(r => r.cells[column(name)].dataset.v ?? r.cells[column(name)].textContent)
  const click = name => heads[column(name)].firstElementChild.click()
  const box = document.querySelector('input[data-filters]')
  const find = text => { box.value = text; box.dispatchEvent(new Event('input')) }
  const seen = () => heads.filter(o => o.offsetWidth).map(o => o.textContent)
  const out = {}
  %s
  out.width = window.innerWidth
  out.overflow = document.documentElement.scrollWidth - window.innerWidth
  out.broken = [...document.images].filter(o => !o.naturalWidth).length
  const resources = performance.getEntriesByType('resource').map(o => o.name)
  out.outside = resources.filter(o => !o.startsWith('data:'))
  out.errors = errors
  window.parent.postMessage(JSON.stringify(out), '*')
})
</script>"""

# A window of Chromium is at least 500 pixels wide; a frame may be as narrow as a phone
FRAME = """<!DOCTYPE html><meta charset="utf-8"><title>nothing</title><iframe src="page.html" width="%d" height="900"
style="border: 0"></iframe>
<script>window.addEventListener('message', e => { document.title = 'PROBED' + e.data })</script>"""

def in_browser(file, profile):
    "The page at `file` as Chromium shows it: its HTML, and what it says beside it"
    ask = [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
           '--disable-component-update', '--disable-sync', '--enable-logging=stderr', f'--user-data-dir={profile}',
           '--window-size=1400,1000', '--virtual-time-budget=5000', '--dump-dom', file.as_uri()]
    r = subprocess.run(ask, capture_output=True, text=True, timeout=120)
    return r.stdout, r.stderr

def probed(page, script, width, folder):
    "What `script` finds out on `page` at a width, where nothing may go wrong and nothing be fetched"
    (folder/'page.html').write_text(page.replace('<head>', '<head>' + PROBE % script, 1), encoding='utf-8')
    (folder/'frame.html').write_text(FRAME % width, encoding='utf-8')
    shown, said = in_browser(folder/'frame.html', folder/'profile')
    found = re.search(r'<title>PROBED(.*?)</title>', shown, re.S)
    assert found, shown[:500] + said[-500:]
    out = json.loads(html.unescape(found[1]))
    assert out['broken'] == 0 and out['errors'] == [] and out['outside'] == [] and 'CONSOLE' not in said, said
    assert out['width'] == width and out['overflow'] <= 0, 'the page is wider than the window'
    return out

needs_chromium = pytest.mark.skipif(not CHROMIUM, reason='needs Chromium')

LOOKED_AT = """
  click('accuracy')
  out.down = values('accuracy')
  out.sort = heads[column('accuracy')].getAttribute('aria-sort')
  click('accuracy')
  out.up = values('accuracy')
  click('log loss')
  out.losses = values('log loss')
  click('model')
  out.names = values('model')
  find('MODEL1')
  out.filtered = values('model')
  out.counted = box.nextElementSibling.textContent.trim()
  find('nobody')
  out.none = box.nextElementSibling.textContent.trim()
  out.first = seen()
  document.getElementById('board-all').click()
  out.all = seen().length
  out.heads = heads.length
  const curves = [...document.querySelectorAll('.curves g')]
  const names = () => curves.map(o => o.querySelector('text')).filter(o => getComputedStyle(o).display !== 'none')
  out.unnamed = names().length
  curves[1].focus()
  out.named = names().map(o => o.textContent)
  out.focusable = heads.every(o => o.firstElementChild.tagName === 'BUTTON' && o.firstElementChild.tabIndex === 0)
"""

@needs_chromium
@pytest.mark.parametrize('width', [1200, 390])
def test_the_report_works_in_a_browser(tmp_path, width):
    make_runs(tmp_path/'runs', 4, 2)
    make_runs(tmp_path/'runs', 1, 2, recipe='ep1_bs32_lr2e-3') # the first model by another schedule, too
    page = report_html(tmp_path/'runs', price=2.)
    assert 'Schedules of timm/model0' in page and 'Of 2 schedules of 2 epochs' in page
    out = probed(page, LOOKED_AT, width, tmp_path)
    assert out['up'] == sorted(out['up'], key=float) and out['down'] == out['up'][::-1] and out['sort'] == 'descending'
    assert out['losses'] == sorted(out['losses'], key=float) and len(set(out['losses'])) > 1 # the best on top, too
    assert len(set(out['up'])) > 1 and out['names'] == sorted(out['names']) and out['filtered'] == ['model1']
    assert (out['counted'], out['none']) == ('1 of 5', 'none of 5')
    assert out['first'] == ['rank', 'model', 'accuracy', 'time an epoch', 'cost of a run at 2 an hour']
    assert out['unnamed'] == 0 and len(out['named']) == 1 and re.fullmatch(r'model.*: 0\.\d{3}', out['named'][0])
    assert out['all'] == out['heads'] > len(out['first']) and out['focusable']

PLACES = ['1', '2-3', '2-3', '4', '5', '6', '7', '8', '9', '10', '11', '?', '-', '-']

SORTED_BY_RANK = """
  const rank = () => [...table.tBodies[0].rows].map(r => r.cells[0].textContent)
  click('model')
  for (const o of ['up', 'down', 'first']) { click('rank'); out[o] = rank() }
"""

@needs_chromium
def test_places_are_sorted_as_numbers_and_the_first_order_comes_back(tmp_path):
    "Failures stay last either way"
    table = pd.DataFrame(dict(rank=[_place(o) for o in PLACES], model=[f'model{k*5 % 14}' for k in range(len(PLACES))]))
    page = html_page('Places', table_tools('board', False), html_table(table, 'board'))
    out = probed(page, SORTED_BY_RANK, 900, tmp_path)
    assert out['up'] == out['first'] == PLACES and out['down'] == [*PLACES[10::-1], *PLACES[-3:]]

LINKS = {url for names in LICENCES.values() for url in names.values()} # that somebody may follow
URL = 'https://hub.example/timm/' + 'a_long_name.'*12 + 'safetensors?download=true&revision=' + '0123456789abcdef'*4
LONG = 'timm/vit_huge_patch14_clip_quickgelu_378_with_registers_and_a_name_without_end.dfn5b_ft_in22k_in1k'

def lose(root, model, seed, message):
    "A run that failed, made from one that did not"
    found = json.loads(next(root.glob('*/run.json')).read_text())
    name, log = f'lost-{seed}', ['Traceback', message]
    why = dict(type='WeightsUnavailable', phase='build', message=message, log=log)
    found |= dict(id=name, folder=name, status='failed', failure=why, spec=found['spec'] | dict(model=model, seed=seed))
    found.pop('figures', None)
    (root/found['folder']).mkdir()
    (root/found['folder']/'run.json').write_text(json.dumps(found))

STAYS = """
  const around = table.parentElement, name = table.tBodies[0].rows[0].cells[1], at = o => o.getBoundingClientRect()
  around.scrollLeft = 1000
  out.name = at(name).left - at(around).left
  out.moved = around.scrollLeft
  out.scope = name.getAttribute('scope')
  around.scrollTop = 1000
  out.head = at(heads[0]).top - at(around).top
  out.down = around.scrollTop
"""

FITS = 'out.beyond = table.offsetWidth - table.parentElement.clientWidth'

@needs_chromium
def test_what_is_long_makes_no_page_wider_than_a_phone(tmp_path):
    "And the head and the names of rows stay in sight"
    runs = make_runs(tmp_path/'runs', 4, 1)
    for seed in range(12): lose(runs, LONG if seed < 6 else f'timm/lost{seed}', seed, f'{URL} cannot be reached')
    page = report_html(runs, title=URL)
    out = probed(page, STAYS, 390, tmp_path)
    assert out['moved'] > 0 and abs(out['name']) <= 1 and out['scope'] == 'row'
    assert out['down'] > 0 and abs(out['head']) <= 1
    assert probed(page, FITS, 1200, tmp_path)['beyond'] <= 0 # the first look needs no moving on a larger screen

def test_paper_and_browsers_without_scripts_show_all_rows(tmp_path):
    "And no filter, which they could not use"
    page = report_html(make_runs(tmp_path/'runs', 3, 1, images=40))
    assert '<tr hidden' not in page and re.search(r'<label[^>]*hidden[^>]*>Filter: ', page)
    labels = re.findall(r'<label[^>]*class="([^"]*)"', page)
    assert labels and all('noprint' in o.split() for o in labels)
    assert re.search(r'@media print \{.*\.noprint[^}]*\{ display: none \}', page, re.S)

def test_failures_are_grouped_and_their_logs_folded(tmp_path):
    runs = make_runs(tmp_path/'runs', 2, 1, images=40)
    for seed in range(3): lose(runs, 'timm/lost', seed, 'no network')
    part = report_html(runs).partition('>Failures</h2>')[2].partition('</section>')[0]
    assert part.count('<li>') == 1 and 'seeds 0, 1 and 2' in part and part.count('<details>') == 1
    assert '<pre>' not in re.sub('<details>.*?</details>', '', part, flags=re.S)

def test_contents_link_to_parts_and_tables_go_along_as_files(tmp_path):
    page = report_html(make_runs(tmp_path/'runs', 3, 2, images=40))
    links = re.findall(r'<a href="#(.*?)">(.*?)</a>', page)
    assert [name for _,name in links][:3] == ['Data', 'Leaderboard', 'Pictures']
    assert all(f'<h2 id="{id}">{name}</h2>' in page for id,name in links)
    files = {name: b64decode(o).decode().splitlines() for name,o in
             re.findall(r'download="(.*?)" href="data:text/csv;charset=utf-8;base64,(.*?)"', page)}
    assert {k: len(v) for k,v in files.items()} == {'leaderboard.csv': 4, 'seeds.csv': 7}
    said = (f'by fashion-bench {fashion_bench.__version__}', 'harmonic mean', 'How far sureness is from being right')
    assert all(o in page for o in said)

def test_classes_are_named_in_a_table_the_hardest_first(tmp_path):
    page = report_html(make_runs(tmp_path/'runs', 2, 2, classes=4))
    part = page.partition('>Classes and images</h2>')[2].partition('</table>')[0]
    rows = re.findall(r'<th scope="row">(class \d)</th><td class="n" data-v="(\d+)">.*?data-v="(.*?)">', part)
    shares = [float(o) for _,_,o in rows if o != '']
    assert len(rows) == 4 and shares == sorted(shares) and 'aria-label="95 % interval' in part
    assert re.search(r'<td>class \d \d+%</td>', part)

def test_predictions_of_more_classes_than_are_named_end_no_report(tmp_path):
    "Nor does a record that names none, nor one without minutes"
    runs = make_runs(tmp_path/'runs', 3, 1)
    files = sorted(runs.glob('*/run.json'))
    for file, change in zip(files, (dict(data=dict(classes=['one'])), dict(data={}), {})):
        found = json.loads(file.read_text())
        for k,v in change.items(): found[k] = {kk: vv for kk,vv in found[k].items() if kk != 'classes'} | v
        for k in ('minutes_per_epoch', 'compute_minutes_per_epoch'): found['figures'].pop(k)
        file.write_text(json.dumps(found))
    with pytest.warns(UserWarning, match='class'): page = report_html(runs)
    assert 'What an epoch of it takes is not known.' in page and 'Leaderboard' in page

@needs_chromium
def test_no_other_script_runs_on_the_page(tmp_path):
    page = report_html(make_runs(tmp_path/'runs', 2, 1, images=40), title='A report')
    evil = '<img src=x onerror="document.title=1"><script>document.title = 2</script></main>'
    (tmp_path/'report.html').write_text(page.replace('</main>', evil, 1), encoding='utf-8')
    shown, said = in_browser(tmp_path/'report.html', tmp_path/'profile')
    assert '<title>A report</title>' in shown and 'Content Security Policy' in said, said[-500:]

def test_the_page_asks_for_nothing_and_is_small(tmp_path):
    page = report_html(make_runs(tmp_path/'runs', 15, 3))
    bare = re.sub(r'base64,[A-Za-z0-9+/=]+', '', page)
    assert len(page) < 5*2**20
    bare = re.sub(r'<a href="([^"]+)">', lambda m: '' if m[1] in LINKS else m[0], bare)
    assert not re.search(r'\b(?:src|srcset|href)="(?!data:|#)', bare) and '://' not in bare
    assert not re.search(r'url\((?!#)', bare) and '@import' not in bare

def test_report_and_compare_from_the_command_line(tmp_path):
    runs = make_runs(tmp_path/'runs', 3, 2)
    def shell(*args):
        ask = [sys.executable, '-c', 'from fashion_bench.cli.main import main; main()', *map(str, args)]
        return subprocess.run(ask, capture_output=True, text=True, cwd=tmp_path)
    for name, data in (('audit', load_runs(runs).fingerprint[0]), ('others', 'beef')):
        (tmp_path/f'{name}.json').write_text(json.dumps(dict(fingerprint=data, found='3 files cannot be read')))
    r = shell('report', runs, '-o', 'report.html', '--audit', 'audit.json', '--price', 2)
    assert r.returncode == 0 and r.stderr == '' and 'came out first' in r.stdout, r.stderr
    page = (tmp_path/'report.html').read_text(encoding='utf-8')
    assert page.startswith('<!DOCTYPE html>') and 'Audit: 3 files cannot be read' in page and 'at 2 an hour' in page
    r = shell('report', runs, '-o', 'report.html', '--audit', 'others.json')
    assert r.returncode == 2 and 'is of other images than these runs' in r.stderr
    r = shell('compare', runs, runs)
    assert r.returncode == 0 and 'model2' in r.stdout and ' 1.0' in r.stdout, r.stderr
    r = shell('compare', runs, '2021')
    assert r.returncode == 2 and 'at least 2 models of the 2021 table' in r.stderr
    r = shell('show', runs, '--to', 'board.tex')
    assert r.returncode == 0 and 'tabular' in (tmp_path/'board.tex').read_text()
    assert shell('report', tmp_path/'none').returncode == 2 and shell('compare', runs, tmp_path/'none').returncode == 2
