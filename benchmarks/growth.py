"""How seconds and memory grow with the number of photos, from the folder to the figures.

    python benchmarks/growth.py [--sizes 1000,10000,70000,289222] [--size 32] [--classes 50] [--plot growth.png]

Draws so many small photos into folders of classes and splits, and measures each step that has to do with all of them:
the table, its fingerprint, an audit, the cache of pixels, a pass of the loader over the training split with its
augmentation, and figures and intervals of a quarter of the photos. Printed are seconds, the most memory that each adds
to the process's own, and the exponent of growth between the first size and the last: 1 is linear. Photos are of noise,
64 pixels wide, no two alike, so that seconds are those of small files; how they grow is what is looked at.
"""
from pathlib import Path
import argparse, math, os, tempfile, warnings

warnings.filterwarnings('ignore')
import matplotlib.pyplot as plt, numpy as np
from PIL import Image
from frozen import most_memory
from fashion_bench.data.audit import audit
from fashion_bench.data.cache import build_cache
from fashion_bench.data.loaders import fashion_dls
from fashion_bench.data.sources import load_table
from fashion_bench.data.table import fingerprint
from fashion_bench.results.confidence import accuracy_interval, rank_models
from fashion_bench.results.scores import scores

def draw_photos(home:Path, n:int, classes:int):
    "Photos of noise in folders of splits and classes, three quarters of them in train"
    rng = np.random.default_rng(0)
    for i in range(n):
        split = ('train', 'train', 'train', 'train', 'train', 'train', 'valid', 'test')[i//classes % 8]
        folder = home/split/f'class {i % classes:02}'
        if i < 8*classes: folder.mkdir(parents=True, exist_ok=True)
        colours = rng.integers(0, 256, (8, 6, 3), np.uint8)
        Image.fromarray(colours).resize((48, 64), Image.Resampling.NEAREST).save(folder/f'{i}.jpg', quality=80)

def answers(n:int, classes:int, seed:int)->tuple:
    "Probabilities of a model that is right of two in three"
    rng, truth = np.random.default_rng(seed), np.arange(n) % classes
    probs = rng.random((n, classes), np.float32)
    probs[np.arange(n), truth] += rng.random(n) < .66
    return probs/probs.sum(1, keepdims=True), truth

def steps(home:Path, args)->list:
    "What is measured: names, and what to call"
    made, n = {}, sum(1 for _ in home.glob('*/*/*.jpg'))//4
    def table(): made['table'] = load_table(home)
    def cache(): made['cache'] = build_cache(made['table'], args.size)
    def epoch():
        dls = fashion_dls(made['table'], size=args.size, cache=made['cache'], num_workers=0)
        for _ in dls.train: pass
    def figures():
        for seed in (0, 1): made[seed] = answers(n, args.classes, seed)
        for seed in (0, 1): scores(*made[seed])
    def intervals():
        right = {k: (made[k][0].argmax(1) == made[k][1])[None] for k in (0, 1)}
        accuracy_interval(right[0], others=[right[1]])
        rank_models(right)
    def look(): audit(made['table'])
    return [('table', table), ('fingerprint', lambda: fingerprint(made['table'])), ('audit', look), ('cache', cache),
            ('a pass of the loader', epoch), ('figures', figures), ('intervals', intervals)]

def measured(n:int, args)->dict:
    "Seconds and gigabytes of each step with `n` photos"
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as kept, warnings.catch_warnings():
        os.environ['FASHION_BENCH_CACHE'] = kept
        draw_photos(Path(home), n, args.classes)
        found = {}
        for name, f in steps(Path(home), args):
            gigabytes, seconds = most_memory(f)
            found[name] = seconds, gigabytes
            print(f'{n:>8,} photos: {name:22} {seconds:8.2f} s {gigabytes:6.2f} GB', flush=True)
    return found

def plot(found:dict, file:Path):
    "Seconds over photos, on logarithmic scales"
    fig, ax = plt.subplots(figsize=(7, 4.2), layout='constrained')
    sizes = list(found)
    for name in found[sizes[0]]: ax.plot(sizes, [found[n][name][0] for n in sizes], marker='o', label=name)
    ax.plot(sizes, [n/sizes[0]*.1 for n in sizes], color='grey', linestyle=':', label='linear')
    ax.set(xscale='log', yscale='log', xlabel='photos', ylabel='seconds')
    ax.grid(linewidth=.4)
    ax.legend(fontsize=8, frameon=False)
    fig.savefig(file, dpi=120)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--sizes', default='1000,10000,70000,289222')
    for k, v in dict(size=32, classes=50).items(): p.add_argument(f'--{k}', type=int, default=v)
    p.add_argument('--plot', type=Path)
    args = p.parse_args()
    found = {n: measured(n, args) for n in map(int, args.sizes.split(','))}
    first, *_, last = found
    for name in found[first]:
        a, b = found[first][name][0], found[last][name][0]
        grows = math.log(b/a, last/first)
        print(f'{name}: times {b/a:.0f} for {last/first:.0f} times the photos, exponent {grows:.2f}')
    if args.plot: plot(found, args.plot)
