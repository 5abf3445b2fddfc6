"""What an engine costs: from the command to the first step, from a run to the next, and memory.

    python benchmarks/engines.py [--runs 3] [--repeats 5] [--photos 8] [--size 32]

Each engine starts in a process of its own, one run at a time on drawn garments, all engines in turn; printed are
medians, and ratios to the local engine as medians of those of neighbours. `slurm` is submitit with processes of this
machine in the place of a cluster's queue, which has a wait of its own. The memory is what Ray's processes have to
themselves, without the one that does the runs.
"""
import argparse, json, os, statistics as st, subprocess, sys, tempfile, time

ENGINES = 'local', 'ray', 'slurm'

def ray_memory()->float:
    "MB that the processes of a Ray which this process has started have to themselves"
    import psutil
    names = 'gcs_server', 'raylet', 'ray::', 'ray/dashboard', 'runtime_env', 'log_monitor'
    what = [(o, ' '.join(o.cmdline())) for o in psutil.Process().children(recursive=True)]
    ours = [o for o,name in what if any(k in name for k in names) and '_on_node' not in name]
    return sum(o.memory_full_info().uss for o in ours)/1e6

def engine_of(name:str):
    "One run at a time"
    from fashion_bench.runs.engines.where import engine_for
    if name == 'ray':
        from fashion_bench.runs.engines.ray import Ray
        return Ray('local')
    if name == 'slurm':
        from fashion_bench.runs.engines.slurm import Slurm
        return Slurm('time=1h,array_parallelism=1', cluster='local')
    return engine_for()

def one(args):
    "A benchmark with one engine, as a process that was started at `args.began`; prints what was when"
    from fashion_bench.data.sources import load_table
    from fashion_bench.follow.progress import BenchProgress
    from fashion_bench.runs.bench import bench
    from fashion_bench.training.recipes import Recipe
    found = dict(first=[], over=[], memory=0.)

    class Watch(BenchProgress):
        "When each run takes its first step, and when it is over"
        def say(self, text): pass
        def on_event(self, spec, event):
            super().on_event(spec, event)
            if event['event'] != 'batches' or len(found['first']) > len(found['over']): return
            found['first'].append(time.time())
            if args.engine == 'ray': found['memory'] = max(found['memory'], ray_memory())
        def after_run(self, spec, record, known):
            found['over'].append(time.time())
            assert record['status'] == 'finished', record

    table = load_table('wardrobe', subset=f'top=4,per_class={args.photos}')
    with tempfile.TemporaryDirectory() as out:
        bench(table, 'timm/test_resnet', out, weights='scratch', recipe=Recipe(1, 0, bs=4), size=args.size,
              seeds=args.runs, num_workers=0, keep_model=False, engine=engine_of(args.engine), progress=Watch())
    gaps = [b - a for a,b in zip(found['over'], found['first'][1:])]
    print(json.dumps(dict(start=found['first'][0] - args.began, between=st.median(gaps), memory=found['memory'])))

def measure(engine:str, args)->dict:
    "Seconds of one start of an engine"
    how = [f'--{k}={getattr(args, k)}' for k in ('runs', 'photos', 'size')]
    command = [sys.executable, __file__, f'--engine={engine}', f'--began={time.time()}', *how]
    r = subprocess.run(command, capture_output=True, text=True)
    if r.returncode: raise SystemExit(r.stderr[-2000:])
    return json.loads(r.stdout.splitlines()[-1])

def main(args):
    "Measure all engines in turn, and print them"
    rounds = [{o: measure(o, args) for o in ENGINES} for _ in range(args.repeats)]
    load = os.getloadavg()[0] if hasattr(os, 'getloadavg') else float('nan')
    print(f'{args.repeats} rounds of {args.runs} runs, {os.cpu_count()} processors, load {load:.1f}')
    for o in ENGINES:
        start, between = (st.median(r[o][k] for r in rounds) for k in ('start', 'between'))
        ratios = [st.median(r[o][k]/r['local'][k] for r in rounds) for k in ('start', 'between')]
        print(f'{o:6} first step after {start:.1f} s ({ratios[0]:.2f}), '
              f'then {between:.2f} s from run to run ({ratios[1]:.2f})')
    print(f"Ray's own processes: {st.median(r['ray']['memory'] for r in rounds):.0f} MB")

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--runs', type=int, default=3)
    p.add_argument('--repeats', type=int, default=5)
    p.add_argument('--photos', type=int, default=8, help='of each of four classes')
    p.add_argument('--size', type=int, default=32)
    p.add_argument('--engine', choices=ENGINES, help=argparse.SUPPRESS)
    p.add_argument('--began', type=float, help=argparse.SUPPRESS)
    args = p.parse_args()
    one(args) if args.engine else main(args)
