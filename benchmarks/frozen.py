"""How fast a frozen backbone sees photos, beside its plain forward pass; and what memory hundreds of thousands need.

    python benchmarks/frozen.py speed [DATA] [--model timm/tf_efficientnet_lite0] [--size 96] [--repeats 5]
    python benchmarks/frozen.py memory [--photos 290000] [--features 2048]

Both sides of `speed` take turns in one process, in the same batches and precision, on pixels that are in the cache; the
ratio is the median of those of neighbours. `memory` lets both classifiers go through random features in a mapped file,
and prints the most memory that was the process's own: pages of the file are the system's, which takes them back.
"""
from pathlib import Path
import argparse, re, shutil, statistics as st, tempfile, threading, time, warnings

warnings.filterwarnings('ignore')
import numpy as np, pandas as pd, torch
from fashion_bench.base.files import write_json
from fashion_bench.data.cache import build_cache
from fashion_bench.data.loaders import fashion_dls
from fashion_bench.data.sources import load_table
from fashion_bench.models.learner import fashion_learner
from fashion_bench.models.registry import model_inputs
from fashion_bench.training.features import Features, frozen_features
from fashion_bench.training.frozen import frozen_answers
from fashion_bench.training.precision import best_precision, looking_in
from fashion_bench.training.recipes import FrozenRecipe

def look(learn, table:pd.DataFrame, precision:str)->float:
    "Images per second of a look at every photo, its file and its digest included"
    start = time.perf_counter()
    found = frozen_features(learn, table, 'a benchmark', precision)
    rate = len(table)/(time.perf_counter() - start)
    shutil.rmtree(found.folder)
    return rate

def forward(learn, table:pd.DataFrame, precision:str)->float:
    "Images per second of the backbone alone, on one batch again and again"
    bs, backbone, device = learn.dls.valid.bs, learn.model[0], learn.dls.device
    side = learn.dls.train.reader.size
    x = torch.rand(bs, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
    batches = -(-len(table)//bs)
    with looking_in(precision, backbone, device):
        start = time.perf_counter()
        for _ in range(batches): y = backbone(x)
        y.float().sum().item() # a GPU has done all of it
        return batches*bs/(time.perf_counter() - start)

def speed(args):
    "Print both, and the median of the ratios of neighbours"
    table, inputs = load_table(args.data), model_inputs(args.model, args.size)
    cache = build_cache(table, inputs['size'], inputs['interpolation'])
    dls = fashion_dls(table, **inputs, bs=args.bs, cache=cache, num_workers=0)
    learn, precision = fashion_learner(dls, args.model), best_precision('auto', dls.device)
    for f in (look, forward): f(learn, table, precision)
    pairs = [(look(learn, table, precision), forward(learn, table, precision)) for _ in range(args.repeats)]
    looks, forwards = zip(*pairs)
    print(f'{args.model} at {inputs["size"]} px, {precision}, {dls.device}, {torch.get_num_threads()} threads, '
          f'{len(table)} photos: {st.median(looks):.0f} images/s, forward alone {st.median(forwards):.0f}; '
          f'ratio {st.median(a/b for a,b in pairs):.2f}')

def random_features(folder:Path, counts:dict, width:int)->Features:
    "Directions around one of each class, in a file"
    rng, n = np.random.default_rng(0), sum(counts.values())
    x = np.lib.format.open_memmap(folder/'features.npy', 'w+', np.float32, (n, width))
    centres = rng.standard_normal((50, width), np.float32)
    for i in range(0, n, 4096):
        rows = np.arange(i, min(i + 4096, n))
        o = centres[rows % 50] + 4*rng.standard_normal((len(rows), width), np.float32)
        x[rows] = o/np.linalg.norm(o, axis=1, keepdims=True)
    x.flush()
    write_json(folder/'facts.json', dict(images=counts, features=width))
    return Features(folder)

def own_memory()->float:
    "Gigabytes that are the process's own (Linux)"
    return int(re.search(r'RssAnon:\s+(\d+)', Path('/proc/self/status').read_text())[1])/2**20

def most_memory(f)->tuple:
    "The most gigabytes that a call of `f` adds, and its seconds"
    before, most, done = own_memory(), [0.], threading.Event()
    def watch():
        while not done.wait(.05): most.append(own_memory() - before)
    watcher, start = threading.Thread(target=watch), time.perf_counter()
    watcher.start()
    f()
    done.set()
    watcher.join()
    return max(most), time.perf_counter() - start

def memory(args):
    "Print what each classifier adds to the process's own memory"
    n, few = args.photos, min(2000, args.photos//7) # a few to be told apart: those to learn from are what fills memory
    counts = dict(train=n - 2*few, valid=few, test=few)
    with tempfile.TemporaryDirectory() as home:
        features = random_features(Path(home), counts, args.features)
        splits = np.repeat(list(counts), list(counts.values()))
        table = pd.DataFrame(dict(image=[f'{i}.jpg' for i in range(n)], split=splits,
                                  label=[f'class {i % 50:02}' for i in range(n)]))
        size = features.x.nbytes/2**30
        for recipe in (FrozenRecipe('knn'), FrozenRecipe('linear_probe')):
            added, took = most_memory(lambda: frozen_answers(recipe, features, table))
            print(f'{recipe} of {n:,} photos x {args.features:,} numbers ({size:.2f} GB): {added:.2f} GB of memory, '
                  f'{took:.0f} s', flush=True)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('do', choices=['speed', 'memory'])
    p.add_argument('data', nargs='?', default='wardrobe', help='Photos, as load_table takes them.')
    p.add_argument('--model', default='timm/tf_efficientnet_lite0')
    for k, v in dict(size=96, bs=32, repeats=5, photos=290_000, features=2048).items():
        p.add_argument(f'--{k}', type=int, default=v)
    args = p.parse_args()
    dict(speed=speed, memory=memory)[args.do](args)
