"The report in a real browser, at a phone's width and without a network, and from the command line."
import json, re, shutil, subprocess, sys

import numpy as np
import pytest
from fashion_bench.results.report import report_html

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')

FINE_TUNE = 'fine_tune(3, freeze_epochs=1, base_lr=0.002), bs=32'

def make_runs(root, models, seeds, images=400, classes=8, recipe=FINE_TUNE):
    "Folders of runs, as a benchmark leaves them"
    rng, truth = np.random.default_rng(0), np.arange(images) % classes
    hard = rng.standard_normal(images)
    for m in range(models):
        for seed in range(seeds):
            d = root/f'timm-model{m}-{recipe[:16]}-seed{seed}'
            d.mkdir(parents=True)
            correct = hard + .5*rng.standard_normal(images) < np.quantile(hard, .5 + .02*m)
            probs = .3*rng.dirichlet([1]*classes, images) + .7*np.eye(classes)[np.where(correct, truth, (truth + 1) % classes)]
            np.savez(d/'predictions.npz', image=np.array([f'{i}.jpg' for i in range(images)]), split=np.where(np.arange(images) % 2, 'test', 'valid'), target=truth, probs=probs)
            figures = dict(valid_accuracy=correct[::2].mean(), test_accuracy=correct[1::2].mean(), minutes_per_epoch=1. + .3*((m*7) % 5), compute_minutes_per_epoch=1., wait_share=.05, parameters=5e6*(m+1), multiply_adds=1e9*(m+1))
            (d/'run.json').write_text(json.dumps(dict(id=d.name, folder=d.name, status='finished', spec=dict(data='f00d', model=f'timm/model{m}', weights='pretrained', recipe=recipe, size=96, seed=seed),
                data=dict(source='a shop', load=dict(data='photos'), classes=[f'class {i}' for i in range(classes)], images=dict(train=900, valid=images//2, test=images//2)), source=dict(weights='pretrained'), environment=dict(device='cpu'), figures=figures)))
            (d/'history.csv').write_text('epoch,phase,train_loss,valid_loss,valid_accuracy\n1,frozen,1,1,.4\n2,unfrozen,.8,.9,.5\n')
            (d/'steps.csv').write_text('step,phase,epoch,loss,lr_0,lr_1\n1,frozen,1,1,1e-5,1e-3\n2,unfrozen,2,.8,1e-4,1e-2\n')
    return root

PROBE = """<script>
const errors = []; window.addEventListener('error', e => errors.push(e.message))
window.addEventListener('load', () => {
  const table = document.getElementById('board'), heads = [...table.tHead.rows[0].cells]
  const column = name => heads.findIndex(o => o.textContent === name)
  const values = name => [...table.tBodies[0].rows].filter(r => !r.hidden).map(r => r.cells[column(name)].textContent)
  const click = name => heads[column(name)].firstElementChild.click()
  const out = {}
  click('accuracy'); out.up = values('accuracy'); out.sort = heads[column('accuracy')].getAttribute('aria-sort')
  click('accuracy'); out.down = values('accuracy')
  click('model'); out.names = values('model')
  const box = document.querySelector('input[data-filters]'); box.value = 'MODEL1'; box.dispatchEvent(new Event('input'))
  out.filtered = values('model')
  out.focusable = heads.every(o => o.firstElementChild.tagName === 'BUTTON' && o.firstElementChild.tabIndex === 0)
  out.overflow = document.documentElement.scrollWidth - window.innerWidth
  out.broken = [...document.images].filter(o => !o.naturalWidth).length
  out.outside = performance.getEntriesByType('resource').map(o => o.name).filter(o => !o.startsWith('data:'))
  out.errors = errors
  document.title = 'PROBED' + JSON.stringify(out)
})
</script>"""

@pytest.mark.skipif(not CHROMIUM, reason='needs Chromium')
@pytest.mark.parametrize('width', [1200, 390])
def test_the_report_works_in_a_browser(tmp_path, width):
    make_runs(tmp_path/'runs', 4, 2)
    page = report_html(make_runs(tmp_path/'runs', 1, 2, recipe='ep1_bs32_lr2e-3'), price=2.) # the first model by another schedule, too
    assert 'Schedules of timm/model0' in page and 'Of 2 schedules of 2 epochs' in page
    (tmp_path/'report.html').write_text(page.replace('<head>', '<head>' + PROBE, 1), encoding='utf-8')
    r = subprocess.run([CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--enable-logging=stderr',
                        f'--user-data-dir={tmp_path}/profile', f'--window-size={width},900', '--virtual-time-budget=5000', '--dump-dom', (tmp_path/'report.html').as_uri()], capture_output=True, text=True, timeout=120)
    found = re.search(r'<title>PROBED(.*?)</title>', r.stdout, re.S)
    assert found, r.stdout[:500] + r.stderr[-500:]
    out = json.loads(found[1].replace('&quot;', '"').replace('&amp;', '&').replace('&lt;', '<').replace('&gt;', '>'))
    assert out['up'] == sorted(out['up'], key=float) and out['down'] == out['up'][::-1] and out['sort'] == 'ascending'
    assert len(set(out['up'])) > 1 and out['names'] == sorted(out['names']) and out['filtered'] == ['model1']
    assert out['focusable'] and out['broken'] == 0 and out['errors'] == [] and out['outside'] == []
    assert out['overflow'] <= 0, 'the page is wider than the window'
    assert 'CONSOLE' not in r.stderr, r.stderr

def test_the_page_asks_for_nothing_and_is_small(tmp_path):
    page = report_html(make_runs(tmp_path/'runs', 15, 3))
    bare = re.sub(r'base64,[A-Za-z0-9+/=]+', '', page)
    assert len(page) < 5*2**20 and not re.search(r'\b(?:src|srcset|href)="(?!data:)', bare) and 'url(' not in bare and '@import' not in bare

def test_report_and_compare_from_the_command_line(tmp_path):
    runs = make_runs(tmp_path/'runs', 3, 2)
    def shell(*args): return subprocess.run([sys.executable, '-c', 'from fashion_bench.cli.main import main; main()', *map(str, args)], capture_output=True, text=True, cwd=tmp_path)
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
