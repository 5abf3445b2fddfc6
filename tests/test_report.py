"The report in a real browser, at a phone's width and without a network, and from the command line."
import json, re, shutil, subprocess, sys

import numpy as np
import pytest
from fashion_bench.results.report import report_html

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
  const values = name => shown().map(r => r.cells[column(name)].textContent)
  const click = name => heads[column(name)].firstElementChild.click()
  const out = {}
  click('accuracy')
  out.down = values('accuracy')
  out.sort = heads[column('accuracy')].getAttribute('aria-sort')
  click('accuracy')
  out.up = values('accuracy')
  click('log loss')
  out.losses = values('log loss')
  click('model')
  out.names = values('model')
  const box = document.querySelector('input[data-filters]')
  box.value = 'MODEL1'
  box.dispatchEvent(new Event('input'))
  out.filtered = values('model')
  out.focusable = heads.every(o => o.firstElementChild.tagName === 'BUTTON' && o.firstElementChild.tabIndex === 0)
  out.overflow = document.documentElement.scrollWidth - window.innerWidth
  out.broken = [...document.images].filter(o => !o.naturalWidth).length
  const resources = performance.getEntriesByType('resource').map(o => o.name)
  out.outside = resources.filter(o => !o.startsWith('data:'))
  out.errors = errors
  document.title = 'PROBED' + JSON.stringify(out)
})
</script>"""

def in_browser(file, width, profile):
    "The page at `file` as Chromium shows it in a window of a width: its HTML, and what it says beside it"
    ask = [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
           '--disable-component-update', '--disable-sync', '--enable-logging=stderr', f'--user-data-dir={profile}',
           f'--window-size={width},900', '--virtual-time-budget=5000', '--dump-dom', file.as_uri()]
    r = subprocess.run(ask, capture_output=True, text=True, timeout=120)
    return r.stdout, r.stderr

@pytest.mark.skipif(not CHROMIUM, reason='needs Chromium')
@pytest.mark.parametrize('width', [1200, 390])
def test_the_report_works_in_a_browser(tmp_path, width):
    make_runs(tmp_path/'runs', 4, 2)
    make_runs(tmp_path/'runs', 1, 2, recipe='ep1_bs32_lr2e-3') # the first model by another schedule, too
    page = report_html(tmp_path/'runs', price=2.)
    assert 'Schedules of timm/model0' in page and 'Of 2 schedules of 2 epochs' in page
    (tmp_path/'report.html').write_text(page.replace('<head>', '<head>' + PROBE, 1), encoding='utf-8')
    shown, said = in_browser(tmp_path/'report.html', width, tmp_path/'profile')
    found = re.search(r'<title>PROBED(.*?)</title>', shown, re.S)
    assert found, shown[:500] + said[-500:]
    out = json.loads(found[1].replace('&quot;', '"').replace('&amp;', '&').replace('&lt;', '<').replace('&gt;', '>'))
    assert out['up'] == sorted(out['up'], key=float) and out['down'] == out['up'][::-1] and out['sort'] == 'descending'
    assert out['losses'] == sorted(out['losses'], key=float) and len(set(out['losses'])) > 1 # the best on top, too
    assert len(set(out['up'])) > 1 and out['names'] == sorted(out['names']) and out['filtered'] == ['model1']
    assert out['focusable'] and out['broken'] == 0 and out['errors'] == [] and out['outside'] == []
    assert out['overflow'] <= 0, 'the page is wider than the window'
    assert 'CONSOLE' not in said, said

@pytest.mark.skipif(not CHROMIUM, reason='needs Chromium')
def test_no_other_script_runs_on_the_page(tmp_path):
    page = report_html(make_runs(tmp_path/'runs', 2, 1, images=40), title='A report')
    evil = '<img src=x onerror="document.title=1"><script>document.title = 2</script></main>'
    (tmp_path/'report.html').write_text(page.replace('</main>', evil, 1), encoding='utf-8')
    shown, said = in_browser(tmp_path/'report.html', 900, tmp_path/'profile')
    assert '<title>A report</title>' in shown and 'Content Security Policy' in said, said[-500:]

def test_the_page_asks_for_nothing_and_is_small(tmp_path):
    page = report_html(make_runs(tmp_path/'runs', 15, 3))
    bare = re.sub(r'base64,[A-Za-z0-9+/=]+', '', page)
    assert len(page) < 5*2**20
    assert not re.search(r'\b(?:src|srcset|href)="(?!data:)', bare)
    assert 'url(' not in bare and '@import' not in bare

def test_report_and_compare_from_the_command_line(tmp_path):
    runs = make_runs(tmp_path/'runs', 3, 2)
    def shell(*args):
        ask = [sys.executable, '-c', 'from fashion_bench.cli.main import main; main()', *map(str, args)]
        return subprocess.run(ask, capture_output=True, text=True, cwd=tmp_path)
    (tmp_path/'audit.json').write_text(json.dumps(dict(counts={'unreadable': 3})))
    r = shell('report', runs, '-o', 'report.html', '--audit', 'audit.json', '--price', 2)
    assert r.returncode == 0 and r.stderr == '' and 'came out first' in r.stdout, r.stderr
    page = (tmp_path/'report.html').read_text(encoding='utf-8')
    assert page.startswith('<!DOCTYPE html>') and 'Audit: 3 unreadable' in page and 'at 2 an hour' in page
    r = shell('compare', runs, runs)
    assert r.returncode == 0 and 'model2' in r.stdout and ' 1.0' in r.stdout, r.stderr
    r = shell('compare', runs, '2021')
    assert r.returncode == 2 and 'at least 2 models of the 2021 table' in r.stderr
    r = shell('show', runs, '--to', 'board.tex')
    assert r.returncode == 0 and 'tabular' in (tmp_path/'board.tex').read_text()
    assert shell('report', tmp_path/'none').returncode == 2 and shell('compare', runs, tmp_path/'none').returncode == 2
