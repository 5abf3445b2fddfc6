"What nbdev calls as it tests the notebooks and builds the site; nothing of it is used at run time."
from functools import lru_cache
from importlib import import_module
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
    try: return import_module(f'fashion_bench.{module}').__all__
    except ImportError: return ()

def _unlinked(text):
    "`text` without links to names that are not public, and so have no place on a page"
    def kept(m): return m[0] if m[3].partition('.')[0] in _public(m[2].replace('/', '.')) else m[1]
    return re.sub(r'\[(`[^`\]]+`)\]\(https://[^)\s]*?/fashion_bench/([\w/]+)\.html#([\w.]+)\)', kept, text)

def unlink_internal(
    cell # Of a notebook
)->None:
    "nbdev links every name that it finds in backticks; those that only serve the house are described nowhere."
    if cell.cell_type == 'markdown': cell.source = _unlinked(cell.source)
    for data in (o['data'] for o in cell.get('outputs', []) if 'data' in o):
        if 'text/markdown' in data: data['text/markdown'] = [_unlinked(o) for o in data['text/markdown']]
