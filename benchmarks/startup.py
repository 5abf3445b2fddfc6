"""How long one waits before anything is trained, between two runs, and for commands that only read records.

    python benchmarks/startup.py [--data wardrobe] [--model timm/tf_efficientnet_lite0] [--size 64] [--per-class 30]
                                 [--repeats 5] [--parts imports,run,records]

All of it is done in processes of its own, which take turns after a warm-up, so that files are in the system's cache;
what is printed is the median, its ratio to the first line as the median of those of neighbours, and the range.
`imports`: what each side imports, beside `from fastai.vision.all import *` without this package. `run`: `fashion-bench
run` with two seeds, from the command to the end of the first epoch, and from the end of the first run to the end of the
second's first epoch; and the same where the first run's process is not started ahead of time. `records`: commands that
read those runs, beside `import torch`.
"""
import argparse, statistics as st, subprocess, sys, tempfile, time
from functools import partial
from pathlib import Path

IMPORTS = dict(fastai='from fastai.vision.all import *', torch='import torch',
               trains='import fashion_bench.runs.engines.worker', plans='import fashion_bench.runs.bench')
RUN = """
import sys
import fashion_bench.base.ahead as ahead
{change}
from fashion_bench.cli.main import main
sys.argv = ['fashion-bench', *sys.argv[1:]]
main()
"""
CHANGES = dict(ahead='', alone='ahead.start_ahead = lambda: None')

def python(code:str, *args):
    return [sys.executable, '-W', 'ignore', '-c', code, *map(str, args)]

def seconds(command:list):
    "How long a process takes; raises if it fails"
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start

def take_turns(calls:dict, repeats:int):
    "What each of `calls` gives, in turn, `repeats` times after a warm-up"
    for f in calls.values(): f()
    rounds = [[f() for f in calls.values()] for _ in range(repeats)]
    return dict(zip(calls, zip(*rounds)))

def lines(got:dict):
    "Print medians, ratios to the first, and ranges"
    first = next(iter(got.values()))
    for k,v in got.items():
        ratio = st.median(a/b for a,b in zip(v, first))
        print(f'{k:<40}{st.median(v):7.2f} s {ratio:6.2f}   ({min(v):.2f} to {max(v):.2f})', flush=True)

def imports(args, records:Path):
    "Seconds of imports"
    lines(take_turns({k: partial(seconds, python(v)) for k,v in IMPORTS.items()}, args.repeats))

def run(args, out:Path, change:str=''):
    "Seconds to the end of the first epoch, and between the runs"
    subset = f'top=4,per_class={args.per_class}'
    command = python(RUN.format(change=change), 'run', args.data, '--subset', subset, '--models', args.model, '--size',
                     args.size, '--bs', 8, '--epochs', 1, '--freeze-epochs', 1, '--seeds', 2,
                     '--out', out)
    start, epochs, ends = time.perf_counter(), [], []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1) as process:
        for o in process.stdout:
            if ' epoch 1/2' in o: epochs.append(time.perf_counter() - start)
            if ': valid accuracy' in o and o.startswith('['): ends.append(time.perf_counter() - start)
    assert process.returncode == 0 and len(epochs) == len(ends) == 2, (process.returncode, epochs, ends)
    return epochs[0], epochs[1] - ends[0]

def fresh(args, change:str):
    "`run` into a new folder"
    with tempfile.TemporaryDirectory() as d: return run(args, Path(d)/'runs', change)

def runs(args, records:Path):
    "Seconds from the command to the end of the first epoch, and between two runs"
    got = take_turns({k: partial(fresh, args, o) for k,o in CHANGES.items()}, args.repeats)
    for i, what in enumerate(('to the first epoch\'s end', 'from a run to the next\'s first epoch')):
        lines({f'{k}, {what}': [o[i] for o in v] for k,v in got.items()})

def of_records(args, records:Path):
    "Seconds of commands that read records"
    page, grid = records.parent/'report.html', records.parent/'grid.toml'
    commands = dict(show=['show', records], compare=['compare', records, records],
                    grid=['grid', records, '--to', grid], report=['report', records, '--out', page])
    calls = {'import torch': partial(seconds, python('import torch'))}
    calls |= {k: partial(seconds, python(RUN.format(change=''), *o)) for k,o in commands.items()}
    lines(take_turns(calls, args.repeats))

PARTS = dict(imports=imports, run=runs, records=of_records)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', default='wardrobe')
    p.add_argument('--model', default='timm/tf_efficientnet_lite0')
    p.add_argument('--size', type=int, default=64)
    p.add_argument('--per-class', type=int, default=30)
    p.add_argument('--repeats', type=int, default=5)
    p.add_argument('--parts', default=','.join(PARTS))
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as d:
        if 'records' in args.parts: run(args, Path(d)/'runs')
        for part in args.parts.split(','):
            print(f'\n{PARTS[part].__doc__}')
            PARTS[part](args, Path(d)/'runs')
