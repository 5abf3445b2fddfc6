"""How fast images reach a model: plain fastai, ours without a cache, ours with one.

    python benchmarks/loading.py FOLDER [--size 224] [--repeats 5]

All sides take turns in one process on the same photos; what is printed is the median, and ratios are medians of the ratios of
neighbours. Every loader reads in this process with one thread, so that its figure is per worker.
"""
import argparse, os, statistics as st, tempfile, time, warnings

warnings.filterwarnings('ignore')
from fastai.vision.all import *
from fashion_bench.all import *

def rivals(table, size, bs):
    "Loaders by name, all in this process"
    files, labels = image_paths(table), table.label.tolist()
    block = DataBlock(blocks=(ImageBlock, CategoryBlock), get_items=lambda t: list(range(len(t))), get_x=lambda i: files[i], get_y=lambda i: labels[i],
                      splitter=IndexSplitter(np.flatnonzero(table.split != 'train')), item_tfms=Resize(size), batch_tfms=[*aug_transforms(), Normalize.from_stats(*imagenet_stats)])
    cache = build_cache(table, size)
    return dict(fastai=block.dataloaders(table, bs=bs, num_workers=0),
                uncached=fashion_dls(table, size, bs=bs, num_workers=0), cached=fashion_dls(table, size, bs=bs, cache=cache, num_workers=0))

def rate(dl, batches):
    "Images per second over `batches` batches"
    start, n = time.perf_counter(), 0
    for b in itertools.islice(dl, batches): n += len(b[1])
    return n/(time.perf_counter()-start)

def take_turns(calls, repeats):
    "Results of each of `calls`, one after the other, `repeats` times after a warm-up"
    for o in calls.values(): o()
    turns = [[f() for f in calls.values()] for _ in range(repeats)]
    return dict(zip(calls, map(list, zip(*turns))))

def line(name, values, base=None):
    ratio = f'{st.median(a/b for a,b in zip(values, base)):7.2f}' if base else ''
    return f'{name:<34}{st.median(values):>12,.0f}{ratio}   ({min(values):,.0f} to {max(values):,.0f})'

def delivered(table, size, bs, batches, repeats):
    torch.set_num_threads(1)
    for what, bare in (('before batch augmentation', True), ('augmented and normalized', False)):
        all_dls = rivals(table, size, bs)
        for o in all_dls.values():
            if bare: o.train.after_batch = noop
        got = take_turns({k: partial(rate, o.train, batches*(4 if bare and k == 'cached' else 1)) for k,o in all_dls.items()}, repeats)
        print(f'\nImages per second and worker, {size} px, {what} (ratio to fastai)')
        for k,v in got.items(): print(line(k, v, got['fastai']))

def epochs(table, model, size, bs, batches, repeats):
    "Seconds of a short epoch of a real model, and the share of it in which the loop waits"
    torch.set_num_threads(os.cpu_count())
    inputs = model_inputs(model, size)
    caches = dict(uncached=None, cached=build_cache(table, inputs['size'], inputs['interpolation']))
    learners = {}
    for k,c in caches.items():
        dls = fashion_dls(table, **inputs, bs=bs, cache=c)
        dls.train.n = batches*bs
        learners[k] = fashion_learner(dls, model)
        learners[k].unfreeze()
    waits = {k: [] for k in learners}
    def epoch(k):
        learn = learners[k]
        with tempfile.TemporaryDirectory() as d, learn.no_bar(), learn.no_logging():
            rec = RunRecorder(d, Recipe(1, 0))
            learn.fit(1, 1e-4, cbs=rec)
        waits[k].append(rec.waited/rec.train_seconds)
        return rec.train_seconds
    got = take_turns({k: partial(epoch, k) for k in learners}, repeats)
    print(f'\nSeconds of {batches} training batches of {bs}, {model} at {size} px, {torch.get_num_threads()} threads')
    for k,v in got.items(): print(f'{k:<20}{st.median(v):8.2f} s, waited for data {st.median(waits[k]):6.1%} of it')
    print(f"ratio of medians {st.median(a/b for a,b in zip(got['uncached'], got['cached'])):.2f}")

def audits(table, repeats):
    "Seconds of an audit against those of decoding alone, on all cores"
    from concurrent.futures import ProcessPoolExecutor
    def clock(f):
        start = time.perf_counter(); f()
        return time.perf_counter()-start
    def decode():
        with ProcessPoolExecutor(os.cpu_count()) as ex: list(ex.map(_decode, image_paths(table), chunksize=16))
    got = take_turns(dict(decode=partial(clock, decode), audit=partial(clock, partial(audit, table))), repeats)
    print(f"\nSeconds for {len(table):,} photos on {os.cpu_count()} cores: decoding alone {st.median(got['decode']):.2f}, the whole audit {st.median(got['audit']):.2f}, "
          f"ratio {st.median(a/b for a,b in zip(got['audit'], got['decode'])):.2f}")

def _decode(path): read_rgb(path)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('data')
    p.add_argument('--size', type=int, default=224)
    p.add_argument('--bs', type=int, default=32)
    p.add_argument('--batches', type=int, default=16)
    p.add_argument('--repeats', type=int, default=5)
    p.add_argument('--model', default='timm/tf_efficientnet_lite0')
    p.add_argument('--parts', default='delivered,epochs,audits')
    o = p.parse_args()
    table = load_table(o.data)
    print(summary(table))
    if 'delivered' in o.parts: delivered(table, o.size, o.bs, o.batches, o.repeats)
    if 'epochs' in o.parts: epochs(table, o.model, o.size, o.bs, o.batches, o.repeats)
    if 'audits' in o.parts: audits(table, o.repeats)
