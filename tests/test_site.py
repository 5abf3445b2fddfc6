"The documentation site, as the fallback without Quarto renders it: every page there, no broken link, and three of them in a browser."
import json, re, shutil, subprocess, sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip('smalldocs')
ROOT = Path(__file__).parent.parent
HOST = 'https://fashion-bench.github.io/fashion_bench/'
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The folder of rendered pages"
    source = tmp_path_factory.mktemp('site')/'source'
    shutil.copytree(ROOT, source, symlinks=True, ignore=shutil.ignore_patterns('.git', '.venv', 'build', '*.egg-info', '_proc', '_docs'))
    code = 'from nbdev.serve import proc_nbs; proc_nbs(n_workers=2)'
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=source, capture_output=True, text=True)
    assert r.returncode == 0, r.stdout[-2000:] + r.stderr[-2000:]
    r = subprocess.run([Path(sys.executable).with_name('smalldocs'), 'render'], cwd=source/'_proc', capture_output=True, text=True)
    assert r.returncode == 0 and 'broken link' not in r.stdout + r.stderr, r.stdout + r.stderr
    return next(o for o in (source/'_proc/_docs', source/'_docs') if (o/'index.html').exists())

class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.ids = [], set()
    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if 'id' in attrs: self.ids.add(attrs['id'])
        if link := attrs.get('href' if tag == 'a' else 'src' if tag == 'img' else ''): self.found.append(link)

def test_every_notebook_has_a_page_and_every_link_leads_somewhere(site):
    pages = {o.relative_to(site).as_posix(): Links() for o in site.rglob('*.html')}
    for name, links in pages.items():
        text = (site/name).read_text(encoding='utf-8')
        assert '#| ' not in text and '</a>](' not in text, f'{name} shows what only the builder should see'
        links.feed(text)
    assert any('colab-badge' in o for o in pages['index.html'].found)
    wanted = {o.relative_to(ROOT/'nbs').with_suffix('.html').as_posix() for o in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in o.parts}
    assert wanted <= set(pages), wanted - set(pages)
    lost, doc_links = [], 0
    for name, links in pages.items():
        for link in links.found:
            if link.startswith(HOST): # of a name in a text: the page by its module, as Quarto calls it
                module, _, name_there = link.removeprefix(HOST).partition('.html#')
                doc_links += 1
                if name_there not in next((v.ids for k,v in pages.items() if re.sub(r'(^|/)\d+_', r'\1', k) == f'{module}.html'), ()): lost.append(f'{name}: {link}')
            if re.match(r'[a-z]+:|//', link) or link == '#': continue
            path = link.partition('#')[0].partition('?')[0]
            file = ((site/path.lstrip('/')) if path.startswith('/') else (site/name).parent/path) if path else site/name
            if not file.exists(): lost.append(f'{name}: {link}')
    assert not lost, lost[:10]
    assert doc_links > 100 and (site/'training/01_recipes.html').read_text(encoding='utf-8').count('/fashion_bench/training/recipes.py#L') >= 8

PROBE = """<script>
const errors = []; window.addEventListener('error', e => errors.push(e.message))
window.addEventListener('load', () => { document.title = 'PROBED' + JSON.stringify({errors, broken: [...document.images].filter(o => o.src.startsWith('file:') && !o.naturalWidth).length, images: document.images.length, overflow: document.documentElement.scrollWidth - window.innerWidth}) })
</script>"""

@pytest.mark.skipif(not CHROMIUM, reason='needs Chromium')
@pytest.mark.parametrize('width', [1200, 390])
@pytest.mark.parametrize('page', ['index', 'tutorials/post2021', 'results/08_schedules'])
def test_pages_open_in_a_browser(site, page, width, tmp_path):
    file = (site/f'{page}.html').with_name(f'{Path(page).name}-probed-{width}.html')
    file.write_text((site/f'{page}.html').read_text(encoding='utf-8').replace('<head>', '<head>' + PROBE, 1), encoding='utf-8')
    r = subprocess.run([CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--allow-file-access-from-files',
                        f'--user-data-dir={tmp_path}', f'--window-size={width},900', '--virtual-time-budget=5000', '--dump-dom', file.as_uri()], capture_output=True, text=True, timeout=120)
    file.unlink()
    found = re.search(r'<title>PROBED(.*?)</title>', r.stdout, re.S)
    assert found, r.stdout[:500] + r.stderr[-500:]
    out = json.loads(found[1].replace('&quot;', '"'))
    assert out['errors'] == [] and out['broken'] == 0 and out['images'] > (page != 'index') - 1 and out['overflow'] <= 0, out

@pytest.mark.skipif(not CHROMIUM, reason='needs Chromium')
def test_no_page_is_wider_than_a_phone(site, tmp_path):
    "All of them in frames of 390 pixels"
    pages = sorted(o.relative_to(site).as_posix() for o in site.rglob('*.html'))
    probe = site/'probe-widths.html'
    probe.write_text("""<!DOCTYPE html><html><head></head><body><script>
const wide = {}; let left = PAGES.length
for (const p of PAGES) {
  const f = document.createElement('iframe'); f.width = 390; f.height = 800; f.src = p
  f.onload = () => { const w = f.contentDocument.documentElement.scrollWidth; if (w > 390) wide[p] = w; if (!--left) document.title = 'PROBED' + JSON.stringify(wide) }
  document.body.append(f)
}</script></body></html>""".replace('PAGES', json.dumps(pages)), encoding='utf-8')
    r = subprocess.run([CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--allow-file-access-from-files',
                        f'--user-data-dir={tmp_path}', '--virtual-time-budget=15000', '--dump-dom', probe.as_uri()], capture_output=True, text=True, timeout=240)
    probe.unlink()
    found = re.search(r'<title>PROBED(.*?)</title>', r.stdout, re.S)
    assert found, r.stdout[:500] + r.stderr[-500:]
    assert len(pages) > 50 and json.loads(found[1].replace('&quot;', '"')) == {}

def test_it_speaks_to_machines_too(site):
    text = (ROOT/'nbs/llms.txt').read_text(encoding='utf-8')
    assert text.count('](https://') >= 40 and (site/'llms.txt').exists()
