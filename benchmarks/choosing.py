"""Does `choose` find what the whole grid finds, and at which share of its cost?

    python benchmarks/choosing.py grid DATA --out GRID [--size 96] [--jobs 1]
    python benchmarks/choosing.py replay GRID...

Candidates of real, different worth: EfficientNet-lite0 to lite2 with their ImageNet weights, damaged copies of each (the
last third or two thirds of the layers at random, noise on all weights), and xresnet18 from scratch. `grid` trains each of
them by the recipe of every stage, with several seeds, and may be started again. `replay` takes the rules of `choose`
through the records.
"""
from pathlib import Path
import argparse, subprocess, sys, time, warnings

warnings.filterwarnings('ignore')
import torch
from safetensors.torch import save_file
from fashion_bench.base.files import claim, read_json, whole_file, write_json
from fashion_bench.data.cache import build_cache
from fashion_bench.data.sources import load_table
from fashion_bench.models.backbones import build_backbone
from fashion_bench.models.groups import param_layers
from fashion_bench.models.registry import model_inputs
from fashion_bench.runs.grid import plan_bench
from fashion_bench.runs.record import read_record
from fashion_bench.runs.run import read_spec, run_model
from fashion_bench.training.recipes import parse_recipe

SOUND = [f'timm/tf_efficientnet_lite{i}' for i in range(3)]
LOST, NOISE = (1/3, 2/3), (.1, .2) # shares of the layers; standard deviations of a tensor's own
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

def damaged(folder:Path)->dict:
    "What makes each damaged copy, by its name with its file in `folder`"
    how = [(without_last, o) for o in LOST] + [(with_noise, o) for o in NOISE]
    return {f"{name}@{folder}/{name.rpartition('_')[2]}-{f.__name__}-{much:.2g}.safetensors": (f, name, much)
            for name in SOUND for f,much in how}

def make_files(folder:Path, nth:int, jobs:int):
    "Make those files that fall to the `nth` of so many processes, and wait for the rest"
    todo = damaged(folder)
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
        specs = plan_bench(table, [*SOUND, 'fastai/xresnet18', *damaged(args.weights)], list(STAGES), args.size, args.seeds)
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
    make_files(args.weights, nth, args.jobs)
    outs = {o: args.out/Path(o).stem for o in args.data}
    for o in outs.values(): o.mkdir(parents=True, exist_ok=True)
    if nth: time.sleep(.5)
    print(f"{time.time() - began:.0f} s: {nth} has its files", flush=True)
    plans = {o: plan(o, out, args, i % args.jobs == nth) for i,(o,out) in enumerate(outs.items())}
    for data, specs in plans.items():
        for r in runs_of(data, specs, outs[data], args.jobs):
            print(f"{time.time() - began:.0f} s: {outs[data].name} {r['folder']} {r['spec']['recipe']}: "
                  f"{r['status']}, {r['seconds']:.0f} s {r.get('failure', {}).get('message', '')}", flush=True)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('do', choices=['grid', 'replay'])
    p.add_argument('data', nargs='+', help='Photos, as load_table takes them; for replay folders of runs.')
    p.add_argument('--out', type=Path, default=Path('grids'), help='Folder of grids, one for each set of photos.')
    p.add_argument('--weights', type=Path, default=Path('grids/weights'), help='Folder for damaged weights.')
    for k, v in dict(size=96, seeds=3, jobs=1).items(): p.add_argument(f'--{k}', type=int, default=v)
    p.add_argument('--nth', type=int, help=argparse.SUPPRESS) # of the processes
    args = p.parse_args()
    dict(grid=grid)[args.do](args)
