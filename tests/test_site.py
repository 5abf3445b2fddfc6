"""The documentation site, as the fallback without Quarto renders it: every page there, no broken link, and three of
them in a browser."""
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

def lost_name(link, pages):
    "Whether a link is to a name that its page, called by its module as Quarto calls it, does not have"
    module, _, name = link.removeprefix(HOST).partition('.html#')
    ids = (v.ids for k,v in pages.items() if re.sub(r'(^|/)\d+_', r'\1', k) == f'{module}.html')
    return name not in next(ids, ())

def lost_file(link, page, site):
    "Whether a link of `page` is to a file that is not there; an address elsewhere is not looked at"
    if re.match(r'[a-z]+:|//', link) or link == '#': return False
    path = link.partition('#')[0].partition('?')[0]
    if not path: file = page # a link within it
    elif path.startswith('/'): file = site/path.lstrip('/')
    else: file = page.parent/path
    return not file.exists()

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
    to_names = [(name, o) for name,o in found if o.startswith(HOST)]
    lost = [f'{name}: {o}' for name,o in to_names if lost_name(o, pages)]
    lost += [f'{name}: {o}' for name,o in found if lost_file(o, site/name, site)]
    assert not lost, lost[:10]
    recipes = (site/'training/01_recipes.html').read_text(encoding='utf-8')
    assert len(to_names) > 100 and recipes.count('/fashion_bench/training/recipes.py#L') >= 7

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

def probed(file, profile, *flags, timeout):
    "What the script in a page wrote into its title"
    ask = [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
           '--allow-file-access-from-files', f'--user-data-dir={profile}', *flags, '--dump-dom', file.as_uri()]
    r = subprocess.run(ask, capture_output=True, text=True, timeout=timeout)
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
