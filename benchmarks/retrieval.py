"""How fast photos of the same product are looked for, beside sorting everything; and the memory that many of them need.

    python benchmarks/retrieval.py speed [--photos 5000] [--features 512] [--repeats 5]
    python benchmarks/retrieval.py memory [--photos 50000] [--features 512]

Each photo asks among all others, four to a product. Both sides of `speed` take turns in one process: `search`, and the
same similarities in the same blocks whose rows are sorted whole, as a definition would have it; the ratio is the median
of those of neighbours, and the outcome must be equal. `memory` prints the most that a search in a mapped file adds to
the memory that is the process's own, and its time beside that of the similarities alone.
"""
from pathlib import Path
import argparse, statistics as st, tempfile, time

import numpy as np
from frozen import most_memory
from fashion_bench.training.retrieval import _blocks, search

def random_photos(file:Path, n:int, width:int)->tuple:
    "Directions around one of each product, in a mapped file; and the products"
    rng, products = np.random.default_rng(0), np.arange(n)//4
    x = np.lib.format.open_memmap(file, 'w+', np.float32, (n, width))
    centres = rng.standard_normal((n//4 + 1, width), np.float32)
    for i in range(0, n, 4096):
        rows = np.arange(i, min(i + 4096, n))
        o = centres[products[rows]] + 6*rng.standard_normal((len(rows), width), np.float32)
        x[rows] = o/np.linalg.norm(o, axis=1, keepdims=True)
    x.flush()
    return np.load(file, mmap_mode='r'), products

def by_sorting(x, products)->list:
    "Places of first right photos, from whole rows in order"
    first, at, everyone = [], 0, np.arange(len(x))
    for alike in _blocks(x, everyone, everyone):
        order = np.argsort(-alike, axis=1, kind='stable')
        right = products[order] == products[at:at + len(alike), None]
        right[:, -1] = False # the photo itself
        first += (right.argmax(1) + 1).tolist()
        at += len(alike)
    return first

def searched(x, products)->list:
    "The same as `search` finds it"
    everyone = np.arange(len(x))
    return search(x, products, everyone, everyone)['first'].tolist()

def timed(f, *args)->tuple:
    "What `f` gives, and its seconds"
    start = time.perf_counter()
    return f(*args), time.perf_counter() - start

def speed(args):
    "Print both, and the median of the ratios of neighbours"
    with tempfile.TemporaryDirectory() as home:
        x, products = random_photos(Path(home)/'x.npy', args.photos, args.features)
        pairs = [(timed(searched, x, products), timed(by_sorting, x, products)) for _ in range(args.repeats)]
    for (ours, _), (plain, _) in pairs: assert ours == plain
    print(f'{args.photos:,} photos x {args.features} numbers: {st.median(a for (_, a),_ in pairs):.2f} s, by sorting '
          f'{st.median(b for _,(_, b) in pairs):.2f} s; ratio {st.median(b/a for (_, a),(_, b) in pairs):.1f}')

def memory(args):
    "Print what a search adds to the process's own memory, and its time beside that of the similarities"
    with tempfile.TemporaryDirectory() as home:
        x, products = random_photos(Path(home)/'x.npy', args.photos, args.features)
        everyone = np.arange(len(x))
        _, bare = timed(lambda: [None for _ in _blocks(x, everyone, everyone)])
        added, took = most_memory(lambda: searched(x, products))
    size = 4*args.photos*args.features/2**30
    print(f'{args.photos:,} photos x {args.features} numbers ({size:.2f} GB), each among all: '
          f'{added:.2f} GB of memory, {took:.0f} s, the similarities alone {bare:.0f} s')

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('do', choices=['speed', 'memory'])
    for k, v in dict(photos=None, features=512, repeats=5).items(): p.add_argument(f'--{k}', type=int, default=v)
    args = p.parse_args()
    args.photos = args.photos or dict(speed=5000, memory=50_000)[args.do]
    dict(speed=speed, memory=memory)[args.do](args)
