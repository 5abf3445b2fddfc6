"""Does `choose` find what the whole grid finds, and at which share of its cost?

    python benchmarks/choosing.py grid DATA --out GRID [--size 96] [--jobs 1] [--many]
    python benchmarks/choosing.py pack GRID --out FILE.zip
    python benchmarks/choosing.py replay GRID-OR-FILE.zip...

Candidates of real, different worth: EfficientNet-lite0 to lite2 with their ImageNet weights, damaged copies of each
(the last third or two thirds of the layers at random, noise on all weights), and xresnet18 from scratch: 16 of them,
46 with `--many`. `grid` trains each of them by the recipe of every stage, with several seeds, and may be started again.
`replay` takes the rules of `choose` through the records, on photos and seeds that are drawn with replacement. Costs are
multiply-adds: of a look at each photo, and of steps forward and backward.
"""
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile
import argparse, io, itertools, json, subprocess, sys, tempfile, time, warnings

warnings.filterwarnings('ignore')
import numpy as np, pandas as pd, torch
from scipy.stats import weightedtau
from safetensors.torch import save_file
from fashion_bench.base.answers import read_predictions
from fashion_bench.base.files import claim, read_json, whole_file, write_json
from fashion_bench.base.record import read_record
from fashion_bench.data.cache import build_cache
from fashion_bench.data.sources import load_table
from fashion_bench.models.backbones import build_backbone
from fashion_bench.models.groups import param_layers
from fashion_bench.models.prior import prior_scores
from fashion_bench.models.registry import model_inputs
from fashion_bench.results.choosing import behind, leaders, next_seeds
from fashion_bench.results.records import CorrectAnswers, load_runs
from fashion_bench.runs.choose import FEW
from fashion_bench.runs.grid import plan_bench
from fashion_bench.runs.run import read_spec, run_model
from fashion_bench.training.recipes import parse_recipe

SOUND = [f'timm/tf_efficientnet_lite{i}' for i in range(3)]
LOST, NOISE = (1/3, 2/3), (.1, .2) # shares of the layers; standard deviations of a tensor's own
MORE_LOST, MORE_NOISE = (1/10, 1/6, 1/4, 1/2), (.05, .075, .125, .15, .25, .3)
FULL, SHORT = 'fine_tune(3, freeze_epochs=1)', 'fine_tune(1, freeze_epochs=1)'
STAGES = FULL, 'knn(20)', 'linear_probe', SHORT

def without_last(name:str, share:float)->dict:
    "The state dict of `name` with the last `share` of its layers at random"
    torch.manual_seed(0)
    kept, random = (build_backbone(name, o).body for o in ('pretrained', 'scratch'))
    layers = [o for o,_ in param_layers(build_backbone(name, 'scratch'))]
    first = [k for k in kept.state_dict() if k.startswith(layers[round(len(layers)*(1 - share))])][0]
    names = list(kept.state_dict())
    lost = names[names.index(first):]
    return kept.state_dict() | {k: random.state_dict()[k] for k in lost}

def with_noise(name:str, sd:float)->dict:
    "The state dict of `name` with noise of `sd` of each tensor's own standard deviation"
    g = torch.Generator().manual_seed(0)
    def noisy(v):
        if not v.is_floating_point() or v.numel() < 2: return v
        return v + sd*v.std()*torch.randn(v.shape, generator=g)
    state = build_backbone(name).body.state_dict()
    return {k: v if 'running' in k else noisy(v) for k,v in state.items()} # batch norm's figures stay positive

def damaged(folder:Path, many:bool=False)->dict:
    "What makes each damaged copy, by its name with its file in `folder`"
    lost, noise = (LOST + MORE_LOST, NOISE + MORE_NOISE) if many else (LOST, NOISE)
    how = [(without_last, o) for o in lost] + [(with_noise, o) for o in noise]
    return {f"{name}@{folder}/{name.rpartition('_')[2]}-{f.__name__}-{much:.2g}.safetensors": (f, name, much)
            for name in SOUND for f,much in how}

def make_files(folder:Path, many:bool, nth:int, jobs:int):
    "Make those files that fall to the `nth` of so many processes, and wait for the rest"
    todo = damaged(folder, many)
    for name, (f, *how) in list(todo.items())[nth::jobs]:
        file = Path(name.partition('@')[2])
        if file.is_file(): continue
        with whole_file(file) as part: save_file({k: v.contiguous() for k,v in f(*how).items()}, part)
    while not all(Path(o.partition('@')[2]).is_file() for o in todo): time.sleep(.1)

def plan(data:str, out:Path, args, mine:bool):
    "The specs of the grid on one set of photos: made by one process, for the others to read"
    file = out/'specs.json'
    if mine and not file.is_file():
        table = load_table(data)
        models = [*SOUND, 'fastai/xresnet18', *damaged(args.weights, args.many)]
        specs = plan_bench(table, models, list(STAGES), args.size, args.seeds)
        for o in {(i['size'], i['interpolation']) for i in (model_inputs(o.model, o.size) for o in specs)}:
            build_cache(table, *o)
        write_json(file, [o.plain() for o in specs])
    while not (found := read_json(file)): time.sleep(.1)
    order = [parse_recipe(o) for o in STAGES]
    return sorted(map(read_spec, found), key=lambda o: (order.index(o.recipe), o.seed))

def runs_of(data:str, specs:list, out:Path, jobs:int):
    "The runs of the grid on one set of photos that no other process has"
    table = load_table(data)
    for spec in specs:
        i = model_inputs(spec.model, spec.size)
        cache = build_cache(table, i['size'], i['interpolation'])
        with claim(out/spec.folder) as ours:
            if not ours or (read_record(out/spec.folder) or {}).get('status') == 'finished': continue
            yield run_model(spec, table, out, allow_scratch=True, keep_model=False, cache=cache, num_workers=0,
                            bars=False, jobs=jobs)

def grid(args):
    "Train every candidate by every recipe, in so many processes"
    if args.jobs > 1 and args.nth is None:
        workers = [subprocess.Popen([sys.executable, *sys.argv, '--nth', str(i)]) for i in range(args.jobs)]
        return [o.wait() for o in workers]
    nth, began = args.nth or 0, time.time()
    args.weights.mkdir(parents=True, exist_ok=True)
    make_files(args.weights, args.many, nth, args.jobs)
    outs = {o: args.out/Path(o).stem for o in args.data}
    for o in outs.values(): o.mkdir(parents=True, exist_ok=True)
    if nth: time.sleep(.5)
    print(f"{time.time() - began:.0f} s: {nth} has its files", flush=True)
    plans = {o: plan(o, out, args, i % args.jobs == nth) for i,(o,out) in enumerate(outs.items())}
    for data, specs in plans.items():
        for r in runs_of(data, specs, outs[data], args.jobs):
            print(f"{time.time() - began:.0f} s: {outs[data].name} {r['folder']} {r['spec']['recipe']}: "
                  f"{r['status']}, {r['seconds']:.0f} s {r.get('failure', {}).get('message', '')}", flush=True)

# What follows reads records alone.

def read_grid(folder:Path)->tuple:
    """Correct answers by split, recipe and candidate, of shape (seeds, photos); products by split; multiply-adds; and
    validation accuracy by candidate, of shape (seeds, epochs)"""
    df = load_runs(folder).query("status == 'finished'")
    found, groups, work, epochs = {}, {}, {}, {}
    for r in df.sort_values('seed').itertuples():
        name, file = r.candidate.partition('@')[::2]
        key = Path(file).stem or name.partition('/')[2].partition('.')[0]
        work[key] = r.multiply_adds
        if r.recipe == RECIPES[3]:
            epochs.setdefault(key, []).append(pd.read_csv(Path(r.path)/'history.csv').valid_accuracy.to_numpy())
        for split in ('valid', 'test'):
            if (p := read_predictions(r.path, split)) is None: continue # packed without
            groups[split] = p.get('group')
            found.setdefault((split, r.recipe), {}).setdefault(key, []).append(p['probs'].argmax(1) == p['target'])
    by = {k: {c: np.array(o) for c,o in v.items()} for k,v in found.items()}
    return by, groups, work, {k: np.array(v) for k,v in epochs.items()}

def costs(work:dict, images:dict)->dict:
    "Multiply-adds of each stage by candidate; a step backward is two forward"
    n = sum(images.values())
    def trained(unfrozen): # for so many epochs, after one with the backbone frozen
        return images['train']*(1 + 3*unfrozen) + images['valid']*(1 + unfrozen) + images['valid'] + images['test']
    passes = dict(look=n, short=trained(1), full=trained(3)) | {f'{i + 1} epochs': trained(i) for i in range(4)}
    return {k: {c: v*w for c,w in work.items()} for k,v in passes.items()}

def drawn(found:dict, rng, clusters)->tuple:
    "The same candidates on photos drawn with replacement (whole products), and what is drawn of the products"
    n = next(iter(found.values())).shape[1]
    codes = np.arange(n) if clusters is None else pd.factorize(clusters)[0]
    units = rng.integers(codes.max() + 1, size=codes.max() + 1)
    at = np.concatenate([np.flatnonzero(codes == o) for o in units])
    which = np.repeat(np.arange(len(units)), [(codes == o).sum() for o in units])
    return at, None if clusters is None else which

def answers(found:dict, at, clusters, seeds)->CorrectAnswers:
    "Correct answers on the photos `at`, of the runs with these numbers"
    out = CorrectAnswers()
    for k,v in found.items():
        have = [o for o in seeds if o < len(v)]
        out[k] = v[have or [0]][:, at]
    out.clusters = clusters
    return out

def stages(by, at, clusters, order, cost, margin=.02, few=FEW)->tuple:
    "What `choose` would do: the winners, and what it would cost"
    knn, probe, short, full = (by['valid', o] for o in RECIPES)
    looks = [behind(answers(o, at, clusters, [0]), margin) for o in (knn, probe)]
    kept = [k for k in looks[1].index if not all(o.out[k] for o in looks)]
    spent = sum(cost['look'].values())
    if len(kept) > few:
        tried = behind(answers({k: short[k] for k in kept}, at, clusters, order[:1]), margin)
        spent += sum(cost['short'][k] for k in kept)
        kept = [k for k in tried.index if not tried.out[k]]
    seen = dict.fromkeys(kept, 1)
    while True:
        found = CorrectAnswers()
        found.clusters = clusters
        for k,n in seen.items(): found[k] = full[k][order[:n]][:, at]
        more = next_seeds(found, len(order))
        if not more: break
        fewest = min(seen[o] for o in more)
        for o in more: seen[o] += seen[o] == fewest
    return leaders(found), spent + sum(cost['full'][k]*n for k,n in seen.items())

RECIPES = [str(parse_recipe(o)) for o in ('knn(20)', 'linear_probe', SHORT, FULL)]

def stopped(epochs, cost, seed, spent)->tuple:
    "Who is best when all are trained with one seed and stopped after an epoch, at most at a cost of `spent`; the cost"
    prices = [sum(cost[f'{i} epochs'].values()) for i in range(1, 5)]
    last = max([i for i,o in enumerate(prices) if o <= 1.05*spent], default=0)
    return max(epochs, key=lambda k: epochs[k][seed][last]), prices[last]

def replay_one(by, groups, cost, epochs, rng, published)->dict:
    "One replay on photos and seeds that are drawn: of `choose`, and of simpler ways"
    at, clusters = drawn(by['valid', RECIPES[3]], rng, groups['valid'])
    test_at, _ = drawn(by['test', RECIPES[3]], rng, groups['test'])
    order = rng.permutation(3).tolist()
    grid = answers(by['valid', RECIPES[3]], at, clusters, range(3))
    group = leaders(grid)
    test = {k: v[:, test_at].mean() for k,v in by['test', RECIPES[3]].items()}
    whole = 3*sum(cost['full'].values())
    winners, spent = stages(by, at, clusters, order, cost)
    def best(recipe, seeds): return max(grid, key=lambda k: by['valid', recipe][k][seeds][:, at].mean())
    look, short = (sum(cost[o].values()) for o in ('look', 'short'))
    others = {'published figures': (max(grid, key=lambda k: published.score.get(k, -9.)), 0.),
              'ImageNet top-1': (max(grid, key=lambda k: published.top1.get(k, 0.)), 0.),
              'knn': (best(RECIPES[0], [0]), look),
              'linear probe': (best(RECIPES[1], [0]), look),
              'short training': (best(RECIPES[2], order[:1]), short),
              'stopped early': stopped(epochs, cost, order[0], spent),
              'random': (rng.choice(list(grid)), 0.)}
    rows = {'choose': (spent/whole, group[0] in winners, np.mean([o in winners for o in group]), len(winners),
                       test[group[0]] - test[winners[0]])}
    for k, (chosen, price) in others.items():
        rows[k] = price/whole, chosen == group[0], (chosen in group)/len(group), 1, test[group[0]] - test[chosen]
    return rows

def agreement(by)->dict:
    "Weighted Kendall's tau of each stage's scores with the grid's, and of one seed's grid with another's"
    full = by['valid', RECIPES[3]]
    names = list(full)
    whole = [full[k].mean() for k in names]
    out = {o: weightedtau([by['valid', r][k][:1].mean() for k in names], whole)[0]
           for o,r in zip(('knn', 'linear probe', 'short training'), RECIPES)}
    def of_seed(s): return [full[k][s].mean() for k in names]
    pairs = [weightedtau(of_seed(a), of_seed(b))[0] for a,b in itertools.permutations(range(3), 2)]
    return out | {'one seed and another': np.mean(pairs)}

def without_paths(record:dict)->dict:
    "A record that names no folders of the machine that it is from, and no files, which are made smaller"
    spec, source = record['spec'], record['source']
    return record | dict(files={}, spec=spec | dict(weights=Path(spec['weights']).name),
                         source=source | dict(source=Path(source['source']).name),
                         data=record['data'] | dict(root='', load={}, source=''),
                         environment=record['environment'] | dict(command='', platform=''))

HISTORY = ['epoch', 'phase', 'train_loss', 'valid_loss', 'valid_accuracy']

def pack(args):
    "Put records, predictions and epochs of a grid into a file, probabilities in 16 bits"
    with ZipFile(args.out, 'w', ZIP_DEFLATED) as z:
        for file in sorted(Path(args.data[0]).glob('*/run.json')):
            record = read_record(file.parent)
            if not record or record['status'] != 'finished': continue
            with np.load(file.parent/'predictions.npz') as p: kept = {k: p[k] for k in p}
            kept['probs'] = kept['probs'].astype(np.float16)
            if record['spec']['recipe'] != RECIPES[3]: # nobody asks what a stage says of the test photos
                kept = {k: v[kept['split'] == 'valid'] for k,v in kept.items()}
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **kept)
            z.writestr(f'{file.parent.name}/run.json', json.dumps(without_paths(record)))
            z.writestr(f'{file.parent.name}/predictions.npz', buffer.getvalue())
            if not (history := file.parent/'history.csv').is_file(): continue
            z.writestr(f'{file.parent.name}/history.csv', pd.read_csv(history)[HISTORY].to_csv(index=False))

@contextmanager
def unpacked(path:Path):
    "The folder of a grid, or what is in the file of one"
    if path.suffix != '.zip':
        yield path
        return
    with tempfile.TemporaryDirectory() as home, ZipFile(path) as z:
        z.extractall(folder := Path(home)/path.stem)
        yield folder

def replay_many(folder:Path, n:int):
    "Print the table of what `choose` and simpler ways cost and find in the grid in `folder`, in so many replays"
    by, groups, work, epochs = read_grid(folder)
    record = json.loads(next(folder.glob('*/run.json')).read_text(encoding='utf-8'))
    cost, rng = costs(work, record['data']['images']), np.random.default_rng(0)
    published = prior_scores(SOUND).set_index('model') # of damaged copies nobody has published anything
    published.index = published.index.str.removeprefix('timm/')
    rows = [replay_one(by, groups, cost, epochs, rng, published) for _ in range(n)]
    table = {k: np.mean([r[k] for r in rows], axis=0) for k in rows[0]}
    columns = ['share of the cost', "holds the grid's winner", "part of the grid's group", 'winners', 'regret']
    print(f"{folder.name}: {len(work)} candidates, {n} replays")
    print(pd.DataFrame(table, columns).T.round(3).to_string())
    print("weighted Kendall's tau with the grid:", {k: round(float(v), 2) for k,v in agreement(by).items()}, '\n')

def replay(args):
    "Replay each grid"
    for path in args.data:
        with unpacked(Path(path)) as folder: replay_many(folder, args.replays)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('do', choices=['grid', 'pack', 'replay'])
    p.add_argument('data', nargs='+', help='Photos, as load_table takes them; for replay folders of runs.')
    p.add_argument('--out', type=Path, default=Path('grids'), help='Folder of grids, one for each set of photos.')
    p.add_argument('--weights', type=Path, default=Path('grids/weights'), help='Folder for damaged weights.')
    for k, v in dict(size=96, seeds=3, jobs=1, replays=200).items(): p.add_argument(f'--{k}', type=int, default=v)
    p.add_argument('--many', action='store_true', help='46 candidates: more damaged copies.')
    p.add_argument('--nth', type=int, help=argparse.SUPPRESS) # of the processes
    args = p.parse_args()
    dict(grid=grid, pack=pack, replay=replay)[args.do](args)
