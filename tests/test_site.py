"""The documentation site, as the fallback without Quarto renders it: every page there, no broken link, and three of
them in a browser."""
import json, re, shutil, subprocess, sys, threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
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
    left_out = shutil.ignore_patterns('.git', '.venv', 'build', '*.egg-info', '_proc', '_docs')
    shutil.copytree(ROOT, source, symlinks=True, ignore=left_out)
    code = 'from nbdev.serve import proc_nbs; proc_nbs(n_workers=2)'
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=source, capture_output=True, text=True)
    assert r.returncode == 0, r.stdout[-2000:] + r.stderr[-2000:]
    render = [Path(sys.executable).with_name('smalldocs'), 'render']
    r = subprocess.run(render, cwd=source/'_proc', capture_output=True, text=True)
    assert r.returncode == 0 and 'broken link' not in r.stdout + r.stderr, r.stdout + r.stderr
    return next(o for o in (source/'_proc/_docs', source/'_docs') if (o/'index.html').exists())

class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.ids = [], set()
    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if 'id' in attrs: self.ids.add(attrs['id'])
        if link := attrs.get(dict(a='href', img='src').get(tag)): self.found.append(link)

def lost(link, page, site, pages):
    "Whether a link of `page` is to a file or to a name that is not there; an address elsewhere is not looked at"
    if re.match(r'[a-z]+:|//', link) or link == '#': return False
    path, _, name = link.partition('#')
    path = path.partition('?')[0]
    file = page if not path else site/path.lstrip('/') if path.startswith('/') else page.parent/path
    if not file.exists(): return True
    there = pages.get(file.resolve().relative_to(site.resolve()).as_posix())
    return bool(name) and there is not None and name not in there.ids

def test_every_notebook_has_a_page_and_every_link_leads_somewhere(site):
    pages = {o.relative_to(site).as_posix(): Links() for o in site.rglob('*.html')}
    for name, links in pages.items():
        text = (site/name).read_text(encoding='utf-8')
        assert '#| ' not in text and '</a>](' not in text, f'{name} shows what only the builder should see'
        links.feed(text)
    assert any('colab-badge' in o for o in pages['index.html'].found)
    notebooks = [o for o in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in o.parts]
    wanted = {o.relative_to(ROOT/'nbs').with_suffix('.html').as_posix() for o in notebooks}
    assert wanted <= set(pages), wanted - set(pages)
    found = [(name, o) for name,links in pages.items() for o in links.found]
    missing = [f'{name}: {o}' for name,o in found if lost(o, site/name, site, pages)]
    assert not missing, missing[:10]
    away = [f'{name}: {o}' for name,o in found if o.startswith(HOST)]
    assert not away, away[:10] # a copy of the site is whole
    assert sum('#' in o for _,o in found) > 100
    recipes = (site/'training/01_recipes.html').read_text(encoding='utf-8')
    assert recipes.count('/fashion_bench/training/recipes.py#L') >= 7

PROBE = """<script>
const errors = []
window.addEventListener('error', e => errors.push(e.message))
window.addEventListener('load', () => {
  const images = [...document.images]
  document.title = 'PROBED' + JSON.stringify({
    errors,
    broken: images.filter(o => o.src.startsWith('file:') && !o.naturalWidth).length,
    images: images.length,
    overflow: document.documentElement.scrollWidth - window.innerWidth})
})
</script>"""

def probed(file, profile, *flags, timeout, address=None):
    "What the script in a page wrote into its title"
    ask = [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
           '--allow-file-access-from-files', f'--user-data-dir={profile}', *flags, '--dump-dom']
    r = subprocess.run([*ask, address or file.as_uri()], capture_output=True, text=True, timeout=timeout)
    file.unlink()
    found = re.search(r'<title>PROBED(.*?)</title>', r.stdout, re.S)
    assert found, r.stdout[:500] + r.stderr[-500:]
    return json.loads(found[1].replace('&quot;', '"'))

@pytest.mark.skipif(not CHROMIUM, reason='needs Chromium')
@pytest.mark.parametrize('width', [1200, 390])
@pytest.mark.parametrize('page', ['index', 'tutorials/post2021', 'results/08_schedules'])
def test_pages_open_in_a_browser(site, page, width, tmp_path):
    file = (site/f'{page}.html').with_name(f'{Path(page).name}-probed-{width}.html')
    text = (site/f'{page}.html').read_text(encoding='utf-8')
    file.write_text(text.replace('<head>', '<head>' + PROBE, 1), encoding='utf-8')
    out = probed(file, tmp_path, f'--window-size={width},900', '--virtual-time-budget=5000', timeout=120)
    assert out['errors'] == [] and out['broken'] == 0 and out['overflow'] <= 0, out
    assert out['images'] > (page != 'index') - 1, out

SIDEBAR = """<script>
window.addEventListener('load', () => setTimeout(() => {
  const list = document.getElementById('quarto-sidebar'), here = list.querySelector('a.active')
  const a = here.getBoundingClientRect(), b = list.getBoundingClientRect()
  const groups = [...list.querySelectorAll('ul.sidebar-section')]
  const open = groups.filter(o => o.classList.contains('show'))
  const wide = [...document.querySelectorAll('main *')].filter(
    o => /auto|scroll/.test(getComputedStyle(o).overflowX) && o.scrollWidth > o.clientWidth + 1 && o.clientWidth)
  document.title = 'PROBED' + JSON.stringify({
    groups: groups.length, open: open.length, inside: open.some(o => o.contains(here)), here: here.textContent,
    seen: a.top >= b.top && a.bottom <= Math.min(b.bottom, innerHeight),
    wide: wide.length, reached: wide.filter(o => o.tabIndex == 0).length})
}, 300))
</script>"""

@pytest.mark.skipif(not CHROMIUM, reason='needs Chromium')
@pytest.mark.parametrize('page,title', [('cli/04_main', 'cli'), ('runs/03_run', 'run'),
                                        ('tutorials/howto', 'How do I')])
def test_rooms_fold_the_page_is_in_view_and_what_scrolls_is_reached_by_keyboard(site, page, title, tmp_path):
    file = (site/f'{page}.html').with_name(f'{Path(page).name}-sidebar.html')
    text = (site/f'{page}.html').read_text(encoding='utf-8')
    file.write_text(text.replace('<head>', '<head>' + SIDEBAR, 1), encoding='utf-8')
    out = probed(file, tmp_path, '--window-size=1280,700', '--virtual-time-budget=5000', timeout=120)
    assert out['groups'] >= 11 and out['open'] == 1 and out['inside'] and out['seen'], out
    assert title in out['here'] and out['wide'] == out['reached'] > (page != 'tutorials/howto') - 1, out

SEARCH = """<script>
window.addEventListener('load', () => setTimeout(() => {
  const box = document.querySelector('#quarto-search input')
  box.focus()
  box.value = ASKED
  box.dispatchEvent(new Event('input', {bubbles: true}))
  setTimeout(() => {
    const found = [...document.querySelectorAll('#quarto-search a')].map(o => o.getAttribute('href'))
    document.title = 'PROBED' + JSON.stringify(found)
  }, 2500)
}, 500))
</script>"""

@pytest.fixture(scope='module')
def address(site):
    "Where the site is served: a page of files may not fetch what the search looks in"
    handler = partial(SimpleHTTPRequestHandler, directory=str(site))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()

@pytest.mark.skipif(not CHROMIUM, reason='needs Chromium')
@pytest.mark.parametrize('asked,section', [('how do I add a model', 'how-do-i-add-a-model'),
                                           ('weights file', 'how-do-i-use-my-own-weights-file')])
def test_questions_are_found_by_the_search(site, address, asked, section, tmp_path):
    file = site/'asked.html'
    text = (site/'index.html').read_text(encoding='utf-8')
    file.write_text(text.replace('<head>', '<head>' + SEARCH.replace('ASKED', json.dumps(asked)), 1), encoding='utf-8')
    out = probed(file, tmp_path, '--virtual-time-budget=9000', timeout=120, address=f'{address}/asked.html')
    assert out and out[0].endswith(f'tutorials/howto.html#{section}'), out

FRAMES = """<!DOCTYPE html><html><head></head><body><script>
const wide = {}
let left = PAGES.length
for (const p of PAGES) {
  const f = document.createElement('iframe')
  f.width = 390
  f.height = 800
  f.src = p
  f.onload = () => {
    const w = f.contentDocument.documentElement.scrollWidth
    if (w > 390) wide[p] = w
    if (!--left) document.title = 'PROBED' + JSON.stringify(wide)
  }
  document.body.append(f)
}</script></body></html>"""

@pytest.mark.skipif(not CHROMIUM, reason='needs Chromium')
def test_no_page_is_wider_than_a_phone(site, tmp_path):
    "All of them in frames of 390 pixels"
    pages = sorted(o.relative_to(site).as_posix() for o in site.rglob('*.html'))
    probe = site/'probe-widths.html'
    probe.write_text(FRAMES.replace('PAGES', json.dumps(pages)), encoding='utf-8')
    wide = probed(probe, tmp_path, '--virtual-time-budget=15000', timeout=240)
    assert len(pages) > 50 and wide == {}

def test_it_speaks_to_machines_too(site):
    text = (ROOT/'nbs/llms.txt').read_text(encoding='utf-8')
    assert text.count('](https://') >= 40 and (site/'llms.txt').exists()
