"""What training costs here: against plain fastai, against the pure arithmetic, and what isolation and records add.

    python benchmarks/training.py FOLDER [--models timm/tf_efficientnet_lite0,torchvision/resnet34] [--size 96]
                                         [--per-class 60] [--repeats 5]
                                         [--parts plain,frozen,compute,isolation,accuracy]

Both sides of every comparison take turns in one run on the same photos; what is printed is the median of the ratios of
neighbours, with the least and the most. `plain` is what a fastai user types: `vision_learner(...)` on fastai's own
loaders, in fp32. On a GPU the same script runs there; name torchvision/resnet50 and --size 224.
"""
import argparse, statistics as st, tempfile, time, warnings
from dataclasses import replace

warnings.filterwarnings('ignore')
from fastai.vision.all import *
from fashion_bench.data.cache import build_cache
from fashion_bench.data.loaders import split_dl
from fashion_bench.data.sources import load_table
from fashion_bench.data.table import image_paths, summary
from fashion_bench.models.backbones import build_backbone
from fashion_bench.models.weights import WeightsUnavailable
from fashion_bench.models.registry import model_info, model_inputs
from fashion_bench.models.speed import wait_for
from fashion_bench.training.checkpoint import Checkpoint
from fashion_bench.training.precision import best_precision, depthwise_in_fp32
from fashion_bench.training.recipes import Recipe, train
from fashion_bench.training.recorder import RunRecorder
from fashion_bench.runs.environment import environment
from fashion_bench.runs.grid import plan_bench
from fashion_bench.runs.run import run_learner
from fashion_bench.runs.engines.local import Processes

def plain_block(table:pd.DataFrame, size:int, mean:tuple, std:tuple):
    "How a fastai user loads the same photos"
    files, labels = image_paths(table), table.label.tolist()
    return DataBlock(blocks=(ImageBlock, CategoryBlock), get_items=lambda t: list(range(len(t))),
                     get_x=lambda i: files[i], get_y=lambda i: labels[i],
                     splitter=lambda _: [np.flatnonzero(table.split == o).tolist() for o in ('train', 'valid')],
                     item_tfms=Resize(size), batch_tfms=[*aug_transforms(), Normalize.from_stats(mean, std)])

def fastai_arch(info):
    "What `vision_learner` takes for a model: timm's name, or a function"
    if info.library == 'timm': return info.arch
    return getattr(xresnet if info.library == 'fastai' else models, info.arch)

def plain_learner(table:pd.DataFrame, model:str, size:int, bs:int, seed:int):
    "What a fastai user types for `model`, from the same weights"
    info = model_info(model)
    set_seed(seed)
    dls = plain_block(table, size, info.mean, info.std).dataloaders(table, bs=bs)
    learn = vision_learner(dls, fastai_arch(info), pretrained=False, normalize=False, metrics=accuracy)
    weights = pretrained(model)
    if weights == 'pretrained':
        tensors = list(build_backbone(model, weights, size).body.state_dict().values())
        own = learn.model[0].state_dict()
        assert [o.shape for o in own.values()] == [o.shape for o in tensors]
        learn.model[0].load_state_dict(dict(zip(own, tensors)))
    return learn

def pretrained(model:str):
    "`pretrained` if weights can be had here, else `scratch`, for both sides"
    try: build_backbone(model)
    except WeightsUnavailable: return 'scratch'
    return 'pretrained'

def spec_and_cache(table:pd.DataFrame, model:str, size:int, recipe:Recipe, seeds):
    "The first run that is planned, and the decoded pixels that it reads"
    spec = plan_bench(table, model, recipe, size, seeds, weights=pretrained(model))[0]
    inputs = model_inputs(spec.model, spec.size)
    return spec, build_cache(table, inputs['size'], inputs['interpolation'])

def ours(table:pd.DataFrame, model:str, size:int, recipe:Recipe, seed:int, cbs=()):
    "The learner of a run"
    spec, cache = spec_and_cache(table, model, size, recipe, [seed])
    return run_learner(spec, table, cache, cbs=cbs)

def quietly(f, *args):
    "Seconds that `f` takes"
    start = time.perf_counter()
    f(*args)
    wait_for(default_device())
    return time.perf_counter() - start

def turns(sides:dict, repeats:int):
    "Seconds of each of `sides`, one after the other, `repeats` times after a warm-up"
    for f in sides.values(): f()
    rounds = [[quietly(f) for f in sides.values()] for _ in range(repeats)]
    return dict(zip(sides, zip(*rounds)))

def ratio(a:list, b:list):
    "The median of the ratios of neighbours, with the least and the most"
    r = [x/y for x,y in zip(a, b)]
    return f'{st.median(r):.2f} ({min(r):.2f} to {max(r):.2f})'

def epoch(learn:Learner):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3)

def against_plain(table:pd.DataFrame, model:str, args):
    "Seconds of an epoch, validation included, and images per second"
    sides = dict(plain=plain_learner(table, model, args.size, args.bs, 0),
                 ours=ours(table, model, args.size, Recipe(bs=args.bs), 0))
    for o in sides.values(): o.unfreeze()
    got = turns({k: partial(epoch, o) for k,o in sides.items()}, args.repeats)
    n = len(sides['ours'].dls.train)*args.bs
    plain, here = st.median(got['plain']), st.median(got['ours'])
    print(f'{model}: plain fastai {plain:.1f} s an epoch, here {here:.1f} s: '
          f"{ratio(got['plain'], got['ours'])} times as fast; "
          f'{n/plain:.0f} and {n/here:.0f} images trained on per second of epoch')

def kept(learn:Learner):
    "Megabytes that a batch leaves behind for the backward pass, parameters aside"
    own = {o.untyped_storage().data_ptr() for o in learn.model.state_dict().values()}
    found = {}
    def pack(t):
        o = t.untyped_storage()
        if o.data_ptr() not in own: found[o.data_ptr()] = o.nbytes()
        return t
    xb, yb = learn.dls.train.one_batch()
    learn.model.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, noop): learn.loss_func(learn.model(xb), yb)
    return sum(found.values())/2**20

def frozen(table:pd.DataFrame, model:str, args):
    """Seconds of an epoch with a frozen backbone, validation included, and what a batch keeps for the backward pass.

    Norms are trained in a frozen backbone, as fastai's are, so that most of it has a backward pass; `without norms` is
    a backbone in which nothing is trained."""
    sides = dict(plain=plain_learner(table, model, args.size, args.bs, 0),
                 ours=ours(table, model, args.size, Recipe(bs=args.bs), 0),
                 bare=ours(table, model, args.size, Recipe(bs=args.bs), 0))
    sides['bare'].train_bn = False
    for o in sides.values():
        o.create_opt()
        o.freeze()
    got = turns({k: partial(epoch, o) for k, o in sides.items()}, args.repeats)
    memory = {k: kept(o) for k,o in sides.items()}
    print(f"{model}: plain fastai {st.median(got['plain']):.1f} s an epoch, {memory['plain']:.0f} MB kept; here "
          f"{ratio(got['plain'], got['ours'])} times as fast, {memory['ours']:.0f} MB; without norms "
          f"{ratio(got['plain'], got['bare'])} times, {memory['bare']:.0f} MB")

def recorded_learner(table:pd.DataFrame, model:str, args):
    "The learner of a run with its recorder and its checkpoints, after an epoch"
    home = tempfile.TemporaryDirectory()
    folder = Path(home.name)
    cbs = [RunRecorder(folder, Recipe(999, 0, bs=args.bs)), Checkpoint(folder/'checkpoint.pt')]
    learn = ours(table, model, args.size, Recipe(1, 0, bs=args.bs), 0, cbs=cbs)
    learn.unfreeze()
    epoch(learn)
    learn.home = home # there as long as the learner
    return learn

def train_seconds(learn:Learner):
    "What the recorder notes of another epoch"
    before = len(learn.run_recorder.history)
    epoch(learn)
    return learn.run_recorder.history[before]['train_seconds']

def bare_steps(learn:Learner, steps:int):
    "A function that does an epoch's `steps` on one batch, in the precision of the run"
    net, loss_func, opt = learn.model.train(), learn.loss_func, learn.opt
    xb, yb = learn.dls.train.one_batch()
    xb = xb.as_subclass(torch.Tensor)
    kind, precision = torch.device(learn.dls.device).type, best_precision('auto', learn.dls.device)
    dtype = dict(bf16=torch.bfloat16, fp16=torch.float16).get(precision)
    def compute():
        net.train()
        hooks = depthwise_in_fp32(net) if kind == 'cpu' and dtype else []
        for _ in range(steps):
            with torch.autocast(kind, dtype or torch.float32, enabled=dtype is not None): pred = net(xb)
            loss_func(pred.float(), yb).backward()
            opt.step()
            opt.zero_grad()
        for o in hooks: o.remove()
    return compute

def against_compute(table:pd.DataFrame, model:str, args):
    "A training epoch of the run's own loop, records and all, against the same steps on one batch in memory"
    learn = recorded_learner(table, model, args)
    steps = len(learn.dls.train)
    compute = bare_steps(learn, steps)
    compute()
    pairs = [(train_seconds(learn), quietly(compute)) for _ in range(args.repeats)]
    times = ratio(*zip(*pairs))
    print(f'{model}: a training epoch takes {times} times as long as its {steps} steps on a batch in memory')

def bare_run(spec, table:pd.DataFrame, cache, recipe:Recipe):
    "Train and predict in this process, and keep nothing"
    learn = run_learner(spec, table, cache)
    with learn.no_bar(), learn.no_logging():
        train(learn, recipe)
        for o in ('valid', 'test'):
            if (table.split == o).any(): learn.get_preds(dl=split_dl(learn.dls, table, o))

def isolation(table:pd.DataFrame, model:str, args):
    "What a process of its own, records and checkpoints add to a run"
    recipe, engine, home = Recipe(3, 1, bs=args.bs), Processes(), tempfile.TemporaryDirectory()
    out = Path(home.name)
    spec, cache = spec_and_cache(table, model, args.size, recipe, 1)
    def isolated(seed):
        record = engine.run(replace(spec, seed=seed), table, out, cache=cache, more=True, allow_scratch=True)
        assert record['status'] == 'finished'
    def bare(seed): bare_run(replace(spec, seed=seed), table, cache, recipe)
    isolated(1)
    bare(1)
    pairs = [(quietly(isolated, i), quietly(bare, i)) for i in range(2, 2 + args.repeats)]
    engine.close()
    home.cleanup()
    extra = [a - b for a,b in pairs]
    print(f'{model}: a run of {st.median(b for _,b in pairs):.0f} s takes {st.median(extra):+.1f} s more '
          f'in its own process with records and checkpoints ({min(extra):+.1f} to {max(extra):+.1f}): '
          f'{st.median(extra)/120:.1%} of a run of 2 minutes')

def fine_tuned(learn:Learner, recipe:Recipe):
    "The last metric after fastai's own `fine_tune`"
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(recipe.epochs, base_lr=recipe.lr, freeze_epochs=recipe.freeze_epochs)
    return float(learn.recorder.values[-1][-1])

def accuracies(table:pd.DataFrame, model:str, args):
    "Validation accuracy over some seeds, each side by the same recipe"
    recipe = Recipe(bs=args.bs)
    got = dict(plain=[], ours=[])
    for seed in range(1, args.seeds + 1):
        # both are made before either is trained
        sides = dict(plain=plain_learner(table, model, args.size, args.bs, seed),
                     ours=ours(table, model, args.size, recipe, seed))
        for k, learn in sides.items(): got[k].append(fine_tuned(learn, recipe))
    parts = [f"{k} {' '.join(f'{o:.3f}' for o in v)} (mean {st.mean(v):.3f})" for k,v in got.items()]
    print(f'{model} ({pretrained(model)}): valid accuracy ' + ', '.join(parts))

PARTS = dict(plain=against_plain, frozen=frozen, compute=against_compute, isolation=isolation, accuracy=accuracies)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder')
    p.add_argument('--models', default='timm/tf_efficientnet_lite0,torchvision/resnet34')
    p.add_argument('--size', type=int, default=96)
    p.add_argument('--bs', type=int, default=32)
    p.add_argument('--per-class', type=int, default=60)
    p.add_argument('--repeats', type=int, default=5)
    p.add_argument('--seeds', type=int, default=3, help='Of the accuracies.')
    p.add_argument('--parts', default=','.join(PARTS))
    args = p.parse_args()
    table = load_table(args.folder, subset=f'per_class={args.per_class}')
    env, precision = environment(), best_precision('auto', default_device())
    print(summary(table))
    print(f"{env['device']}, {env['threads']} threads, {precision}, {args.size} px, torch {env['torch']}")
    for part in args.parts.split(','):
        print(f'\n{PARTS[part].__doc__}')
        for model in args.models.split(','): PARTS[part](table, model, args)
