"""How fast images reach a model: plain fastai, ours without a cache, ours with one.

    python benchmarks/loading.py FOLDER [--size 224] [--repeats 5]

All sides take turns in one process on the same photos; what is printed is the median, and ratios are medians of the
ratios of neighbours. Every loader reads in this process with one thread, so that its figure is per worker.
"""
import argparse, os, statistics as st, tempfile, time, warnings

warnings.filterwarnings('ignore')
from fastai.vision.all import *
from fashion_bench.data.audit import Audit, audit, audit_json, find_problems
from fashion_bench.data.cache import build_cache
from fashion_bench.data.deepfashion import deepfashion_table
from fashion_bench.data.loaders import IMAGENET, _batch_tfms as to_batch, fashion_dls
from fashion_bench.base.pixels import read_rgb
from fashion_bench.data.sources import load_table
from fashion_bench.data.table import image_paths, summary
from fashion_bench.models.learner import fashion_learner
from fashion_bench.models.registry import model_inputs
from fashion_bench.training.clock import peak_memory
from fashion_bench.training.recipes import Recipe
from fashion_bench.training.recorder import RunRecorder

def plain_block(table:pd.DataFrame, size:int):
    "How a fastai user loads the same photos"
    files, labels = image_paths(table), table.label.tolist()
    return DataBlock(blocks=(ImageBlock, CategoryBlock), get_items=lambda t: list(range(len(t))),
                     get_x=lambda i: files[i], get_y=lambda i: labels[i],
                     splitter=IndexSplitter(np.flatnonzero(table.split != 'train')), item_tfms=Resize(size),
                     batch_tfms=[*aug_transforms(), Normalize.from_stats(*imagenet_stats)])

def rivals(table:pd.DataFrame, size:int, bs:int):
    "Loaders by name, all in this process"
    block, cache = plain_block(table, size), build_cache(table, size)
    return dict(fastai=block.dataloaders(table, bs=bs, num_workers=0),
                uncached=fashion_dls(table, size, bs=bs, num_workers=0),
                cached=fashion_dls(table, size, bs=bs, cache=cache, num_workers=0))

def rate(dl, batches:int):
    "Images per second over `batches` batches"
    start, n = time.perf_counter(), 0
    for b in itertools.islice(dl, batches): n += len(b[1])
    return n/(time.perf_counter()-start)

def seconds(f):
    "How long a call of `f` takes"
    start = time.perf_counter()
    f()
    return time.perf_counter()-start

def take_turns(calls:dict, repeats:int):
    "Results of each of `calls`, one after the other, `repeats` times after a warm-up"
    for o in calls.values(): o()
    turns = [[f() for f in calls.values()] for _ in range(repeats)]
    return dict(zip(calls, map(list, zip(*turns))))

def median_ratio(xs:list, ys:list):
    "The median of the ratios of neighbours"
    return st.median(a/b for a,b in zip(xs, ys))

def line(name:str, values:list, base:list=None):
    ratio = f'{median_ratio(values, base):7.2f}' if base else ''
    return f'{name:<34}{st.median(values):>12,.0f}{ratio}   ({min(values):,.0f} to {max(values):,.0f})'

def delivered(table:pd.DataFrame, size:int, bs:int, batches:int, repeats:int):
    "Images per second of each loader, before the augmentation of batches and after"
    torch.set_num_threads(1)
    for what, bare in (('before batch augmentation', True), ('augmented and normalized', False)):
        all_dls = rivals(table, size, bs)
        for o in all_dls.values():
            if bare: o.train.after_batch = noop
        longer = {k: 4 if bare and k == 'cached' else 1 for k in all_dls} # what is read soon is read for longer
        got = take_turns({k: partial(rate, o.train, batches*longer[k]) for k,o in all_dls.items()}, repeats)
        print(f'\nImages per second and worker, {size} px, {what} (ratio to fastai)')
        for k,v in got.items(): print(line(k, v, got['fastai']))

def pixels(table:pd.DataFrame, size:int, bs:int):
    "A batch as loaders read it"
    dl = fashion_dls(table, size, bs=bs, num_workers=0).train
    dl.after_batch = noop
    return dl.one_batch()[0]

def augmentation(table:pd.DataFrame, size:int, bs:int, repeats:int):
    "Images per second through what makes a batch of pixels one for the model, nothing read meanwhile"
    norm = Normalize.from_stats(*IMAGENET.values())
    sides = dict(fastai=[IntToFloatTensor(), *aug_transforms(), norm], ours=to_batch(*IMAGENET.values(), True))
    x = pixels(table, size, bs)
    for threads in dict.fromkeys((1, os.cpu_count())):
        torch.set_num_threads(threads)
        calls = {k: partial(Pipeline(v, split_idx=0), x) for k,v in sides.items()}
        got = take_turns({k: partial(seconds, f) for k,f in calls.items()}, 4*repeats)
        print(f'\nImages per second, {bs} at {size} px made floats, augmented and normalized; threads: {threads}')
        for k,v in got.items(): print(line(k, [bs/o for o in v], [bs/o for o in got['fastai']]))

def short_learner(table:pd.DataFrame, model:str, inputs:dict, bs:int, batches:int, cache=None):
    "A learner with nothing frozen, whose epoch is `batches` batches"
    dls = fashion_dls(table, **inputs, bs=bs, cache=cache)
    dls.train.n = batches*bs
    learn = fashion_learner(dls, model)
    learn.unfreeze()
    return learn

def short_epoch(learn:Learner):
    "Seconds of training in an epoch, and the share of them in which the loop waited"
    with tempfile.TemporaryDirectory() as d, learn.no_bar(), learn.no_logging():
        rec = RunRecorder(d, Recipe(1, 0))
        learn.fit(1, 1e-4, cbs=rec)
    last = rec.history[-1]
    return last['train_seconds'], last['wait_seconds']/last['train_seconds']

def epochs(table:pd.DataFrame, model:str, size:int, bs:int, batches:int, repeats:int):
    "Seconds of a short epoch of a real model, and the share of it in which the loop waits"
    torch.set_num_threads(os.cpu_count())
    inputs = model_inputs(model, size)
    caches = dict(uncached=None, cached=build_cache(table, inputs['size'], inputs['interpolation']))
    learners = {k: short_learner(table, model, inputs, bs, batches, c) for k,c in caches.items()}
    waits = {k: [] for k in learners}
    def epoch(k):
        trained, waited = short_epoch(learners[k])
        waits[k].append(waited)
        return trained
    got = take_turns({k: partial(epoch, k) for k in learners}, repeats)
    print(f'\nSeconds of {batches} training batches of {bs}, {model} at {size} px, {torch.get_num_threads()} threads')
    for k,v in got.items(): print(f'{k:<20}{st.median(v):8.2f} s, waited for data {st.median(waits[k]):6.1%} of it')
    print(f"ratio of medians {median_ratio(got['uncached'], got['cached']):.2f}")

def _decode(path): read_rgb(path)

def decode_all(files:list):
    "Read all photos on all cores, and do nothing with them"
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(os.cpu_count()) as ex: list(ex.map(_decode, files, chunksize=16))

def audits(table:pd.DataFrame, repeats:int):
    "Seconds of an audit against those of decoding alone, on all cores"
    sides = dict(decode=lambda: decode_all(image_paths(table)), audit=lambda: audit(table))
    got = take_turns({k: partial(seconds, f) for k,f in sides.items()}, repeats)
    print(f'\nSeconds for {len(table):,} photos on {os.cpu_count()} cores: '
          f"decoding alone {st.median(got['decode']):.2f}, the whole audit {st.median(got['audit']):.2f}, "
          f"ratio {median_ratio(got['audit'], got['decode']):.2f}")

def made_names(n:int, rng):
    "Names of `n` images, each product's 20 to 79 in a folder of their own"
    names, product = [], 0
    while len(names) < n:
        photos = min(int(rng.integers(20, 80)), n - len(names))
        names += [f'img/Pleated_Blouse_{product}/img_{i:08d}.jpg' for i in range(1, 1 + photos)]
        product += 1
    return names

CATEGORIES = '50\nname type\n' + ''.join(f'Category-{i} {1 + i%3}\n' for i in range(50))

def empty_copy(root:Path, n:int):
    "Make a copy of DeepFashion with `n` images, all of them empty files"
    rng = np.random.default_rng(0)
    names = made_names(n, rng)
    def write(file, head, values):
        rows = ''.join(f'{o:<70} {v} \n' for o,v in zip(names, values))
        (root/file).write_text(f'{n}\n{head}\n{rows}')
    for o in ('Anno', 'Eval'): (root/o).mkdir()
    for o in dict.fromkeys(o.rpartition('/')[0] for o in names): (root/'Img'/o).mkdir(parents=True)
    for o in names: os.close(os.open(root/'Img'/o, os.O_CREAT))
    (root/'Anno/list_category_cloth.txt').write_text(CATEGORIES)
    write('Anno/list_category_img.txt', 'image_name category_label', rng.integers(1, 51, n))
    write('Eval/list_eval_partition.txt', 'image_name evaluation_status', rng.choice(['train', 'val', 'test'], n))
    write('Anno/list_bbox.txt', 'image_name x_1 y_1 x_2 y_2', ['072 079 232 273']*n)

def lists(repeats:int, n:int):
    "Seconds to read a copy of DeepFashion of the real size, its files empty"
    with tempfile.TemporaryDirectory() as d:
        empty_copy(Path(d), n)
        def read(): assert len(deepfashion_table(Path(d))) == n
        got = take_turns(dict(read=partial(seconds, read)), repeats)['read']
    print(f'\nSeconds to read lists of {n:,} rows and find all images: {st.median(got):.2f} '
          f'({min(got):.2f} to {max(got):.2f})')

def made_looks(n:int, rng):
    "What an audit saw of `n` photos, of which one in a hundred looks like others, in two groups"
    hashes = rng.integers(0, 2**63, n, dtype=np.uint64)
    colours = rng.integers(0, 256, (n, 192), dtype=np.uint8)
    large, small = max(n//120, 2), max(n//600, 2)
    for group in (slice(0, large), slice(large, large + small)):
        bits = np.uint64(1) << rng.integers(0, 64, len(hashes[group])).astype(np.uint64)
        hashes[group], colours[group] = hashes[group][0] ^ bits, colours[group][0]
    return pd.DataFrame(dict(width=100, height=100, mode='RGB', digest=[str(i) for i in range(n)], phash=hashes,
                             colours=[o.tobytes() for o in colours], reason='', detail=''))

def copies(n:int):
    "Seconds and memory to find the copies among so many photos, and the size of what is written of them"
    rng = np.random.default_rng(0)
    seen = made_looks(n, rng)
    table = pd.DataFrame(dict(image=[f'{i}.jpg' for i in range(n)], label=rng.choice(['a', 'b'], n), root='.',
                              split=rng.choice(['train', 'valid', 'test'], n)))
    start = time.perf_counter()
    found = find_problems(table, seen)
    text = audit_json(Audit(table, seen, found))
    took, memory = time.perf_counter() - start, peak_memory()['process']/2**30
    print(f'\nCopies among {n:,} photos, 1 % of them in groups of up to {n//120:,}: {took:.0f} s, '
          f'{memory:.1f} GB in all, {len(found):,} findings, {len(text)/1e6:.1f} MB of JSON')

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('data')
    p.add_argument('--size', type=int, default=224)
    p.add_argument('--bs', type=int, default=32)
    p.add_argument('--batches', type=int, default=16)
    p.add_argument('--repeats', type=int, default=5)
    p.add_argument('--rows', type=int, default=289_222, help='Of the lists, and photos that are looked through.')
    p.add_argument('--model', default='timm/tf_efficientnet_lite0')
    p.add_argument('--parts', default='delivered,augmentation,epochs,audits,lists,copies')
    o = p.parse_args()
    table = load_table(o.data)
    print(summary(table))
    if 'delivered' in o.parts: delivered(table, o.size, o.bs, o.batches, o.repeats)
    if 'augmentation' in o.parts: augmentation(table, o.size, o.bs, o.repeats)
    if 'epochs' in o.parts: epochs(table, o.model, o.size, o.bs, o.batches, o.repeats)
    if 'audits' in o.parts: audits(table, o.repeats)
    if 'lists' in o.parts: lists(o.repeats, o.rows)
    if 'copies' in o.parts: copies(o.rows)
