"""Does `choose` find what the whole grid finds, and at which share of its cost?

    python benchmarks/choosing.py grid DATA --out GRID [--size 96] [--jobs 1]
    python benchmarks/choosing.py replay GRID...

Candidates of real, different worth: EfficientNet-lite0 to lite2 with their ImageNet weights, damaged copies of each (the
last third or two thirds of the layers at random, noise on all weights), and xresnet18 from scratch. `grid` trains each of
them by the recipe of every stage, with several seeds, and may be started again. `replay` takes the rules of `choose`
through the records.
"""
from pathlib import Path
import argparse, subprocess, sys, warnings

warnings.filterwarnings('ignore')
import torch
from safetensors.torch import save_file
from fashion_bench.base.files import claim
from fashion_bench.data.cache import build_cache
from fashion_bench.data.sources import load_table
from fashion_bench.models.backbones import build_backbone
from fashion_bench.models.groups import param_layers
from fashion_bench.models.registry import model_inputs
from fashion_bench.runs.grid import plan_bench
from fashion_bench.runs.record import read_record
from fashion_bench.runs.run import run_model
from fashion_bench.training.recipes import parse_recipe

SOUND = [f'timm/tf_efficientnet_lite{i}' for i in range(3)]
LOST, NOISE = (1/3, 2/3), (.2, .4) # shares of the layers; standard deviations of a tensor's own
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

def candidates(folder:Path)->list:
    "Names of all candidates; damaged copies are made in `folder`, unless they are there"
    folder.mkdir(parents=True, exist_ok=True)
    found = [*SOUND, 'fastai/xresnet18']
    for name in SOUND:
        damaged = [(without_last, o) for o in LOST] + [(with_noise, o) for o in NOISE]
        for f, much in damaged:
            file = folder/f"{name.rpartition('_')[2]}-{f.__name__}-{much:.2g}.safetensors"
            if not file.is_file(): save_file({k: v.contiguous() for k,v in f(name, much).items()}, file)
            found.append(f'{name}@{file}')
    return found

def runs_of(data:str, out:Path, args):
    "The runs of the grid on one set of photos that no other process has"
    table, order = load_table(data), [parse_recipe(o) for o in STAGES]
    specs = plan_bench(table, candidates(args.weights), list(STAGES), args.size, args.seeds)
    for spec in sorted(specs, key=lambda o: (order.index(o.recipe), o.seed)):
        i = model_inputs(spec.model, spec.size)
        cache = build_cache(table, i['size'], i['interpolation'], n_workers=0)
        with claim(out/spec.folder) as ours:
            if not ours or (read_record(out/spec.folder) or {}).get('status') == 'finished': continue
            yield run_model(spec, table, out, allow_scratch=True, keep_model=False, cache=cache, num_workers=0,
                            bars=False, jobs=args.jobs)

def grid(args):
    "Train every candidate by every recipe, in so many processes"
    candidates(args.weights)
    if args.jobs > 1 and not args.worker:
        workers = [subprocess.Popen([sys.executable, *sys.argv, '--worker']) for _ in range(args.jobs)]
        return [o.wait() for o in workers]
    for data in args.data:
        for r in runs_of(data, args.out/Path(data).stem, args):
            print(f"{Path(data).stem} {r['folder']} {r['spec']['recipe']}: {r['status']}, {r['seconds']:.0f} s", flush=True)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('do', choices=['grid', 'replay'])
    p.add_argument('data', nargs='+', help='Photos, as load_table takes them; for replay folders of runs.')
    p.add_argument('--out', type=Path, default=Path('grids'), help='Folder of grids, one for each set of photos.')
    p.add_argument('--weights', type=Path, default=Path('grids/weights'), help='Folder for damaged weights.')
    for k, v in dict(size=96, seeds=3, jobs=1).items(): p.add_argument(f'--{k}', type=int, default=v)
    p.add_argument('--worker', action='store_true', help=argparse.SUPPRESS)
    args = p.parse_args()
    dict(grid=grid)[args.do](args)
