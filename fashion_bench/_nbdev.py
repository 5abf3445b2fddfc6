"What nbdev calls as it tests the notebooks and builds the site; nothing of it is used at run time."
from functools import lru_cache
from importlib import import_module
from pathlib import Path
import atexit, os, re, shutil, tempfile

def own_temp_folder(
    cells=None # Of the notebooks that are tested
)->None:
    "What tests leave among the temporary files, gigabytes of weights, goes with the process that starts them."
    _house_look()
    home, me = tempfile.mkdtemp(prefix='fashion_bench-'), os.getpid()
    tempfile.tempdir = os.environ['TMPDIR'] = home

    @atexit.register
    def tidy():
        if os.getpid() == me: shutil.rmtree(home, ignore_errors=True)

def strip_export(
    cell # Of a notebook
)->None:
    "Take the directive off Markdown cells that are exported into docstrings: nbdev would show it on the page."
    if cell.cell_type == 'markdown': cell.remove_directives()

def _house_look():
    "Pictures that are stored for the site are transparent, and can be read on its light pages and on its dark ones"
    import matplotlib.pyplot as plt
    from .base.figures import settings
    plt.rcParams.update(settings())

@lru_cache(maxsize=None)
def _public(module):
    "Names of a module, in small letters as a page has them"
    try: return [o.lower() for o in import_module(f'fashion_bench.{module}').__all__]
    except ImportError: return ()

_LINK = re.compile(r'\[(`[^`\]]+`)\]\(https://[^)\s]*?/fashion_bench/([\w/]+)\.html#([\w.]+)\)') # as nbdev writes it

def _notebook(module, nbs):
    "Where below `nbs` the notebook of a module such as `runs/run` lies"
    room, _, name = module.rpartition('/')
    return next(o for o in (nbs/room).glob('[0-9]*.ipynb') if o.stem.partition('_')[2] == name)

def _inside(text, page):
    """`text`, of the notebook at `page`, with links that stay within the site wherever it is put, and without those to
    names that are not public, and so have no place on a page"""
    nbs = next((o for o in page.parents if o.name == 'nbs'), None)
    if nbs is None: return text # it is for a README, which lies elsewhere
    def link(m):
        label, module, name = m.groups()
        if name.lower().partition('.')[0] not in _public(module.replace('/', '.')): return label
        return f'[{label}]({Path(os.path.relpath(_notebook(module, nbs), page.parent)).as_posix()}#{name})'
    return _LINK.sub(link, text)

class links_inside:
    "nbdev links every name that it finds in backticks, to an address on the internet; here it links within the site."
    def __init__(self,
        nb # A notebook that nbdev makes a page of
    ): self.page = Path(nb.path_).absolute()

    def __call__(self, cell):
        if cell.cell_type == 'markdown': cell.source = _inside(cell.source, self.page)
        for data in (o['data'] for o in cell.get('outputs', []) if 'data' in o):
            if 'text/markdown' in data: data['text/markdown'] = _inside(''.join(data['text/markdown']), self.page)
