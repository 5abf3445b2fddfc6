"""How fast images reach a model: plain fastai, ours without a cache, ours with one.

    python benchmarks/loading.py FOLDER [--size 224] [--repeats 5]

All sides take turns in one process on the same photos; what is printed is the median, and ratios are medians of the ratios of
neighbours. Every loader reads in this process with one thread, so that its figure is per worker.
"""
import argparse, os, statistics as st, tempfile, time, warnings

warnings.filterwarnings('ignore')
from fastai.vision.all import *
from fashion_bench.data.audit import audit
from fashion_bench.data.cache import build_cache
from fashion_bench.data.deepfashion import deepfashion_table
from fashion_bench.data.loaders import fashion_dls
from fashion_bench.data.pixels import read_rgb
from fashion_bench.data.sources import load_table
from fashion_bench.data.table import image_paths, summary
from fashion_bench.models.learner import fashion_learner
from fashion_bench.models.registry import model_inputs
from fashion_bench.training.recipes import Recipe
from fashion_bench.training.recorder import RunRecorder

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

def lists(repeats, n=289_222):
    "Seconds to read a copy of DeepFashion of the real size, its files empty"
    rng, names, product = np.random.default_rng(0), [], 0
    with tempfile.TemporaryDirectory() as d:
        root = Path(d)
        for o in ('Anno', 'Eval'): (root/o).mkdir()
        while len(names) < n:
            folder, product = f'img/Pleated_Blouse_{product}', product + 1
            (root/'Img'/folder).mkdir(parents=True)
            names += [f'{folder}/img_{i:08d}.jpg' for i in range(1, 1 + min(int(rng.integers(20, 80)), n - len(names)))]
        for o in names: os.close(os.open(root/'Img'/o, os.O_CREAT))
        write = lambda file, head, values: (root/file).write_text(f'{n}\n{head}\n' + ''.join(f'{o:<70} {v} \n' for o,v in zip(names, values)))
        (root/'Anno/list_category_cloth.txt').write_text('50\nname type\n' + ''.join(f'Category-{i} {1 + i%3}\n' for i in range(50)))
        write('Anno/list_category_img.txt', 'image_name category_label', rng.integers(1, 51, n))
        write('Eval/list_eval_partition.txt', 'image_name evaluation_status', rng.choice(['train', 'val', 'test'], n))
        write('Anno/list_bbox.txt', 'image_name x_1 y_1 x_2 y_2', ['072 079 232 273']*n)
        def clock():
            start = time.perf_counter()
            assert len(deepfashion_table(root)) == n
            return time.perf_counter() - start
        got = take_turns(dict(read=clock), repeats)['read']
    print(f'\nSeconds to read lists of {n:,} rows and find all images: {st.median(got):.2f} ({min(got):.2f} to {max(got):.2f})')

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('data')
    p.add_argument('--size', type=int, default=224)
    p.add_argument('--bs', type=int, default=32)
    p.add_argument('--batches', type=int, default=16)
    p.add_argument('--repeats', type=int, default=5)
    p.add_argument('--model', default='timm/tf_efficientnet_lite0')
    p.add_argument('--parts', default='delivered,epochs,audits,lists')
    o = p.parse_args()
    table = load_table(o.data)
    print(summary(table))
    if 'delivered' in o.parts: delivered(table, o.size, o.bs, o.batches, o.repeats)
    if 'epochs' in o.parts: epochs(table, o.model, o.size, o.bs, o.batches, o.repeats)
    if 'audits' in o.parts: audits(table, o.repeats)
    if 'lists' in o.parts: lists(o.repeats)
